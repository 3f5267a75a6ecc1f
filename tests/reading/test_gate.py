"""The gate's rules, one by one and together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.codes import Code
from hilum.imaging import load, scan
from hilum.reading.gate import judge
from hilum.report import Verdict
from hilum.study import Study, View, Window

CHEST = {
    "modality": "CR",
    "transfer_syntax": "1.2.840.10008.1.2.1",
    "sop_class": "1.2.840.10008.5.1.4.1.1.1",
    "frames": "1",
    "samples": "1",
}
PICTURE = np.add.outer(np.arange(300) * 5, np.arange(280) * 9).astype(np.uint16)


def view(pixels: NDArray[Any] = PICTURE, *, position: str | None = "PA", **header: str) -> View:
    kept = {key: text for key, text in {**CHEST, **header}.items() if text}
    return View(pixels=pixels, position=position, header=kept)


def reasons(*views: View) -> list[Code]:
    gate = judge(Study(id="x", views=list(views)))
    assert (gate.verdict is Verdict.ACCEPT) == (not gate.reasons)
    return gate.reasons


def test_a_frontal_chest_is_accepted() -> None:
    assert reasons(view()) == []
    assert reasons(view(modality="DX", presentation_intent="FOR PRESENTATION")) == []


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ({"modality": "CT"}, False),
        ({"modality": "MG"}, False),
        ({"modality": "OT"}, False),
        ({"modality": ""}, True),  # the SOP class says CR
        ({"modality": "", "sop_class": "1.2.840.10008.5.1.4.1.1.7"}, False),
        ({"modality": "CR", "sop_class": "1.2.840.10008.5.1.4.1.1.7"}, True),
    ],
)
def test_modality(header: dict[str, str], accepted: bool) -> None:
    assert reasons(view(**header)) == ([] if accepted else [Code.MODALITY_UNSUPPORTED])


def test_a_raster_has_no_modality() -> None:
    assert reasons(View(pixels=PICTURE, header={"frames": "1", "samples": "1"})) == []


@pytest.mark.parametrize(
    "position",
    ["LL", "RL", "LATERAL", "LAT", "L LAT", "LLD", "RAO", "LPO", "PA OBLIQUE", "lateral"],
)
def test_views_that_are_not_frontal(position: str) -> None:
    assert reasons(view(position=position)) == [Code.NOT_A_FRONTAL_VIEW]


@pytest.mark.parametrize("position", ["PA", "AP", "AP SUPINE", "", None, "CHEST", "RLX", "1"])
def test_frontal_and_unknown_views_pass(position: str | None) -> None:
    assert reasons(view(position=position)) == []


def test_a_lateral_beside_a_frontal_view_is_a_usual_pair() -> None:
    assert reasons(view(), view(position="LL")) == []
    assert reasons(view(position="RL"), view(position="LL")) == [Code.NOT_A_FRONTAL_VIEW]


@pytest.mark.parametrize(
    "part",
    [
        "HAND",
        "LEFT HAND",
        "R-KNEE",
        "UP_EXTREMITY",
        "L SPINE",
        "TSPINE",
        "SKULL",
        "FOOT_RIGHT",
        "KUB",
    ],
)
def test_other_parts_are_not_a_chest(part: str) -> None:
    assert reasons(view(body_part=part)) == [Code.NOT_A_CHEST]


@pytest.mark.parametrize(
    "part",
    [
        "CHEST", "NON GRID CHEST", "THORAX", "CHEST_ABDOMEN", "RIBS", "PORT CHEST/SHOULDER", "",
        "WHOLEBODY", "HANDHELD", "FACEUP", "ARMED", "UNKNOWN", "123",
    ],
)  # fmt: skip
def test_chests_and_unknown_parts_pass(part: str) -> None:
    assert reasons(view(body_part=part)) == []


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"frames": "12"}, Code.SEVERAL_FRAMES),
        ({"samples": "3"}, Code.NOT_GREYSCALE),
        ({"presentation_intent": "FOR PROCESSING"}, Code.FOR_PROCESSING),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.1.1.1"}, Code.FOR_PROCESSING),
    ],
)
def test_single_header_rules(header: dict[str, str], code: Code) -> None:
    assert reasons(view(**header)) == [code]


def test_size() -> None:
    assert reasons(view(PICTURE[:199])) == [Code.TOO_SMALL]
    assert reasons(view(PICTURE[:, :199])) == [Code.TOO_SMALL]
    assert reasons(view(PICTURE[:200, :200])) == []


def blank(kind: str) -> NDArray[Any]:
    """Films without a picture: one level, noise (which min-max blows up), a marker, a dead line."""
    random = np.random.default_rng(7)
    pixels = np.full((600, 500), 1000.0)
    if kind != "flat":
        pixels += random.normal(0, 5, pixels.shape)
    if kind == "marker":
        pixels[20:60, 20:50] = 4095
    if kind == "line":
        pixels[300:303] = 0
    return pixels.astype(np.uint16)


@pytest.mark.parametrize("kind", ["flat", "noise", "marker", "line"])
@pytest.mark.parametrize("inverted", [False, True])
def test_blank_films(kind: str, inverted: bool) -> None:
    film = view(blank(kind))
    film.inverted = inverted
    assert reasons(film) == [Code.BLANK_FILM]


def test_a_window_that_shows_nothing_makes_a_film_blank() -> None:
    film = view()
    film.voi = [Window(center=60000, width=10)]
    assert reasons(film) == [Code.BLANK_FILM]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (31, 33), (200, 5000)])
def test_odd_shapes_are_judged(shape: tuple[int, int]) -> None:
    found = reasons(view(np.zeros(shape, np.uint16)))
    assert Code.BLANK_FILM in found
    assert (Code.TOO_SMALL in found) == (min(shape) < 200)


def test_every_reason_is_given_once_in_a_fixed_order() -> None:
    bad = view(
        np.zeros((50, 50), np.uint16),
        position="LL",
        modality="CT",
        frames="3",
        samples="3",
        presentation_intent="FOR PROCESSING",
        body_part="HAND",
    )
    expected = [
        Code.MODALITY_UNSUPPORTED,
        Code.SEVERAL_FRAMES,
        Code.NOT_GREYSCALE,
        Code.FOR_PROCESSING,
        Code.NOT_A_CHEST,
        Code.NOT_A_FRONTAL_VIEW,
        Code.TOO_SMALL,
        Code.BLANK_FILM,
    ]
    assert sorted(reasons(bad, bad)) == sorted(expected)
    assert reasons(bad, bad) == reasons(bad)


REAL = {
    "highdicom/dx_image.dcm": [Code.TOO_SMALL],
    "pydicom_data/RG1_J2KI.dcm": [],
    "pydicom_data/RG3_J2KR.dcm": [Code.NOT_A_CHEST],
    "pydicom_data/MR2_J2KI.dcm": [Code.MODALITY_UNSUPPORTED],
    "highdicom/ct_image.dcm": [Code.MODALITY_UNSUPPORTED, Code.TOO_SMALL],
}


@pytest.mark.parametrize("name", REAL)
def test_real_dicom(dev_data: Path, name: str) -> None:
    (files,) = scan([dev_data / "dicom" / name])
    assert judge(load(files)).reasons == REAL[name]


def test_real_chests_pass(dev_data: Path) -> None:
    for files in scan([dev_data / "xray/nih", dev_data / "xray/kermany_pediatric_ccby4"]):
        assert judge(load(files)).reasons == [], files.paths[0].name
