"""MAIRA-2's architecture in transformers' words, so that its weights open with no remote code.

A Dinov2 encoder whose last hidden state (final norm applied, class token dropped) goes through a
projector of four linear layers into a Llama. Sizes and tensor names follow the configuration and
index of microsoft/maira-2 (revision 795a2b1; 522 tensors); the code is our own. Importing this
registers the classes with transformers' Auto classes.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, LlavaConfig
from transformers.activations import ACT2FN
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.models.llava.modeling_llava import (
    LlavaForConditionalGeneration,
    LlavaModel,
    LlavaPreTrainedModel,
)


@strict
class Maira2Config(LlavaConfig):
    """LLaVA's configuration and the projector's number of linear layers."""

    model_type = "maira2"

    projector_n_layers: int = 4


class Projector(nn.Module):
    """Linear layers with an activation between them: (..., vision width) to (..., text width)."""

    def __init__(self, config: Maira2Config) -> None:
        super().__init__()
        vision: Any = config.vision_config
        text: Any = config.text_config
        layers: list[nn.Module] = [nn.Linear(vision.hidden_size, text.hidden_size)]
        for _ in range(config.projector_n_layers - 1):
            layers += [
                ACT2FN[config.projector_hidden_act],
                nn.Linear(text.hidden_size, text.hidden_size),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image features in the language model's width."""
        return self.layers(features)


class Maira2Model(LlavaModel):
    """LLaVA's model with MAIRA-2's projector and choice of features."""

    config_class = Maira2Config

    def __init__(self, config: Maira2Config) -> None:
        LlavaPreTrainedModel.__init__(self, config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector: nn.Module = Projector(config)  # type: ignore[assignment]
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        """One tensor (tokens, text width) an image, in ``pooler_output``."""
        outputs = self.vision_tower(pixel_values, return_dict=True)
        projected = self.multi_modal_projector(outputs.last_hidden_state[:, 1:])
        outputs.pooler_output = list(projected)
        return outputs


class Maira2ForConditionalGeneration(LlavaForConditionalGeneration):
    """MAIRA-2 with its language model's head."""

    config_class = Maira2Config

    def __init__(self, config: Maira2Config) -> None:
        LlavaPreTrainedModel.__init__(self, config)
        self.model = Maira2Model(config)
        text: Any = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()


AutoConfig.register(Maira2Config.model_type, Maira2Config, exist_ok=True)
AutoModelForImageTextToText.register(Maira2Config, Maira2ForConditionalGeneration, exist_ok=True)
register_checkpoint_conversion_mapping(
    Maira2Config.model_type,
    [
        WeightRenaming(r"^language_model\.lm_head\.", "lm_head."),
        WeightRenaming(r"^language_model\.model\.", "model.language_model."),
        WeightRenaming(r"^vision_tower\.", "model.vision_tower."),
        WeightRenaming(r"^multi_modal_projector\.", "model.multi_modal_projector."),
    ],
    overwrite=True,
)
