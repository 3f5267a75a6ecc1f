"""The embedded reader's encoder as the vision tower of transformers' own classes.

A random tower learns little from a few hundred films. This one has learnt where findings lie on
phantoms, so a LLaVA or a Gemma 3 around it learns in minutes what a published encoder would bring.
Importing this registers the tower with transformers' Auto classes. Phantoms only.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hilum.codes import Code, HilumError
from hilum.models.embedded import WEIGHTS, FilmEncoder, FilmEncoderConfig
from hilum.models.embedded.processing import MEAN, SPREAD
from hilum.models.processing import quiet


@strict
class FilmTowerConfig(PreTrainedConfig):
    """A film encoder, and the square of tokens that its proposals are laid out in.

    ``image_size // patch_size`` tokens a side: what is left of the square is zeros.
    """

    model_type = "hilum_film_tower"

    encoder: dict[str, Any] = field(default_factory=dict)
    hidden_size: int = 256
    image_size: int = 640
    patch_size: int = 128
    num_hidden_layers: int = 1
    layer_norm_eps: float = 1e-6

    @classmethod
    def around(cls, encoder: FilmEncoderConfig) -> FilmTowerConfig:
        """The smallest square that holds the encoder's proposals and divides its films."""
        count, size = sum(encoder.classes.values()), encoder.image_size
        side = next(n for n in range(1, size + 1) if size % n == 0 and n * n >= count)
        settings = {
            k: v for k, v in encoder.to_dict().items() if k in FilmEncoderConfig.__annotations__
        }
        return cls(
            encoder=settings,
            hidden_size=encoder.hidden_size,
            image_size=size,
            patch_size=size // side,
        )

    @property
    def tokens(self) -> int:
        """Tokens of a film."""
        return (self.image_size // self.patch_size) ** 2


class FilmTower(PreTrainedModel):
    """Films (B, 3, S, S), three times the same grey, to proposals' tokens (B, side², hidden)."""

    config_class = FilmTowerConfig
    main_input_name = "pixel_values"
    input_modalities = "image"
    _supports_sdpa = True

    def __init__(self, config: FilmTowerConfig) -> None:
        super().__init__(config)
        self.encoder = FilmEncoder(FilmEncoderConfig(**config.encoder))
        self.post_init()

    def train(self, mode: bool = True) -> FilmTower:
        """Weights may be trained; the norms keep the statistics of the films they learnt from."""
        return super().train(False)

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutputWithPooling:
        """The last hidden state twice, since LLaVA takes the last but one."""
        kind = self.encoder.project.weight.dtype
        grey = pixel_values.mean(1, keepdim=True).to(kind)
        # weights in float32 are trained, or asked for: the caller says what they compute in
        whole = kind == torch.float32
        with nullcontext() if whole else torch.autocast(grey.device.type, kind):
            seen = self.encoder(grey).last_hidden_state
        room = self.config.tokens - seen.shape[1]
        tokens = torch.nn.functional.pad(seen.to(pixel_values.dtype), (0, 0, 0, room))
        return BaseModelOutputWithPooling(
            last_hidden_state=tokens, hidden_states=(tokens, tokens), pooler_output=None
        )


AutoConfig.register(FilmTowerConfig.model_type, FilmTowerConfig, exist_ok=True)
AutoModel.register(FilmTowerConfig, FilmTower, exist_ok=True)


def open_encoder(reader: Path = WEIGHTS) -> FilmEncoder:
    """The encoder of an embedded reader's folder, in float32; raises ``model_invalid``."""
    from transformers import VisionEncoderDecoderModel

    quiet()
    try:
        opened = VisionEncoderDecoderModel.from_pretrained(
            reader, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(Code.MODEL_INVALID, reader, type(error).__name__) from error
    encoder: Any = opened.encoder
    if not isinstance(encoder, FilmEncoder):
        raise HilumError(Code.MODEL_INVALID, reader, "its encoder is no film encoder")
    return encoder


def sizes_around(sizes: dict[str, Any], config: FilmTowerConfig, width: int) -> dict[str, Any]:
    """A twin's sizes (``twins.yaml``) with the tower, and a language model of this width.

    Films are stretched to the encoder's square and scaled as it wants them.
    """
    vision = {"model_type": config.model_type, **config.to_diff_dict()}
    wide = {"hidden_size": width, "intermediate_size": 2 * width}
    if "compose" in sizes:
        fit = {"fit": "stretch", "side": config.image_size, "patch": config.patch_size}
        return {**sizes, "compose": fit, "vision": vision, "text": {**sizes["text"], **wide}}
    inner = sizes["config"]
    head = width // inner["text_config"]["num_attention_heads"]
    text = {**inner["text_config"], **wide, "head_dim": head, "query_pre_attn_scalar": head}
    square = {"height": config.image_size, "width": config.image_size}
    return {
        **sizes,
        "settings": {"image_seq_length": config.tokens},
        "image_settings": {"size": square, "image_mean": [MEAN] * 3, "image_std": [SPREAD] * 3},
        "config": {**inner, "vision_config": vision, "text_config": text,
                   "mm_tokens_per_image": config.tokens},
    }  # fmt: skip
