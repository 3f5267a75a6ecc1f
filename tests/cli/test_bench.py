"""``hilum bench``: what its last line says of a shape."""

from __future__ import annotations

from hilum.cli.bench import SHAPES, _named
from hilum.models.twins import shapes

FOUND = {
    "transformers_bf16_ratio_4": 9.0,
    "local_bf16_ratio_4": 1.5,
    "local_bf16_ratio_1": 7.0,
    "openvino_int8_ratio_4": 2.5,
    "openvino_int8_ratio_1": 8.0,
}


def test_every_shape_has_names_of_its_own() -> None:
    assert set(SHAPES) == set(shapes())
    assert len(set(SHAPES.values())) == len(SHAPES)


def test_a_shapes_ratio_is_that_of_the_best_of_our_engines() -> None:
    assert _named("", FOUND, 4) == FOUND
    named = _named("llava_dinov2_", FOUND, 4)
    assert named.pop("llava_dinov2_ratio_4") == 2.5
    assert "llava_dinov2_transformers_bf16_ratio_4" not in named
    assert named["llava_dinov2_openvino_int8_ratio_1"] == 8.0
    assert _named("x_", {"local_bf16_ratio_4": 1.5}, 4)["x_ratio_4"] == 1.5
