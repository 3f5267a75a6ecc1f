"""Images to features in the language model's width, kept by the images' content."""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Pillow

from hilum.codes import Code, HilumError
from hilum.engines.base import Image

# Features kept between calls: some 30 films of ChexFract's (8.4 MB each in bfloat16).
KEPT_BYTES = 256 << 20
ENCODE_AT_ONCE = 8
# Images kept as their processor made them, 3 MB each at 518 px.
PREPARED = 32


@dataclass(frozen=True)
class Film:
    """One image as the model wants it: its processor's tensors and the words that hold its place.

    ``words``: what its placeholder becomes in the prompt. ``tokens``: image tokens among them.
    """

    key: bytes
    inputs: dict[str, Any]
    words: str
    tokens: int


@dataclass(frozen=True)
class Features:
    """Features of one film (tokens, width), and those that deeper layers get beside them."""

    tokens: Any
    deep: tuple[Any, ...] = ()

    def size(self) -> int:
        """Bytes."""
        return sum(t.numel() * t.element_size() for t in (self.tokens, *self.deep))


class Films:
    """Prepares and encodes images with a model and its processor; remembers the last ones."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        taken = inspect.signature(model.base_model.get_image_features).parameters
        self._names = [name for name in taken if name != "kwargs"]
        self._memory: OrderedDict[bytes, Features] = OrderedDict()
        self._prepared: OrderedDict[bytes, Film] = OrderedDict()
        self._mutex = threading.Lock()  # of what is prepared: that is done by any thread
        self._listed = True  # whether the family has its features in a list

    def prepare(self, image: Image) -> Film:
        """An image as the model wants it; raises ``model_unsupported`` for an unknown processor."""
        key = hashlib.sha256(image.tobytes() + repr(image.shape).encode()).digest()
        with self._mutex:
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
        film = self._prepare(key, image)
        with self._mutex:
            self._prepared[key] = film
            while len(self._prepared) > PREPARED:
                self._prepared.popitem(last=False)
        return film

    def _prepare(self, key: bytes, image: Image) -> Film:
        processor = self._processor
        picture = Pillow.fromarray(np.ascontiguousarray(image)).convert("RGB")
        settings = getattr(processor, "images_kwargs", None) or {}
        raw = processor.image_processor([[picture]], return_tensors="pt", **settings)
        try:
            words = str(processor.replace_image_token(raw, image_idx=0))
        except NotImplementedError:
            raise HilumError(
                Code.MODEL_UNSUPPORTED, type(processor).__name__, "no image words"
            ) from None
        tokens = processor.tokenizer.encode(words, add_special_tokens=False)
        inputs = {name: raw[name] for name in self._names if name in raw}
        return Film(key, inputs, words, tokens.count(self._model.config.image_token_id))

    def features(self, films: Sequence[Film]) -> list[Features]:
        """Features of each film; what is remembered is not encoded again."""
        known = {f.key: self._memory[f.key] for f in films if f.key in self._memory}
        missing = list({f.key: f for f in films if f.key not in known}.values())
        for batch in _alike(missing):
            known.update(zip((f.key for f in batch), self._encode(batch), strict=True))
        for film in films:
            self._memory[film.key] = known[film.key]
            self._memory.move_to_end(film.key)
        while len(self._memory) > 1 and self._bytes() > KEPT_BYTES:
            self._memory.popitem(last=False)
        return [known[f.key] for f in films]

    def outputs(self, films: Sequence[Film]) -> Any:
        """What the model's forward takes for these films in a row (``mm_encoder_outputs``)."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        some = self.features(films)
        tokens: Any = [f.tokens for f in some]
        if not self._listed:
            import torch

            tokens = torch.cat(tokens).unsqueeze(0)
        out = BaseModelOutputWithPooling(pooler_output=tokens)
        if some[0].deep:
            out.deepstack_features = [
                list(layer) for layer in zip(*(f.deep for f in some), strict=True)
            ]
        return {"image": out}

    def forget(self) -> None:
        """Drop what is kept, so that the next call encodes its films again."""
        self._memory.clear()
        with self._mutex:
            self._prepared.clear()

    def _bytes(self) -> int:
        return sum(f.size() for f in self._memory.values())

    def _encode(self, films: Sequence[Film]) -> list[Features]:
        import torch

        model = self._model
        inputs = {
            name: torch.cat([f.inputs[name] for f in films]).to(model.device)
            for name in films[0].inputs
        }
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            out = model.base_model.get_image_features(**inputs, return_dict=True)
        self._listed = isinstance(out.pooler_output, list | tuple)
        counts = [f.tokens for f in films]
        # clones: a view would keep the whole batch
        tokens = [t.clone() for t in _flat(out.pooler_output).split(counts)]
        layers = getattr(out, "deepstack_features", None) or []
        deep = [[t.clone() for t in _flat(layer).split(counts)] for layer in layers]
        return [Features(t, tuple(d[i] for d in deep)) for i, t in enumerate(tokens)]


def _flat(features: Any) -> Any:
    """Features of several images, listed or stacked, as (tokens, width)."""
    import torch

    whole = torch.cat(list(features)) if isinstance(features, list | tuple) else features
    return whole.reshape(-1, whole.shape[-1])


def _alike(films: Sequence[Film]) -> list[list[Film]]:
    """Films whose tensors fit together, a batch at a time."""
    groups: dict[Any, list[Film]] = {}
    for film in films:
        shape = tuple((n, t.shape[1:]) for n, t in film.inputs.items())
        groups.setdefault(shape, []).append(film)
    return [
        group[i : i + ENCODE_AT_ONCE]
        for group in groups.values()
        for i in range(0, len(group), ENCODE_AT_ONCE)
    ]
