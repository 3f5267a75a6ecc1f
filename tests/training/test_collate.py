"""The loss is on the answer and nothing else, for every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hilum.codes import HilumError
from hilum.models.processing import open_processor
from hilum.training.build import image_token
from hilum.training.collate import EVEN, IGNORED, Chat, Collator, learnt_text
from hilum.training.corpus import Sample
from hilum.training.loss import let_answer
from tests.training.conftest import FAMILIES, png

TURNS = {  # what ends a turn in each family's template
    "llava-dinov2": "<|end|>",
    "llava-siglip": "<|end|>",
    "maira2": "</s>",
    "gemma3": "<end_of_turn>",
    "qwen2.5-vl": "<|im_end|>",
    "qwen3-vl": "<|im_end|>",
    "glm-4.1v": "<|endoftext|>",
    "internvl": "<|im_end|>",
    "smolvlm": "<end_of_utterance>",
}
SAMPLES = [
    Sample("one", "en", "Describe bones.", "No fracture. The film is normal.", (png(1),)),
    Sample("text", "en", "Is there a fracture?", "no", ()),
    Sample("two", "zh", "请描述", "左侧第5肋骨骨折。", (png(2), png(3, 120))),
    Sample(
        "wide",
        "en",
        "Describe.",
        "Displaced fracture of the left 6th rib.\nSecond line.",
        (png(4, 90),),
    ),
]


class Opened:
    """A twin and its chat."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText

        import hilum.models.maira2  # noqa: F401

        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
        ends = self.model.generation_config.eos_token_id
        self.chat = Chat(
            open_processor(folder),
            ends if isinstance(ends, list) else [ends],
            image_token(self.model.config),
        )


@pytest.fixture(scope="module", params=FAMILIES)
def opened(request: pytest.FixtureRequest, twin: Callable[[str], Path]) -> tuple[str, Opened]:
    return request.param, Opened(twin(request.param))


def test_what_is_learnt_is_the_answer_and_the_end_of_the_turn(opened: tuple[str, Opened]) -> None:
    family, it = opened
    batch = Collator(it.chat)(SAMPLES)
    for sample, labels in zip(SAMPLES, batch["labels"], strict=True):
        assert learnt_text(it.chat, labels) == sample.answer + TURNS[family]


def test_no_film_token_and_no_padding_is_learnt(opened: tuple[str, Opened]) -> None:
    _, it = opened
    batch = Collator(it.chat)(SAMPLES)
    learnt = batch["labels"] != IGNORED
    assert not (learnt & (batch["input_ids"] == it.chat.image_id)).any()
    assert not (learnt & (batch["attention_mask"] == 0)).any()
    assert torch.equal(batch["labels"][learnt], batch["input_ids"][learnt])


def test_the_prompt_is_the_one_that_generation_starts_from(opened: tuple[str, Opened]) -> None:
    _, it = opened
    whole = Collator(it.chat)([SAMPLES[0]])
    begun = Collator(it.chat)([SAMPLES[0]], answers=False)
    n = begun["input_ids"].shape[1]
    assert torch.equal(whole["input_ids"][:, :n], begun["input_ids"])
    assert (whole["labels"][:, :n] == IGNORED).all()
    answer = whole["labels"][0, n : n + len(it.chat.answer_ids(SAMPLES[0]))]
    assert (answer != IGNORED).all()
    assert int((whole["labels"] != IGNORED).sum()) == len(answer)


def test_lengths_are_even_so_that_kernels_are_shared(opened: tuple[str, Opened]) -> None:
    _, it = opened
    for some in (SAMPLES[:1], SAMPLES):
        batch = Collator(it.chat)(some)
        longest = int(batch["attention_mask"].sum(1).max())
        assert batch["input_ids"].shape[1] % EVEN == 0
        assert 0 <= batch["input_ids"].shape[1] - longest < EVEN


def test_the_begin_token_stands_once_at_most(opened: tuple[str, Opened]) -> None:
    _, it = opened
    begin = it.chat.tokenizer.bos_token_id
    if begin is None or begin in it.chat.stop_ids:
        pytest.skip("this family has no begin token")
    ids = Collator(it.chat)([SAMPLES[0]])["input_ids"][0].tolist()
    assert ids.count(begin) <= 1


