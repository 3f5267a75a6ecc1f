"""Study: windows and LUTs against the formulas of DICOM PS3.3 C.11.2, one inversion, odd films."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from hilum.codes import Code
from hilum.study import Context, Study, View, VoiFunction, VoiLut, Window

# Quarters are exact in float32, so a formula in float64 must agree to rounding of the last step.
quarters = st.integers(-40_000, 280_000).map(lambda n: n / 4)
widths = st.integers(1, 280_000).map(lambda n: n / 4)


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def film(values: Any, dtype: Any = np.uint16, **more: Any) -> View:
    return View(pixels=np.atleast_2d(np.array(values, dtype)), **more)


def linear(x: float, center: float, width: float) -> float:
    """C.11.2.1.2.1, with ymin 0 and ymax 1."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


def linear_exact(x: float, center: float, width: float) -> float:
    """C.11.2.1.3.2."""
    if x <= center - width / 2:
        return 0.0
    if x > center + width / 2:
        return 1.0
    return (x - center) / width + 0.5


def sigmoid(x: float, center: float, width: float) -> float:
    """C.11.2.1.3.1, written so that no exponential overflows."""
    z = 4 * (x - center) / width
    return 1 / (1 + math.exp(-z)) if z >= 0 else 1 - 1 / (1 + math.exp(min(z, 700)))


FORMULAS = {
    VoiFunction.LINEAR: linear,
    VoiFunction.LINEAR_EXACT: linear_exact,
    VoiFunction.SIGMOID: sigmoid,
}


@settings(deadline=None)
@given(st.sampled_from(VoiFunction), quarters, widths, st.lists(quarters, min_size=1, max_size=30))
def test_windows_follow_the_standards_formulas(
    function: VoiFunction, center: float, width: float, values: list[float]
) -> None:
    if function is VoiFunction.LINEAR:
        width = max(width, 1)  # the standard knows no narrower linear window
    edges = [center - width / 2, center - 0.5, center, center + width / 2]
    xs = [*values, *edges]
    shown = Window(center=center, width=width, function=function).apply(floats(*xs))
    expected = [FORMULAS[function](float(np.float32(x)), center, width) for x in xs]
    np.testing.assert_allclose(shown, expected, atol=1e-4 if function == "SIGMOID" else 2e-6)
    assert shown.dtype == np.float32


@settings(deadline=None)
@given(st.sampled_from(VoiFunction), quarters, widths)
def test_windows_rise_and_stay_between_0_and_1(
    function: VoiFunction, center: float, width: float
) -> None:
    values = np.linspace(-70_000, 140_000, 501, dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        shown = Window(center=center, width=width, function=function).apply(values)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (np.diff(shown) >= 0).all()


def test_the_standards_own_example_of_a_whole_byte() -> None:
    shown = Window(center=128, width=256).apply(np.arange(256, dtype=np.float32))
    np.testing.assert_allclose(shown * 255, np.arange(256), atol=1e-4)


@pytest.mark.parametrize(
    ("function", "shown"),
    [("LINEAR", [0, 0, 1]), ("LINEAR_EXACT", [0, 0.5, 1]), ("SIGMOID", [0.018, 0.5, 0.982])],
)
def test_a_window_of_width_one(function: str, shown: list[float]) -> None:
    window = Window(center=100 if function != "LINEAR" else 100.5, width=1, function=function)  # type: ignore[arg-type]
    np.testing.assert_allclose(window.apply(floats(99, 100, 101)), shown, atol=1e-3)


@pytest.mark.parametrize("width", [0, -1, -0.0, math.nan, math.inf])
def test_a_window_without_a_width_is_refused(width: float) -> None:
    with pytest.raises(ValidationError):
        Window(center=0, width=width)


@pytest.mark.parametrize("center", [math.nan, math.inf, -math.inf])
def test_a_window_around_nowhere_is_refused(center: float) -> None:
    with pytest.raises(ValidationError):
        Window(center=center, width=1)


@pytest.mark.parametrize("function", ["linear", "LINEAR ", "", "GAMMA"])
def test_a_voi_function_is_exactly_one_of_the_three(function: str) -> None:
    with pytest.raises(ValidationError):
        Window(center=0, width=1, function=function)  # type: ignore[arg-type]


def test_a_lut_holds_its_ends_and_rounds_between_entries() -> None:
    lut = VoiLut(table=np.array([0, 128, 255]), first=-1, bits=8)
    shown = lut.apply(floats(-99, -1, -0.4, 0, 0.4, 0.6, 1, 65535)) * 255
    assert np.rint(shown).tolist() == [0, 0, 128, 128, 128, 255, 255, 255]


def test_a_lut_of_16_bits_in_the_files_own_type() -> None:
    lut = VoiLut(table=np.array([65535, 0], ">u2"), first=65534, bits=16)
    assert lut.apply(floats(0, 65534, 65535)).tolist() == [1, 1, 0]


def test_a_lut_of_one_entry_shows_one_grey() -> None:
    assert VoiLut(table=np.array([51]), first=7, bits=8).apply(floats(-9, 7, 9)).tolist() == (
        pytest.approx([0.2] * 3)
    )


def test_a_lut_with_more_bits_than_it_says_is_white_and_never_wraps_to_dark() -> None:
    lut = VoiLut(table=np.array([0, 255, 300, 4095]), first=0, bits=8)
    assert film([0, 1, 2, 3], voi=[lut]).display().tolist() == [[0, 255, 255, 255]]


@pytest.mark.parametrize("table", [np.array([]), np.zeros((2, 2)), np.array(3), [0, 1]])
def test_a_lut_that_is_no_row_of_entries_is_refused(table: Any) -> None:
    with pytest.raises(ValidationError):
        VoiLut(table=table, first=0, bits=8)


@pytest.mark.parametrize("bits", [0, 17, -8])
def test_a_lut_has_1_to_16_bits(bits: int) -> None:
    with pytest.raises(ValidationError):
        VoiLut(table=np.array([1]), first=0, bits=bits)


def test_without_a_window_the_film_is_stretched() -> None:
    assert film([100, 101, 102]).display().tolist() == [[0, 128, 255]]
    assert film([-5.0, 0.0, 5.0], np.float32).display().tolist() == [[0, 128, 255]]


def test_the_whole_range_of_16_bits_does_not_wrap() -> None:
    assert film([0, 65535]).display().tolist() == [[0, 255]]
    assert film([-32768, 32767], np.float32).display().tolist() == [[0, 255]]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_film_of_one_grey_level_is_black_whatever_its_polarity(
    value: int, inverted: bool
) -> None:
    view = View(pixels=np.full((3, 2), value, np.uint16), inverted=inverted)
    assert view.display().tolist() == [[0, 0]] * 3


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4095), min_size=2, max_size=40, unique=True),
    st.sampled_from(
        [
            [],
            [Window(center=2048, width=1000)],
            [Window(center=2048, width=1000, function=VoiFunction.SIGMOID)],
            [VoiLut(table=np.arange(256), first=1000, bits=8)],
        ]
    ),
)
def test_inversion_turns_the_shown_film_over_exactly_once(
    values: list[int], voi: list[Window | VoiLut]
) -> None:
    upright = film(values, voi=voi).display().astype(int)
    turned = film(values, voi=voi, inverted=True).display().astype(int)
    assert np.abs(upright + turned - 255).max() <= 1  # 127.5 rounds to 128 both ways
    order = np.argsort(values)
    assert (np.diff(turned[0][order]) <= 0).all()


