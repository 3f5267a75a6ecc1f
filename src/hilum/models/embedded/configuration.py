"""Shape of the film encoder."""

from __future__ import annotations

from dataclasses import field

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# class -> proposals kept of it, in the order of the heatmap's channels
CLASSES = {
    "cardiomegaly": 1,
    "pleural_effusion": 2,
    "pneumothorax": 2,
    "nodule": 3,
    "lung_opacity": 2,
    "atelectasis": 2,
    "support_devices": 1,
    "fracture": 7,
}
# class -> side of the pieces of film around its places that are looked at once more, in pixels of
# the encoder's input (at 640, 1.6 pixels are a millimetre of a phantom)
LOOKS = {"nodule": 64, "fracture": 48}


@strict
class FilmEncoderConfig(PreTrainedConfig):
    """Sizes of the film encoder.

    ``image_size``: side of the square film in pixels, a multiple of 32. ``channels``: widths at
    strides 2, 4, 8, 16, 32. ``detail``: width of the stride-8 map that proposals are read from.
    ``glimpse``: width of a second look at a place. ``classes``, ``looks``: in the order of
    :data:`CLASSES`, whatever the order they are given in; no look at a class without proposals.
    """

    model_type = "hilum_film_encoder"

    image_size: int = 640
    channels: list[int] | tuple[int, ...] = (16, 32, 64, 128, 256)
    hidden_size: int = 256
    detail: int = 80
    attention_layers: int = 2
    attention_heads: int = 4
    classes: dict[str, int] = field(default_factory=lambda: dict(CLASSES))
    ribs: int = 12
    regions: int = 3
    glimpse: int = 64
    looks: dict[str, int] = field(default_factory=lambda: dict(LOOKS))

    def __post_init__(self, **kwargs):  # type: ignore[no-untyped-def]
        if unknown := {*self.classes, *self.looks} - set(CLASSES):
            raise ValueError(f"classes that no film encoder knows: {sorted(unknown)}")
        # config.json is written with its keys sorted, but channels and slots have one order
        self.classes = {name: self.classes[name] for name in CLASSES if name in self.classes}
        self.looks = {name: self.looks[name] for name in self.classes if name in self.looks}
        super().__post_init__(**kwargs)
