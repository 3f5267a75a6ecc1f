"""Samples to tensors: the prompt as it stands at inference, then the answer, which alone is learnt.

The prompt's ids are those that generation starts from; the answer's follow them, and the token that
ends a turn. So the loss is on the answer by construction, whatever the family's template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training.corpus import Sample, open_image

IGNORED = -100
# Lengths are rounded up to a multiple of this: oneDNN compiles and keeps kernels for each shape, 20
# to 30 MB for every other length on a processor; GPUs' matrix units want multiples of 8.
EVEN = 32


@dataclass(frozen=True)
class Encoded:
    """One sample's ids; ``learnt`` of them, at the end, are the answer."""

    ids: list[int]
    learnt: int


class Chat:
    """A processor and its chat template: samples to ids."""

    def __init__(self, processor: Any, stop_ids: Sequence[int], image_id: int) -> None:
        """Raises ``model_invalid`` for a processor without a chat template."""
        self.processor, self.image_id = processor, image_id
        self.tokenizer = processor.tokenizer
        self.stop_ids = list(stop_ids)
        if not getattr(processor, "chat_template", None):
            hint = "no chat template; name a folder that has one as model.processor"
            raise HilumError(Code.MODEL_INVALID, "processor", hint)

    def prompt(self, sample: Sample) -> str:
        """The prompt as text, up to where the answer begins."""
        return str(
            self.processor.apply_chat_template(
                self._turns(sample), tokenize=False, add_generation_prompt=True
            )
        )

    def _turns(self, sample: Sample) -> list[dict[str, Any]]:
        content = [
            *[{"type": "image"}] * len(sample.images),
            {"type": "text", "text": sample.prompt},
        ]
        turns: list[dict[str, Any]] = []
        if sample.system:
            turns.append({"role": "system", "content": [{"type": "text", "text": sample.system}]})
        return [*turns, {"role": "user", "content": content}]

    @cached_property
    def stop(self) -> int:
        """The id that ends an answer: what the template puts there, else the tokenizer's end."""
        asked = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
        said = [*asked, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]
        whole = str(self.processor.apply_chat_template(said, tokenize=False))
        tail = self.tokenizer.encode(whole.rpartition("b")[2], add_special_tokens=False)
        ends = [i for i in tail if i in self.stop_ids or i == self.tokenizer.eos_token_id]
        return int(ends[0] if ends else (self.stop_ids or [self.tokenizer.eos_token_id])[0])

    def answer_ids(self, sample: Sample) -> list[int]:
        """The answer's ids as they follow the prompt, and the id that ends it.

        Where the tokenizer would join the prompt's last letters with the answer's first, the
        answer is cut on its own: generation too starts after a finished prompt.
        """
        prompt = self.prompt(sample)
        before = self.tokenizer.encode(prompt, add_special_tokens=False)
        whole = self.tokenizer.encode(prompt + sample.answer, add_special_tokens=False)
        if whole[: len(before)] == before:
            return [*whole[len(before) :], self.stop]
        return [*self.tokenizer.encode(sample.answer, add_special_tokens=False), self.stop]

    def begin(self, samples: Sequence[Sample], images: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """The processor's tensors of some prompts, padded on the left.

        The tokenizer adds its begin token only where the template has none.
        """
        prompts = [self.prompt(s) for s in samples]
        begin = self.tokenizer.bos_token
        bare = bool(begin) and all(p.startswith(begin) for p in prompts)
        given = [list(i) for i in images] if any(images) else None
        return dict(
            self.processor(
                text=prompts,
                images=given,
                padding=True,
                padding_side="left",
                add_special_tokens=not bare,
                return_tensors="pt",
            )
        )


class Collator:
    """Batches of samples as the model takes them, with labels.

    A film that cannot be decoded mutes its sample: its labels are all ignored, the run keeps its
    order, and ``damaged`` lists the study.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.damaged: list[str] = []

    def __call__(self, samples: Sequence[Sample], answers: bool = True) -> dict[str, Any]:
        """Tensors of some samples: prompts and answers padded on the right, with ``labels``.

        Without ``answers`` the prompts alone, padded on the left, for generation.
        """
        films, muted = self._films(samples)
        if not answers:
            return self._prompts(samples, films)
        rows, pixels = self._rows(samples, films)
        return {**self._padded(samples, rows, muted), **pixels}

    def _films(self, samples: Sequence[Sample]) -> tuple[list[list[Any]], set[int]]:
        from PIL import Image

        films, muted = [], set()
        for i, sample in enumerate(samples):
            try:
                films.append([open_image(content) for content in sample.images])
            except HilumError:
                self.damaged.append(sample.study)
                muted.add(i)
                films.append([Image.new("RGB", (64, 64))] * len(sample.images))
        return films, muted

    def _prompts(self, samples: Sequence[Sample], films: list[list[Any]]) -> dict[str, Any]:
        import torch

        rows, pixels = self._rows(samples, films)
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {
            key: torch.stack(
                [_padded(row[key], longest, self._blank(key), left=True) for row in rows]
            )
            for key in rows[0]
        }
        return {**batch, **pixels}

    def _rows(
        self, samples: Sequence[Sample], films: list[list[Any]]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Each prompt's own tensors without padding, and what belongs to the films."""
        rows: list[dict[str, Any]] = [{} for _ in samples]
        pixels: dict[str, Any] = {}
        # a processor takes texts with films or texts without, not both
        for with_films in (True, False):
            places = [i for i, some in enumerate(films) if bool(some) is with_films]
            if not places:
                continue
            begun = self.chat.begin([samples[i] for i in places], [films[i] for i in places])
            shape, mask = begun["input_ids"].shape, begun["attention_mask"].bool()
            for key, tensor in begun.items():
                if getattr(tensor, "shape", None) != shape:
                    pixels[key] = tensor
                    continue
                for k, i in enumerate(places):
                    rows[i][key] = tensor[k][mask[k]]
        keys = set().union(*rows)
        for row in rows:  # a text-only prompt may lack what tells films from words: it has none
            for key in keys - row.keys():
                row[key] = row["input_ids"].new_zeros(len(row["input_ids"]))
        return rows, pixels

    def _padded(
        self, samples: Sequence[Sample], rows: list[dict[str, Any]], muted: set[int]
    ) -> dict[str, Any]:
        import torch

        answers = [torch.tensor(self.chat.answer_ids(s)) for s in samples]
        longest = max(len(r["input_ids"]) + len(a) for r, a in zip(rows, answers, strict=True))
        longest += -longest % EVEN
        batch: dict[str, list[Any]] = {}
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            silent = torch.full_like(row["input_ids"], IGNORED)
            learnt = torch.full_like(answer, IGNORED) if i in muted else answer
            said = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
            whole = {
                **{
                    k: torch.cat([v, said.get(k, torch.zeros_like(answer))]) for k, v in row.items()
                },
                "labels": torch.cat([silent, learnt]),
            }
            for key, tensor in whole.items():
                batch.setdefault(key, []).append(_padded(tensor, longest, self._blank(key)))
        return {key: torch.stack(tensors) for key, tensors in batch.items()}

    def _blank(self, key: str) -> int:
        if key == "labels":
            return IGNORED
        return int(self.chat.tokenizer.pad_token_id or 0) if key == "input_ids" else 0


def _padded(tensor: Any, length: int, blank: int, left: bool = False) -> Any:
    import torch

    room = torch.full((length - len(tensor),), blank, dtype=tensor.dtype)
    return torch.cat([room, tensor] if left else [tensor, room])


def learnt_text(chat: Chat, labels: Any) -> str:
    """What is learnt of one sample: its labels that are not ignored, as text."""
    return str(chat.tokenizer.decode(labels[labels != IGNORED]))