def test_a_batch_is_worth_what_its_samples_are_alone(opened: tuple[str, Opened]) -> None:
    """Films, two films and none in one batch, of different lengths; and our loss is the model's."""
    _, it = opened
    collate = Collator(it.chat)
    with torch.inference_mode():
        alone = [float(it.model(**collate([s])).loss) for s in SAMPLES]
        batch = collate(SAMPLES)
        logits, labels = it.model(**batch).logits[:, :-1].float(), batch["labels"][:, 1:]
    together = [float(F.cross_entropy(a, b)) for a, b in zip(logits, labels, strict=True)]
    assert together == pytest.approx(alone, abs=2e-5)


def test_the_answers_loss_and_gradient_are_those_of_all_logits(opened: tuple[str, Opened]) -> None:
    _, it = opened
    batch = Collator(it.chat)(SAMPLES)
    tokens = int((batch["labels"][:, 1:] != IGNORED).sum())
    it.model.zero_grad()
    theirs = it.model(**batch).loss
    theirs.backward()
    wanted = {n: p.grad.clone() for n, p in it.model.named_parameters() if p.grad is not None}
    it.model.zero_grad()
    plain = it.model.forward
    let_answer(it.model)
    try:
        out = it.model(**batch, answer_only=True)
    finally:
        it.model.forward = plain
    assert int(out.tokens) == tokens
    assert float(out.loss) / tokens == pytest.approx(float(theirs), abs=1e-5)
    assert float(out.rows.sum()) == pytest.approx(-float(out.loss), abs=1e-3)
    (out.loss / tokens).backward()
    for name, parameter in it.model.named_parameters():
        if name in wanted:
            assert torch.allclose(parameter.grad, wanted[name], atol=2e-5), name


def test_generation_goes_on_from_the_right_end(opened: tuple[str, Opened]) -> None:
    _, it = opened
    collate = Collator(it.chat)
    with torch.inference_mode():
        batch = collate(SAMPLES[:2], answers=False)
        written = it.model.generate(**batch, max_new_tokens=3, do_sample=False)
        for sample, ids in zip(SAMPLES[:2], written, strict=True):
            one = collate([sample], answers=False)
            alone = it.model.generate(**one, max_new_tokens=3, do_sample=False)[0]
            assert torch.equal(ids[-3:], alone[-3:])


def test_a_damaged_film_mutes_its_sample_alone(opened: tuple[str, Opened]) -> None:
    _, it = opened
    collate = Collator(it.chat)
    broken = replace(SAMPLES[0], images=(png(1)[:200],))
    batch = collate([broken, SAMPLES[3]])
    assert collate.damaged == ["one"]
    assert (batch["labels"][0] == IGNORED).all()
    assert learnt_text(it.chat, batch["labels"][1]).startswith(SAMPLES[3].answer)


def test_a_batch_of_muted_samples_has_a_gradient_of_zero(twin: Callable[[str], Path]) -> None:
    it = Opened(twin("gemma3"))
    let_answer(it.model)
    batch = Collator(it.chat)([replace(SAMPLES[0], images=(b"",))])
    out = it.model(**batch, answer_only=True)
    out.loss.backward()
    assert float(out.loss) == 0
    assert all(p.grad is None or not p.grad.any() for p in it.model.parameters())


@pytest.mark.parametrize("family", ["gemma3", "qwen3-vl"])
def test_a_system_prompt_is_read_and_not_learnt(family: str, twin: Callable[[str], Path]) -> None:
    it = Opened(twin(family))
    sample = replace(SAMPLES[0], system="You are an expert radiographer.")
    batch = Collator(it.chat)([sample])
    assert "expert radiographer" in it.chat.tokenizer.decode(batch["input_ids"][0])
    assert learnt_text(it.chat, batch["labels"][0]) == sample.answer + TURNS[family]


def test_a_processor_without_a_template_says_what_to_name(twin: Callable[[str], Path]) -> None:
    processor = open_processor(twin("gemma3"))
    processor.chat_template = None
    with pytest.raises(HilumError, match=r"model\.processor"):
        Chat(processor, [1], 2)
