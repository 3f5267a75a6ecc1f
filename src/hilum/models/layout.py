"""Where the parts of a checkpoint lie, found by shape and by the names inside each part."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError

# Names inside a part by which it is known; what stands before them is its prefix.
ENCODERS = {
    "dinov2": "embeddings.patch_embeddings.projection.weight",
    "siglip_vision_model": "embeddings.patch_embedding.weight",
}
FIRST_LAYER = "layers.0.self_attn.qkv_proj.weight"
# Tensors that take no part in an answer: separators of the unused high-resolution transform, and
# what an encoder has behind the features that are read.
UNUSED = re.compile(
    r"(^|\.)(glb_GN|sub_GN|position_ids|rotary_emb\.inv_freq)$|(^|\.)(head|pooler)\."
)
# ViT-B and ViT-L have attention heads of 64; a checkpoint does not hold their number.
HEAD_WIDTH = 64


@dataclass(frozen=True)
class Parts:
    """Prefixes of the parts, and the projector's two layers (names without ``.weight``)."""

    encoder: str
    vision: str
    language: str
    head: str
    projector: tuple[str, str]

    @classmethod
    def find(cls, source: Path, shapes: dict[str, list[int]]) -> Parts:
        """Find each part; raises ``model_invalid`` where one is missing or there are two."""
        encoder, first = _one(
            source,
            "vision encoder",
            [(kind, n) for kind, tail in ENCODERS.items() for n in shapes if n.endswith(tail)],
        )
        vision = first.removesuffix(ENCODERS[encoder])
        layer = _one(source, "language model", [n for n in shapes if n.endswith(FIRST_LAYER)])
        language = layer.removesuffix(FIRST_LAYER)
        heads = [n for n in shapes if n.endswith("lm_head.weight")]
        width, wide = shapes[first][0], shapes[language + "norm.weight"][0]
        taken = (vision, language + "layers.", language + "embed_tokens.", *heads)
        free = [n for n in shapes if n.endswith(".weight") and not n.startswith(taken)]
        one = _one(source, "projector", [n for n in free if shapes[n] == [wide, width]])
        two = _one(source, "projector", [n for n in free if shapes[n] == [wide, wide] and n != one])
        layers = (one.removesuffix(".weight"), two.removesuffix(".weight"))
        return cls(encoder, vision, language, heads[0] if heads else "", layers)

    def renames(
        self, source: Path, shapes: dict[str, list[int]]
    ) -> tuple[dict[str, str], list[str]]:
        """New name of each tensor, in the words of LLaVA's files, and what is left out."""
        tower = "vision_tower." + ("vision_model." if self.encoder != "dinov2" else "")
        names, dropped = {}, []
        for name in shapes:
            if UNUSED.search(name):
                dropped.append(name)
            elif name == self.head:
                names[name] = "language_model.lm_head.weight"
            elif name.startswith(self.vision):
                names[name] = tower + name[len(self.vision) :]
            elif name.rpartition(".")[0] in self.projector:
                layer, _, kind = name.rpartition(".")
                names[name] = (
                    f"multi_modal_projector.linear_{1 + self.projector.index(layer)}.{kind}"
                )
            elif name.startswith(self.language):
                names[name] = "language_model.model." + name[len(self.language) :]
            else:
                raise HilumError(Code.MODEL_INVALID, source, f"no place for tensor {name}")
        return names, dropped

    def encoder_config(
        self, shapes: dict[str, list[int]], settings: dict[str, Any], heads: int | None
    ) -> dict[str, Any]:
        """The encoder's sizes, read off its tensors."""
        width, _, patch, _ = shapes[self.vision + ENCODERS[self.encoder]]
        dino = self.encoder == "dinov2"
        layer = "encoder.layer." if dino else "encoder.layers."
        found = re.compile(re.escape(self.vision + layer) + r"(\d+)\.")
        layers = {int(m.group(1)) for n in shapes if (m := found.match(n))}
        hidden = shapes[f"{self.vision}{layer}0.mlp.fc1.weight"][0]
        if dino:
            positions = shapes[self.vision + "embeddings.position_embeddings"][1] - 1
        else:
            positions = shapes[self.vision + "embeddings.position_embedding.weight"][0]
        config = {
            "model_type": self.encoder,
            "hidden_size": width,
            "num_hidden_layers": len(layers),
            "num_attention_heads": heads or max(1, width // HEAD_WIDTH),
            "patch_size": patch,
            "image_size": math.isqrt(positions) * patch,
        }
        size = {"mlp_ratio": hidden // width} if dino else {"intermediate_size": hidden}
        return {**config, **size, **({} if dino else {"vision_use_head": False})}


def _one(source: Path, part: str, found: list[Any]) -> Any:
    if len(found) != 1:
        count = "none" if not found else f"{len(found)} of them"
        raise HilumError(Code.MODEL_INVALID, source, f"{part}: {count}")
    return found[0]
