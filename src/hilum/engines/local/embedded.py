"""The embedded reader's weights on this machine: a film encoder and a text decoder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.engines.base import Draft, Image, Located, Question, Request, Sampling
from hilum.engines.likelihood import answer_probabilities, table
from hilum.engines.local import draw
from hilum.engines.weights import box_tokens, open_folder
from hilum.models.libraries import need_torch

if TYPE_CHECKING:
    from torch import Tensor

# Films whose encoding is kept between choose and generate; some 14 kB each.
REMEMBERED = 64
ENCODE_AT_ONCE = 16
# Films that the decoder runs on at once, however many are given; 17 MB each while choosing.
DECODE_AT_ONCE = 64


@dataclass(frozen=True)
class Encoded:
    """One film's tokens and proposals, and how it was fitted into the encoder's square."""

    tokens: Tensor
    places: tuple[Located, ...]


class LocalEngine:
    """The embedded architecture: a film encoder and a text decoder in one safetensors file.

    One film a request. Encodings are kept for the last films, by content, so asking and then
    writing encodes a film once.
    """

    def __init__(self, folder: Path) -> None:
        """Load a folder in the Hugging Face layout.

        Raises ``reader_invalid`` where it cannot be loaded, ``extra_missing`` without torch.
        """
        self._torch = need_torch()
        import transformers

        able = self._torch.cpu.get_capabilities()
        # a third of the time where the processor has it; the encoder was trained in it
        self._half = bool(able.get("amx_bf16") or able.get("avx512_bf16"))
        self.versions = {
            "torch": self._torch.__version__,
            "transformers": transformers.__version__,
            "encoder": "bfloat16" if self._half else "float32",
        }
        self.tokenizer, model, self.weights_sha256 = open_folder(Path(folder))
        self.model = model.eval().to(memory_format=self._torch.channels_last)
        config = self.model.config.encoder
        self.size: int = config.image_size
        self._classes = [name for name, keep in config.classes.items() for _ in range(keep)]
        ids = self.tokenizer.convert_tokens_to_ids(box_tokens(len(self._classes)))
        self._box_ids = {token: k for k, token in enumerate(ids)}
        self._memory: OrderedDict[bytes, Encoded] = OrderedDict()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        """Drafts; requests of one prompt run in batches.

        A draft also ends where the decoder has no more positions, and is then not complete.
        """
        drafts: dict[int, Draft] = {}
        same: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            same.setdefault(request.prompt, []).append(i)
        batches = [(prompt, some) for prompt, rows in same.items() for some in _parts(rows)]
        for prompt, rows in batches:
            films = self._encode([_one(requests[i].images) for i in rows])
            ids = self._prompt(prompt).expand(len(rows), -1)
            with self._torch.inference_mode(), draw.seeded(sampling):
                written = self.model.generate(**self._arguments(films, ids, sampling))
            for i, film, tokens in zip(
                rows, films, written[:, ids.shape[1] :].tolist(), strict=True
            ):
                drafts[i] = self._draft(film, tokens)
        return [drafts[i] for i in range(len(requests))]

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        """Pieces of the draft; joined, they are the text that ``generate`` gives."""
        from transformers import TextIteratorStreamer

        films = self._encode([_one(request.images)])
        arguments = self._arguments(films, self._prompt(request.prompt), sampling)
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        failed: list[BaseException] = []

        def write() -> None:
            try:
                with draw.seeded(sampling):
                    self.model.generate(**arguments, streamer=streamer)
            except BaseException as error:
                failed.append(error)
                streamer.end()  # or whoever reads the pieces would wait for ever

        thread = Thread(target=write, daemon=True)
        thread.start()
        yield from (piece for piece in streamer if piece)
        thread.join()
        if failed:
            raise failed[0]

    def choose(
        self, images: Sequence[tuple[Image, ...]], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        """Likelihood of each answer after its question, normalised over the answers."""
        films = [_one(i) for i in images]
        return [
            p
            for some in _parts(films)
            for p in self._choose(self._encode(some), context, questions)
        ]

    def _choose(
        self, films: list[Encoded], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        if not questions:
            return [table([])] * len(films)
        asked = [self._ids(q.prompt) for q in questions]
        answers = [[[self._ids(w) for w in some] for some in q.wordings()] for q in questions]
        # what must be run: each question with all but the last token of each answer
        runs = dict.fromkeys(
            tuple(q + w[:-1])
            for q, some in zip(asked, answers, strict=True)
            for wordings in some
            for w in wordings
        )
        where = {run: k for k, run in enumerate(runs)}
        logs = self._log_likelihoods(films, self._prompt(context), list(runs))

        def tokens(film: int, asked: list[int], words: list[int]) -> list[float]:
            row = logs[film, where[tuple(asked + words[:-1])]]
            return [float(row[len(asked) - 1 + j, token]) for j, token in enumerate(words)]

        return [
            table(
                [
                    answer_probabilities(
                        question,
                        [[tokens(f, ids, w) for w in wordings] for wordings in some],
                        [[w[0] for w in wordings] for wordings in some],
                    )
                    for question, ids, some in zip(questions, asked, answers, strict=True)
                ]
            )
            for f in range(len(films))
        ]

    def _log_likelihoods(
        self, films: list[Encoded], prefix: Tensor, runs: list[tuple[int, ...]]
    ) -> Tensor:
        """Log likelihood of every token after each token of each run: (films, runs, L, vocab)."""
        from transformers import DynamicCache, EncoderDecoderCache

        torch = self._torch
        longest = max(map(len, runs))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[*r, *[pad] * (longest - len(r))] for r in runs])
        memory = torch.stack([f.tokens for f in films])
        with torch.inference_mode():
            cache = self.model.decoder(
                input_ids=prefix.expand(len(films), -1),
                encoder_hidden_states=memory,
                past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
                use_cache=True,
            ).past_key_values
            cache.batch_repeat_interleave(len(runs))
            logits = self.model.decoder(
                input_ids=ids.repeat(len(films), 1),
                encoder_hidden_states=memory.repeat_interleave(len(runs), 0),
                past_key_values=cache,
                use_cache=True,
            ).logits
        return logits.double().log_softmax(-1).unflatten(0, (len(films), len(runs)))

    def forget(self) -> None:
        """Drop the kept encodings, so that the next call encodes its films again."""
        self._memory.clear()

    def _arguments(self, films: list[Encoded], ids: Tensor, sampling: Sampling) -> dict[str, Any]:
        from transformers.modeling_outputs import BaseModelOutput

        positions = self.model.config.decoder.max_position_embeddings
        limit = min(sampling.max_new_tokens, positions - ids.shape[1])
        return {
            "encoder_outputs": BaseModelOutput(self._torch.stack([f.tokens for f in films])),
            "decoder_input_ids": ids,
            "max_new_tokens": limit,
            "min_new_tokens": limit if sampling.ignore_stops else None,
            **draw.arguments(sampling),
        }

    def _prompt(self, prompt: str) -> Tensor:
        return self._torch.tensor([self._ids(self.tokenizer.bos_token + prompt)])

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _encode(self, images: list[Image]) -> list[Encoded]:
        keys = [hashlib.sha256(i.tobytes() + repr(i.shape).encode()).digest() for i in images]
        known = {k: self._memory[k] for k in keys if k in self._memory}
        missing = [i for i, k in enumerate(keys) if k not in known]
        for start in range(0, len(missing), ENCODE_AT_ONCE):
            some = missing[start : start + ENCODE_AT_ONCE]
            for i, film in zip(some, self._run_encoder([images[i] for i in some]), strict=True):
                known[keys[i]] = film
        for key in keys:
            self._memory[key] = known[key]
            self._memory.move_to_end(key)
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)
        return [known[k] for k in keys]

    def _run_encoder(self, images: list[Image]) -> list[Encoded]:
        from hilum.models.embedded.attributes import ATTRIBUTES, occurrence
        from hilum.models.embedded.processing import fit, normalise

        torch = self._torch
        squares, fits = zip(*(fit(i, self.size) for i in images), strict=True)
        batch = normalise(torch.from_numpy(np.stack(squares))[:, None])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            out = self.model.encoder(batch.contiguous(memory_format=torch.channels_last))
        told = [part.argmax(-1) for part in out.attributes.split(list(ATTRIBUTES.values()), -1)]
        answers = torch.stack(told, -1).tolist()
        return [
            Encoded(
                out.last_hidden_state[b].float().clone(),  # a view would keep the whole batch
                tuple(
                    Located(
                        name,
                        _inside(fits[b].to_film(box), images[b].shape),
                        float(score),
                        known=occurrence(name, answer),
                    )
                    for name, box, score, answer in zip(
                        self._classes, out.boxes[b].numpy(), out.scores[b], answers[b], strict=True
                    )
                ),
            )
            for b in range(len(images))
        ]

    def _draft(self, film: Encoded, tokens: list[int]) -> Draft:
        """Text without special tokens, and each box token as a place that ends at its offset."""
        stop = self.tokenizer.eos_token_id
        complete = stop in tokens
        tokens = tokens[: tokens.index(stop)] if complete else tokens
        ends: dict[int, int] = {}
        for i, token in enumerate(tokens):
            if token in self._box_ids:
                ends[self._box_ids[token]] = len(self._text(tokens[:i]))
        places = tuple(replace(place, end=ends.get(k)) for k, place in enumerate(film.places))
        return Draft(self._text(tokens), complete, places)

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def _parts(rows: list[Any]) -> list[list[Any]]:
    """The rows in pieces that the decoder runs on at once."""
    return [rows[i : i + DECODE_AT_ONCE] for i in range(0, len(rows), DECODE_AT_ONCE)]


def _one(images: tuple[Image, ...]) -> Image:
    if len(images) != 1:
        raise HilumError(Code.SEVERAL_VIEWS_UNSUPPORTED, "", f"{len(images)} views were given")
    return images[0]


def _inside(
    box: tuple[float, float, float, float], shape: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """The part of a box that lies on the film, at least a pixel wide and high."""
    rows, columns = shape
    x0 = min(max(box[0], 0.0), columns - 2.0)
    y0 = min(max(box[1], 0.0), rows - 2.0)
    x1 = max(min(box[2], columns - 1.0), x0 + 1)
    y1 = max(min(box[3], rows - 1.0), y0 + 1)
    return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)