def test_the_first_transform_is_used_unless_one_is_given() -> None:
    first, second = Window(center=2, width=1), Window(center=4, width=1)
    view = film([1, 3, 5], voi=[first, second])
    assert view.display().tolist() == [[0, 255, 255]]
    assert view.display(second).tolist() == [[0, 0, 255]]
    lut = VoiLut(table=np.array([9, 0]), first=1, bits=4)
    assert view.display(lut).tolist() == [[153, 0, 0]]


def test_display_leaves_the_pixels_alone() -> None:
    view = film([1, 2, 3], voi=[Window(center=2, width=2)], inverted=True)
    before = view.pixels.copy()
    view.display()[:] = 0
    np.testing.assert_array_equal(view.pixels, before)
    assert view.pixels.dtype == np.uint16


def test_a_film_is_rows_by_columns() -> None:
    view = View(pixels=np.zeros((3, 5), np.uint16))
    assert (view.rows, view.columns) == (3, 5)
    assert view.display().shape == (3, 5)


@pytest.mark.parametrize(
    "dtype",
    [bool, np.uint8, np.int16, np.int32, np.float16, np.float64, ">u2", ">f4", complex, "O"],
)
def test_pixels_are_uint16_or_float32_and_nothing_else(dtype: Any) -> None:
    with pytest.raises(ValidationError, match="2-D uint16 or float32"):
        View(pixels=np.zeros((3, 3), dtype))


@pytest.mark.parametrize("shape", [(), (9,), (3, 3, 1), (1, 3, 3), (0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_pixels_are_a_film_of_rows_and_columns(shape: tuple[int, ...], dtype: Any) -> None:
    with pytest.raises(ValidationError, match="2-D uint16 or float32"):
        View(pixels=np.zeros(shape, dtype))


@pytest.mark.parametrize("pixels", [None, [[1, 2]], b"12", "film", 7])
def test_pixels_are_an_array_already(pixels: Any) -> None:
    with pytest.raises(ValidationError):
        View(pixels=pixels)


def test_pixels_set_later_are_checked_too_and_a_refused_set_changes_nothing() -> None:
    view = film([1, 2, 3])
    with pytest.raises(ValidationError):
        view.pixels = np.zeros((2, 2))
    assert view.columns == 3
    view.pixels = np.ones((1, 1), np.float32)
    assert view.columns == 1


def test_a_view_holds_the_very_array_and_copies_nothing() -> None:
    pixels = np.zeros((2, 2), np.uint16)
    assert View(pixels=pixels).pixels is pixels
    assert Study(id="a", views=[View(pixels=pixels)]).views[0].pixels is pixels


def test_a_view_that_is_printed_shows_no_pixels_and_no_header() -> None:
    view = film([11, 12], header={"PatientName": "PLANTED"}, warnings=[Code.WINDOW_INVALID])
    said = repr(view) + str(view) + repr(Study(id="a", views=[view]))
    assert "PLANTED" not in said
    assert "11" not in said


@pytest.mark.parametrize("mm", [math.nan, math.inf])
def test_a_pixel_size_is_a_number(mm: float) -> None:
    with pytest.raises(ValidationError):
        film([1], mm_per_pixel=mm)


def test_a_study_has_a_view() -> None:
    with pytest.raises(ValidationError):
        Study(id="empty", views=[])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", -1),
        ("age", 131),
        ("age", "044Y"),
        ("age", 44.5),
        ("sex", "female"),
        ("sex", "f"),
        ("sex", ""),
        ("sex", "F\n"),
        ("priors", "none"),
        ("name", "PLANTED"),
    ],
)
def test_context_is_typed(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Context(**{field: value})
