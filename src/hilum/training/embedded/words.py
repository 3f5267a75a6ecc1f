"""The decoder's side: tokenizer, prompts, and the tokens of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    MBartConfig,
    MBartForCausalLM,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.attributes import ATTRIBUTES, SIDES
from hilum.models.embedded.configuration import CLASSES
from hilum.phantom.physics import FIELD
from hilum.report import LANGUAGES

VOCABULARY = 512
SLOTS = sum(CLASSES.values())
NEAR = 15 / FIELD  # share of a phantom's width
ASK, PRESENT, ABSENT = "<ask>", "<present>", "<absent>"
FRACTURE = list(CLASSES).index("fracture")
FIRST_ATTRIBUTE = 5  # of an entry's instance: before it are the class and the box
SPECIAL = [
    "<pad>",
    "<s>",
    "</s>",
    *(f"<{language}>" for language in LANGUAGES),
    ASK,
    PRESENT,
    ABSENT,
    *(f"<{name}>" for name in CLASSES),
    *(f"<box{k}>" for k in range(SLOTS)),
]


class Asked(NamedTuple):
    """A question about a film: its words, and the class and side (of SIDES) that it is about."""

    text: str
    kind: int
    side: int | None = None

    def true(self, entry: dict[str, Any]) -> bool:
        """Whether a film's entry says that it is there, or there on that side."""
        if self.side is None:
            return bool(entry["present"][self.kind])
        column = FIRST_ATTRIBUTE + list(ATTRIBUTES).index("side")
        return any(r[0] == self.kind and r[column] == self.side for r in entry["instances"])


QUESTIONS = {name: Asked(f"{ASK}<{name}>", k) for k, name in enumerate(CLASSES)} | {
    f"fracture_{side}": Asked(f"{ASK}<fracture> {side}", FRACTURE, k)
    for k, side in enumerate(SIDES)
}


def make_tokenizer(entries: list[dict[str, Any]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the entries' sentences: exact for any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reports = (
        (" " if language == "en" else "").join(text for text, _ in entry["sentences"][language])
        for entry in entries
        for language in LANGUAGES
    )
    tokenizer.train_from_iterator(reports, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[3:],
        clean_up_tokenization_spaces=False,
    )


def decoder_config(tokenizer: PreTrainedTokenizerFast, hidden: int) -> MBartConfig:
    """A four-layer decoder."""
    return MBartConfig(  # type: ignore[call-arg]  # any configuration takes add_cross_attention
        vocab_size=VOCABULARY,
        d_model=hidden,
        decoder_layers=4,
        decoder_attention_heads=4,
        decoder_ffn_dim=4 * hidden,
        dropout=0.0,
        max_position_embeddings=256,
        is_decoder=True,
        add_cross_attention=True,
        scale_embedding=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )


def match(
    boxes: Iterable[NDArray[np.float32]], kinds: list[int], found: NDArray[np.float32], side: int
) -> list[int]:
    """For each true box the slot whose centre lies nearest and within half a box (at least 15 mm).

    ``found``: the encoder's proposals (P, 4) on a film of ``side`` pixels. -1 where no proposal of
    that class is near; no slot is given away twice.
    """
    first = np.cumsum([0, *CLASSES.values()])
    centres = (found[:, :2] + found[:, 2:]) / 2
    slots, taken = [], set()
    for box, kind in zip(boxes, kinds, strict=True):
        centre = (box[:2] + box[2:]) / 2
        reach = max(NEAR * side, float((box[2:] - box[:2]).max()) / 2)
        free = [s for s in range(first[kind], first[kind + 1]) if s not in taken]
        near = [(float(np.hypot(*(centres[s] - centre))), s) for s in free]
        distance, slot = min(near, default=(reach + 1, -1))
        slots.append(slot if distance <= reach else -1)
        taken.add(slots[-1])
    return slots


class Writer:
    """Turns a film's entry into the tokens that the decoder is to write."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer: Any = tokenizer
        boxes = [f"<box{k}>" for k in range(SLOTS)]
        self.box = cast(list[int], tokenizer.convert_tokens_to_ids(boxes))
        self.cache: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self.cache:
            self.cache[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.cache[text]

    def report(self, entry: dict[str, Any], language: str, slots: list[int]) -> list[int]:
        """<s><en>, then each sentence followed by the <box> of what it describes, then </s>."""
        t = self.tokenizer
        ids = [t.bos_token_id, t.convert_tokens_to_ids(f"<{language}>")]
        for k, (text, instance) in enumerate(entry["sentences"][language]):
            ids += self._ids((" " if k and language == "en" else "") + text)
            if instance >= 0 and slots[instance] >= 0:
                ids.append(self.box[slots[instance]])
        return [*ids, t.eos_token_id]

    @property
    def answers(self) -> tuple[int, int]:
        """The tokens that answer a question: present, absent."""
        present, absent = self.tokenizer.convert_tokens_to_ids([PRESENT, ABSENT])
        return present, absent

    def question(self, asked: Asked) -> list[int]:
        """The tokens of a question; what follows is one of ``answers``."""
        return [self.tokenizer.bos_token_id, *self._ids(asked.text)]


def new_model(
    encoder: FilmEncoder, tokenizer: PreTrainedTokenizerFast
) -> VisionEncoderDecoderModel:
    """A trained encoder with an untrained decoder."""
    decoder = MBartForCausalLM(decoder_config(tokenizer, encoder.config.hidden_size))
    config = VisionEncoderDecoderConfig(encoder=encoder.config, decoder=decoder.config)
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model = VisionEncoderDecoderModel(config=config, encoder=encoder, decoder=decoder)
    # the constructor leaves None here, which would run the decoder without its causal mask
    model.decoder.config._attn_implementation = "sdpa"
    return model
