"""Any vision-language model of transformers on this machine."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.engines.base import Draft, Image, Question, Request, Sampling
from hilum.engines.likelihood import table
from hilum.engines.local import draw
from hilum.engines.local.choose import likelihoods
from hilum.engines.local.films import Film, Films
from hilum.engines.local.place import Precision, choose_place
from hilum.engines.local.together import Together
from hilum.engines.local.words import Words
from hilum.models.libraries import need_torch

# Requests that are written at once; the weights are read once for all of them.
BATCH = 16


@dataclass(frozen=True)
class Asked:
    """A request ready to be run."""

    films: tuple[Film, ...]
    ids: list[int]


Kind = tuple[Sampling, int | None]


class VlmEngine:
    """A model and its processor, from a folder in the Hugging Face layout.

    Batched with padding on the left; any number of images a request; may be called from several
    threads, whose requests are then run together. Image features are kept for the last images, by
    content, so asking and then writing encodes a film once.
    """

    def __init__(
        self,
        folder: Path,
        precision: Precision = "auto",
        batch: int = BATCH,
        trust_remote_code: bool = False,
    ) -> None:
        """Load a folder. ``batch``: requests at once, fewer where memory is short.

        Raises ``memory_short`` before anything is loaded, ``model_invalid``, ``model_incomplete``,
        ``pickle_refused``, ``remote_code_refused``, ``extra_missing``.
        """
        torch = self._torch = need_torch()
        import transformers

        from hilum.engines.local.pack import pack
        from hilum.engines.local.patches import simplify
        from hilum.models.load import COMPRESSED, load_model, quantised, weights_sha256
        from hilum.models.memory import require
        from hilum.models.processing import open_processor, quiet

        self.place = choose_place(torch, precision)
        self.batch = require(Path(folder), self.place.precision, batch, self.place.device)
        quiet()
        dtype = getattr(torch, self.place.precision)
        self.model = load_model(Path(folder), dtype, trust_remote_code)
        bits = quantised(Path(folder))
        if bits in (
            "",
            COMPRESSED,
        ):  # bitsandbytes' weights are where they run, and packed in its own way
            self.model = self.model.to(self.place.device)
            pack(self.model)
        simplify(self.model)
        self.weights_sha256 = weights_sha256(Path(folder))
        self.versions = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "precision": f"{bits} weights, {self.place.line()}" if bits else self.place.line(),
        }
        processor = open_processor(Path(folder), trust_remote_code)
        self.words = Words(processor)
        self.films = Films(self.model, processor)
        self.stops = self.words.stops(self.model.generation_config.eos_token_id)
        pad = self.words.tokenizer.pad_token_id
        self._pad = self.stops[0] if pad is None else pad
        self._takes = set(inspect.signature(self.model.forward).parameters)
        text = self.model.config.get_text_config()
        self._positions = int(getattr(text, "max_position_embeddings", 0) or 1 << 20)
        self._short = _first_range(text)
        self._together: Together[Asked, Draft] = Together(self._write, self.batch)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        """Drafts; a text that no stop id ended is not complete.

        Raises ``prompt_too_long`` where a prompt leaves the model no position to write in.
        """
        asked = [self._ask(r.images, r.prompt) for r in requests]
        drafts: dict[int, Draft] = {}
        kinds: dict[Kind, list[int]] = {}
        for i, one in enumerate(asked):
            kinds.setdefault(self._kind(one, sampling), []).append(i)
        for kind, rows in kinds.items():
            # like lengths together: a batch is padded to its longest
            rows.sort(key=lambda i: len(asked[i].ids))
            done = self._together.run([asked[i] for i in rows], kind)
            drafts.update(zip(rows, done, strict=True))
        return [drafts[i] for i in range(len(requests))]

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        """Pieces of the draft; joined, they are the text that ``generate`` gives."""
        from transformers import TextIteratorStreamer

        asked = self._ask(request.images, request.prompt)
        kind = self._kind(asked, sampling)
        streamer = TextIteratorStreamer(
            self.words.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        failed: Queue[BaseException] = Queue()
        left = threading.Event()

        def write() -> None:
            try:
                with self._together.alone():
                    self._generate([asked], kind, streamer=streamer, left=left)
            except BaseException as error:
                failed.put(error)
                streamer.end()  # or whoever reads the pieces would wait for ever

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield from _stripped(streamer)
        finally:
            left.set()  # nobody reads on: the next step is the last
        thread.join()
        if not failed.empty():
            raise failed.get()

    def choose(
        self, images: Sequence[tuple[Image, ...]], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        """Likelihood of each answer after its question, the context before it; see the protocol.

        The chat template's turn is: the images, the context, the question.
        """
        if not questions:
            return [table([])] * len(images)
        answers = [[[self.words.ids(w) for w in some] for some in q.wordings()] for q in questions]
        out = []
        for some in images:
            films = [self.films.prepare(i) for i in some]
            asked = [self.words.prompt(films, context + q.prompt) for q in questions]
            for ids in asked:
                self._room(ids)
            with self._together.alone():
                given = self._images(films)
                rows = likelihoods(self.model, asked, answers, questions, given)
            out.append(table(rows))
        return out

    def forget(self) -> None:
        """Drop the kept image features."""
        self.films.forget()

    def _ask(self, images: tuple[Image, ...], prompt: str) -> Asked:
        films = tuple(self.films.prepare(i) for i in images)
        ids = self.words.prompt(films, prompt)
        self._room(ids)
        return Asked(films, ids)

    def _room(self, ids: list[int]) -> int:
        room = self._positions - len(ids)
        if room < 1:
            wrong = f"{len(ids)} tokens, the model has {self._positions} positions"
            raise HilumError(Code.PROMPT_TOO_LONG, "prompt", wrong)
        return room

    def _kind(self, asked: Asked, sampling: Sampling) -> Kind:
        """What requests of one batch have in common."""
        limit = min(sampling.max_new_tokens, self._room(asked.ids))
        kept = replace(sampling, max_new_tokens=limit)
        # its rope would change the others; what is drawn would hang on its company
        alone = bool(self._short and len(asked.ids) + limit > self._short) or not sampling.greedy
        return (kept, id(asked) if alone else None)

    def _write(self, asked: list[Asked], kind: Any) -> list[Draft]:
        rows = self._generate(asked, kind)
        return [self._draft(row) for row in rows]

    def _generate(
        self, asked: list[Asked], kind: Kind, streamer: Any = None, left: Any = None
    ) -> list[list[int]]:
        """New ids of each prompt; ``kind`` is what ``_kind`` says of all of them."""
        sampling = kind[0]
        limit = sampling.max_new_tokens
        torch = self._torch
        longest = max(len(a.ids) for a in asked)
        pads = [longest - len(a.ids) for a in asked]
        rows = [[self._pad] * n + a.ids for n, a in zip(pads, asked, strict=True)]
        ids = torch.tensor(rows, device=self.model.device)
        mask = torch.tensor([[0] * n + [1] * (longest - n) for n in pads], device=ids.device)
        given = self._images([f for a in asked for f in a.films])
        extra = {name: value(ids) if callable(value) else value for name, value in given.items()}
        if left is not None:
            extra["stopping_criteria"] = [lambda *_: torch.full((len(asked),), left.is_set())]
        with torch.inference_mode(), draw.seeded(sampling):
            written = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                **extra,
                max_new_tokens=limit,
                **draw.arguments(sampling),
                eos_token_id=self.stops,
                min_new_tokens=limit if sampling.ignore_stops else None,
                pad_token_id=self._pad,
                streamer=streamer,
            )
        new: list[list[int]] = written[:, ids.shape[1] :].tolist()
        return new

    def _images(self, films: Sequence[Film]) -> dict[str, Any]:
        """What the model takes beside ids; a callable is given the ids."""
        torch = self._torch
        token = self.model.config.image_token_id
        given: dict[str, Any] = {}
        kinds = [n for n in ("mm_token_type_ids", "token_type_ids") if n in self._takes]
        if kinds and films:
            given[kinds[0]] = lambda ids: (ids == token).long()
        if films:
            given["mm_encoder_outputs"] = self.films.outputs(films)
            if "image_grid_thw" in self._takes:
                grids = [f.inputs["image_grid_thw"] for f in films]
                given["image_grid_thw"] = torch.cat(grids).to(self.model.device)
        return given

    def _draft(self, tokens: list[int]) -> Draft:
        ends = [tokens.index(stop) for stop in self.stops if stop in tokens]
        return Draft(self.words.text(tokens[: min(ends, default=len(tokens))]), bool(ends))


def _first_range(text: Any) -> int:
    """Positions up to which a long rope (Phi-3's) has its first set of factors; 0 for others."""
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return 0
    first = rope.get("original_max_position_embeddings")
    return int(first or getattr(text, "original_max_position_embeddings", None) or 0)


def _stripped(pieces: Any) -> Iterator[str]:
    """The pieces without white space at the whole text's ends."""
    held = ""
    begun = False
    for piece in pieces:
        text = held + piece
        if not begun:
            text = text.lstrip()
        kept = text.rstrip()
        held = text[len(kept) :]
        if kept:
            begun = True
            yield kept
