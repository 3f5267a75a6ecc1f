"""The embedded reader's encoder inside other families' classes: the same tokens, never retuned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.codes import Code, HilumError
from hilum.models.embedded import FilmEncoder, FilmEncoderConfig
from hilum.models.embedded.configuration import CLASSES
from hilum.models.load import load_model
from hilum.models.tower import FilmTower, FilmTowerConfig, open_encoder
from hilum.models.twins import SEEING, make_seeing_twin

SMALL = {"image_size": 64, "channels": [4, 4, 8, 8, 8], "hidden_size": 32, "detail": 8,
         "attention_layers": 1, "attention_heads": 2, "glimpse": 8}  # fmt: skip


def tower(**over: object) -> FilmTower:
    torch.manual_seed(0)
    return FilmTower(FilmTowerConfig.around(FilmEncoderConfig(**{**SMALL, **over}))).eval()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.sampled_from([64, 128, 320, 640]))
def test_every_number_of_proposals_has_its_square(fractures: int, size: int) -> None:
    """Later weights may propose more places; the square divides the film and holds them all."""
    classes = {**CLASSES, "fracture": fractures}
    config = FilmTowerConfig.around(FilmEncoderConfig(image_size=size, classes=classes))
    assert config.tokens >= sum(classes.values())
    assert config.image_size % config.patch_size == 0


def test_tokens_are_the_encoders_and_the_rest_is_zeros() -> None:
    made = tower()
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        mine = made(grey.expand(-1, 3, -1, -1)).last_hidden_state
        theirs = made.encoder(grey).last_hidden_state
    assert mine.shape[1] == made.config.tokens > theirs.shape[1]
    assert torch.allclose(mine[:, : theirs.shape[1]], theirs, atol=1e-4)
    assert not mine[:, theirs.shape[1] :].any()


def test_training_leaves_the_norms_statistics_alone() -> None:
    made = tower().train()
    before = {n: b.clone() for n, b in made.named_buffers()}
    made(torch.randn(2, 3, 64, 64)).last_hidden_state.sum().backward()
    assert not made.training
    assert all(torch.equal(b, before[n]) for n, b in made.named_buffers())
    moved = [n for n, p in made.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("stride8" in n for n in moved)


def test_half_precision_sees_what_full_does() -> None:
    film = torch.randn(1, 3, 64, 64)
    made = tower()
    with torch.no_grad():
        full = made(film).last_hidden_state
        half = made.to(torch.bfloat16)(film.bfloat16()).last_hidden_state
    assert half.dtype == torch.bfloat16
    assert half.shape == full.shape
    assert torch.isfinite(half).all()


@pytest.mark.parametrize("family", SEEING)
def test_a_seeing_twin_is_saved_and_opened_with_the_readers_encoder(
    family: str, tmp_path: Path
) -> None:
    opened = load_model(make_seeing_twin(family, tmp_path / "twin"), torch.float32)
    theirs = open_encoder().state_dict()
    mine = opened.model.vision_tower.encoder.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[n], theirs[n]) for n in theirs)


@pytest.mark.parametrize("family", SEEING)
def test_a_seeing_twin_may_have_a_wider_language_model(family: str, tmp_path: Path) -> None:
    opened = load_model(make_seeing_twin(family, tmp_path / "twin", width=128), torch.float32)
    text = opened.config.text_config
    assert (text.hidden_size, text.intermediate_size) == (128, 256)
    weight = next(w for n, w in opened.named_parameters() if "down_proj" in n)
    assert float(weight.detach().std()) == pytest.approx(0.125 / 2**0.5, rel=0.1)


@pytest.mark.parametrize("width", [-64, 0, 32, 100])
def test_a_width_that_heads_do_not_share_is_refused(width: int, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="multiple of 64") as failed:
        make_seeing_twin("llava-dinov2", tmp_path / "twin", width=width)
    assert failed.value.code is Code.OPTION_INVALID
    assert not (tmp_path / "twin").exists()


def test_a_family_without_a_place_for_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="gemma3") as failed:
        make_seeing_twin("qwen3-vl", tmp_path)
    assert failed.value.code is Code.PRESET_UNKNOWN


def test_a_folder_that_is_no_reader_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as failed:
        open_encoder(tmp_path)
    assert failed.value.code is Code.MODEL_INVALID
    assert "\n" not in str(failed.value)


def test_the_encoder_is_one_of_films() -> None:
    assert isinstance(open_encoder(), FilmEncoder)
