"""Grey levels: against a plain formula for every rule, and against highdicom for whole films."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import highdicom
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hilum.codes import Code, HilumError
from hilum.imaging import grey, load_study
from hilum.study import View, VoiFunction, VoiLut, Window


def table_item(data: list[int], first: int, bits: int, **more: Any) -> Dataset:
    """A LUT item with its data as packed 16-bit words, as files hold it."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(data) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.array(data, "<u2").tobytes())
    for keyword, content in more.items():
        setattr(item, keyword, content)
    return item


def windowed(x: float, window: Window) -> float:
    """PS3.3 C.11.2.1.2.1 and C.11.2.1.3, word for word, for one value and 0..1."""
    c, w = window.center, window.width
    if window.function is VoiFunction.SIGMOID:
        return 1 / (1 + math.exp(min(700.0, -4 * (x - c) / w)))
    if window.function is VoiFunction.LINEAR_EXACT:
        if x <= c - w / 2:
            return 0.0
        return 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5


levels = st.lists(st.integers(-40000, 65535), min_size=1, max_size=12)
functions = st.sampled_from(VoiFunction)


@given(levels, st.floats(-5000, 70000), st.floats(1, 70000), functions)
def test_a_window_follows_the_standard(
    xs: list[int], center: float, width: float, function: VoiFunction
) -> None:
    window = Window(center=center, width=width, function=function)
    shown = window.apply(np.array(xs, np.float32))
    expected = [windowed(x, window) for x in xs]
    edge = min(abs(x - (center - 0.5)) for x in xs) if width < 2 else 1.0
    if edge > 0.01:  # a step of one float32 around a threshold decides nothing
        tolerance = 0.5 / 255 if width > 2 else 0.1
        assert np.allclose(shown, expected, atol=tolerance)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2), st.floats(-1e5, 1e5), functions)
def test_a_window_never_falls(xs: list[float], center: float, function: VoiFunction) -> None:
    for width in (1, 1.5, 400, 1e5):
        shown = Window(center=center, width=width, function=function).apply(
            np.sort(np.array(xs, np.float32))
        )
        assert (np.diff(shown) >= 0).all()
        assert shown.min() >= 0
        assert shown.max() <= 1


@given(levels, st.booleans())
def test_display_inverts_exactly_once(xs: list[int], windowed_film: bool) -> None:
    pixels = np.array([xs], np.float32)
    voi: list[Window | VoiLut] = [Window(center=1000, width=3000)] if windowed_film else []
    plain = View(pixels=pixels, voi=voi).display()
    turned = View(pixels=pixels, voi=voi, inverted=True).display()
    if windowed_film or len(set(xs)) > 1:
        assert np.abs(plain.astype(int) + turned - 255).max() <= 1


@given(
    st.lists(st.integers(-5000, 5000), min_size=1),
    st.lists(st.integers(0, 4095), min_size=2, max_size=50),
    st.integers(-300, 300),
)
def test_a_modality_table_clamps_at_its_ends(xs: list[int], data: list[int], first: int) -> None:
    ds = Dataset()
    ds.PixelRepresentation = 1
    ds.ModalityLUTSequence = [table_item(data, first, 12)]
    pixels, codes = grey.modality(np.array([xs], np.int16), ds)
    assert pixels[0].tolist() == [data[min(max(x - first, 0), len(data) - 1)] for x in xs]
    assert codes == []


@given(
    st.lists(st.integers(-32768, 32767), min_size=1),
    st.floats(-50, 50).filter(lambda slope: abs(slope) > 1e-3),
    st.floats(-2000, 2000),
)
def test_rescale_is_slope_then_intercept(xs: list[int], slope: float, intercept: float) -> None:
    ds = Dataset()
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.6f}", f"{intercept:.6f}"
    pixels, codes = grey.modality(np.array([xs], np.int16), ds)
    expected = [x * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for x in xs]
    assert np.allclose(pixels[0], expected, rtol=1e-5, atol=1e-2)
    assert codes == []


@pytest.mark.parametrize(
    ("slope", "intercept", "first", "codes"),
    [
        ("", "", 100, []),
        (None, "-5", 95, []),
        ("2", None, 200, []),
        ("1", "0", 100, []),
        ("0", "7", 100, [Code.MODALITY_LUT_INVALID]),
        ("1e39", "0", 100, [Code.MODALITY_LUT_INVALID]),
    ],
)
def test_odd_rescales(
    slope: str | None, intercept: str | None, first: float, codes: list[Code]
) -> None:
    ds = Dataset()
    if slope is not None:
        ds.RescaleSlope = slope
    if intercept is not None:
        ds.RescaleIntercept = intercept
    pixels, found = grey.modality(np.array([[100, 200]], np.uint16), ds)
    assert (pixels[0, 0], found) == (first, codes)
    assert pixels.dtype == (np.uint16 if first == 100 else np.float32)


def _no_length(item: Dataset) -> None:
    item.LUTDescriptor = [0, 0, 12]  # 65536 entries, but few are there


def _no_bits(item: Dataset) -> None:
    item.LUTDescriptor = [4, 0, 0]


def _no_data(item: Dataset) -> None:
    del item.LUTData


def _two_numbers(item: Dataset) -> None:
    item.LUTDescriptor = [4, 0]


def _too_bright(item: Dataset) -> None:
    item.LUTDescriptor = [4, 0, 8]  # entries up to 4095


@pytest.mark.parametrize("spoil", [_no_length, _no_bits, _no_data, _two_numbers, _too_bright])
def test_a_broken_voi_table_is_left_out_and_said(spoil: Any) -> None:
    ds = Dataset()
    bad, good = (table_item([0, 100, 2000, 4095], 0, 12) for _ in range(2))
    spoil(bad)
    ds.VOILUTSequence = [bad, good]
    ds.WindowCenter, ds.WindowWidth = 100, 200
    transforms, codes = grey.voi(ds, np.zeros((2, 2), np.uint16))
    assert [type(transform) for transform in transforms] == [VoiLut, Window]
    assert codes == [Code.VOI_LUT_INVALID]


def test_voi_table_of_packed_bytes_and_signed_start() -> None:
    ds, item = Dataset(), Dataset()
    item.add_new("LUTDescriptor", "US", [3, 65536 - 1024, 8])
    item.add_new("LUTData", "OW", bytes([0, 128, 255, 0]))
    ds.VOILUTSequence = [item]
    (table,), codes = grey.voi(ds, np.full((2, 2), -5, np.float32))
    assert isinstance(table, VoiLut)
    assert (table.first, table.table.tolist(), codes) == (-1024, [0, 128, 255], [])
    shown = table.apply(np.array([-2000, -1024, -1023, -1022, 0], np.float32))
    assert np.allclose(shown * 255, [0, 0, 128, 255, 255])


def test_a_signed_start_holds_where_no_pixel_happens_to_be_negative(make_file: Any) -> None:
    xs = np.array([[0, 5], [9, 40]], np.int16)
    path = make_file(xs, VOILUTSequence=[table_item(list(range(21)), -10, 5)])
    view = load_study([path]).views[0]
    assert (view.display() == np.rint(np.array([[10, 15], [19, 20]]) / 31 * 255)).all()


def test_a_full_table_of_65536_entries() -> None:
    ds = Dataset()
    ds.VOILUTSequence = [table_item(list(range(65536)), 0, 16)]
    (table,), codes = grey.voi(ds, np.zeros((2, 2), np.uint16))
    assert isinstance(table, VoiLut)
    assert (len(table.table), codes) == (65536, [])


@pytest.mark.parametrize(
    ("photometric", "shape", "expected"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", "INVERSE", True),  # once, not twice
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "LIN OD", True),
        ("MONOCHROME1 ", "", True),
    ],
)
def test_one_inversion(photometric: str, shape: str | None, expected: bool) -> None:
    ds = Dataset()
    ds.PhotometricInterpretation = photometric
    if shape is not None:
        ds.PresentationLUTShape = shape
    assert grey.inverted(ds) == (expected, [])


# --- whole films against highdicom

SLOPES = {"rescale": (1, -100), "steep": (2, -100), "falling": (-1, 300)}
MODALITY = ("none", *SLOPES, "lut")
VOI = ("none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "lut")
PIXELS = tuple(f"{kind}{bits}" for kind in "ui" for bits in (8, 10, 12, 14, 15, 16))
INVERSION = list(itertools.product(("MONOCHROME1", "MONOCHROME2"), (None, "IDENTITY", "INVERSE")))


def film(kind: str, modality: str, voi: str, photometric: str, shape: str | None) -> dict[str, Any]:
    """Elements of one film of the matrix, with its pixels under "pixels"."""
    bits = int(kind[1:])
    low = -(2 ** (bits - 1)) if kind[0] == "i" else 0
    top = low + 2**bits - 1
    dtype = f"{kind[0]}{1 if bits == 8 else 2}"
    pixels = np.rint(np.linspace(low, top, 40 * 66).reshape(40, 66)).astype(dtype)
    found: dict[str, Any] = {
        "pixels": pixels,
        "BitsStored": bits,
        "PhotometricInterpretation": photometric,
    }
    if shape:
        found["PresentationLUTShape"] = shape
    if modality in SLOPES:
        slope, intercept = SLOPES[modality]
        found |= {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
        low, top = sorted((low * slope + intercept, top * slope + intercept))
    if modality == "lut":
        entries = [int(4095 * (i / 1000) ** 0.5) for i in range(1001)]
        found["ModalityLUTSequence"] = [table_item(entries, 0, 16, ModalityLUTType="US")]
        low, top = 0, 4095
    if voi == "lut":
        size = min(top - low, 4000)
        entries = [int(65535 * (i / size) ** 2) for i in range(size + 1)]
        found["VOILUTSequence"] = [table_item(entries, max(low, 0), 16)]
    elif voi != "none":
        found |= {
            "WindowCenter": [(low + top) / 2, 0],
            "WindowWidth": [(top - low) / 1.7, 5],
            "VOILUTFunction": voi,
        }
    return found


def highdicom_cannot(kind: str, modality: str, voi: str) -> bool:
    """It composes tables without their ranges, and starts one at 0 for signed pixels.

    It turns a window back into stored values by the slope, the 0.5 and 1 of LINEAR not: with 8
    or 10 bits that shows as 1.3 to 3.7 levels. A falling table it reads from the wrong end.
    """
    if modality == "lut":
        return voi == "lut" or kind[0] == "i"
    if modality in ("steep", "falling") and kind[1:] in ("8", "10") and voi == "LINEAR":
        return True
    return modality == "falling" and voi == "lut"


MATRIX = [case for case in itertools.product(PIXELS, MODALITY, VOI) if not highdicom_cannot(*case)]


@pytest.mark.parametrize(("kind", "modality", "voi"), MATRIX)
def test_films_equal_highdicom_within_one_level(
    make_file: Any, kind: str, modality: str, voi: str
) -> None:
    for number, (photometric, shape) in enumerate(INVERSION):
        path = make_file(**film(kind, modality, voi, photometric, shape), name=f"{number}.dcm")
        view = load_study([path]).views[0]
        expected = reference_frame(path, has_voi=voi != "none", free=not view.voi)
        assert np.abs(view.display().astype(float) - expected).max() <= 1, (photometric, shape)
        assert view.warnings == []


def reference_frame(path: Any, *, has_voi: bool, free: bool) -> NDArray[np.float64]:
    """highdicom's frame as 0..255; without VOI its values are spread as ``View.display`` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame: NDArray[np.float64] = highdicom.imread(path).get_frame(
            1, apply_voi_transform=True if has_voi else None, apply_presentation_lut=True
        )
    if has_voi:
        return frame * 255
    if not free:  # 8 bits shown as they are
        return frame
    return (frame - frame.min()) / (frame.max() - frame.min()) * 255


@pytest.mark.parametrize("kind", ["u8", "i8", "u12"])
@pytest.mark.parametrize("modality", SLOPES)
@pytest.mark.parametrize("voi", ["LINEAR", "SIGMOID", "lut"])
def test_rescaled_films_follow_the_plain_formula(
    make_file: Any, kind: str, modality: str, voi: str
) -> None:
    elements = film(kind, modality, voi, "MONOCHROME1", None)
    view = load_study([make_file(**elements)]).views[0]
    slope, intercept = SLOPES[modality]
    shown = view.display().ravel()
    for stored, found in zip(elements["pixels"].ravel()[::37].tolist(), shown[::37], strict=True):
        value = stored * slope + intercept
        if voi == "lut":
            item = elements["VOILUTSequence"][0]
            entries = np.frombuffer(item.LUTData, "<u2")
            at = min(max(value - item.LUTDescriptor[1], 0), len(entries) - 1)
            expected = entries[at] / 65535
        else:
            center, width = elements["WindowCenter"][0], elements["WindowWidth"][0]
            function = VoiFunction(voi)
            expected = windowed(value, Window(center=center, width=width, function=function))
        assert abs(255 * (1 - expected) - int(found)) <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_two_tables_and_signed_pixels_follow_the_plain_formula(
    make_file: Any, photometric: str
) -> None:
    xs = np.arange(-32, 32, dtype=np.int16).reshape(8, 8)
    first, second = [i * 3 for i in range(41)], [255 - i for i in range(121)]
    path = make_file(
        xs,
        PhotometricInterpretation=photometric,
        ModalityLUTSequence=[table_item(first, -20, 8)],
        VOILUTSequence=[table_item(second, 10, 8)],
    )
    view = load_study([path]).views[0]
    for x, shown in zip(xs.ravel().tolist(), view.display().ravel().tolist(), strict=True):
        value = first[min(max(x + 20, 0), 40)]
        expected = second[min(max(value - 10, 0), 120)]
        assert shown == (255 - expected if photometric == "MONOCHROME1" else expected)


@given(st.integers(1, 16), st.booleans(), st.lists(st.integers(0, 65535), min_size=4, max_size=4))
@example(16, False, [0x2020] * 4)  # blanks, were it text
@settings(deadline=None)
def test_bits_above_bits_stored_never_show(
    make_dataset: Any,
    tmp_path_factory: pytest.TempPathFactory,
    stored: int,
    signed: bool,
    words: list[int],
) -> None:
    pixels = np.array(words, np.uint16).reshape(2, 2)
    folder = tmp_path_factory.mktemp("bits")
    ds = make_dataset(
        pixels.view(np.int16) if signed else pixels, BitsStored=stored, HighBit=stored - 1
    )
    ds.save_as(folder / "film", enforce_file_format=True)
    found = load_study([folder / "film"]).views[0].pixels.ravel().tolist()
    kept = [word & (2**stored - 1) for word in words]
    if signed:
        kept = [k - 2**stored if k >= 2 ** (stored - 1) else k for k in kept]
    assert found == kept


def test_high_bit_above_bits_stored_shifts(make_file: Any) -> None:
    xs = np.arange(16, dtype=np.uint16).reshape(4, 4)
    path = make_file(xs << 4 | 0b1010, BitsStored=12, HighBit=15)
    assert load_study([path]).views[0].pixels.tolist() == xs.tolist()


# --- bits outside BitsStored, padding, the choice of a transform, numbers that are none


@pytest.mark.parametrize(
    ("words", "signed", "high", "expected", "warned"),
    [
        ([0x0FFF, 0x0001], False, 11, [0xFFF, 1], False),
        ([0x8FFF, 0x0001], False, 11, [0xFFF, 1], True),  # an overlay in bit 15
        ([0xFFF0, 0x0010], False, 15, [0xFFF, 1], False),
        ([0xFFF1, 0x0010], False, 15, [0xFFF, 1], True),
        ([0xFFFF, 0x07FF], True, 11, [-1, 2047], False),  # the sign drawn out
        ([0x0FFF, 0x07FF], True, 11, [-1, 2047], False),  # and not
        ([0x4FFF, 0x07FF], True, 11, [-1, 2047], True),
    ],
)
def test_unused_bits_are_cleared_and_said(
    make_file: Any, words: list[int], signed: bool, high: int, expected: list[int], warned: bool
) -> None:
    pixels = np.array([words], np.uint16)
    path = make_file(pixels, BitsStored=12, HighBit=high, PixelRepresentation=int(signed))
    view = load_study([path]).views[0]
    assert view.pixels[0].tolist() == expected
    assert view.warnings == ([Code.UNUSED_BITS_CLEARED] if warned else [])


@pytest.mark.parametrize(
    ("elements", "film", "warned"),
    [
        ({"PixelPaddingValue": 0}, (100, 200), True),
        ({"PixelPaddingValue": 65535}, (0, 200), False),  # none of the pixels
        ({}, (0, 200), False),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 100}, (150, 200), True),
        ({"PixelPaddingValue": 100, "PixelPaddingRangeLimit": 0}, (150, 200), True),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 150}, (0, 200), False),  # one level
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 999}, (0, 200), False),  # all of them
    ],
)
def test_padding_is_left_out_of_the_range(
    make_file: Any, elements: dict[str, int], film: tuple[int, int], warned: bool
) -> None:
    pixels = np.array([[0, 0, 100, 150, 200]], np.uint16)
    view = load_study([make_file(pixels, **elements)]).views[0]
    low, high = film
    expected = np.rint(np.clip((pixels - float(low)) / (high - low), 0, 1) * 255)
    assert np.abs(view.display() - expected).max() <= 1
    assert view.warnings == ([Code.PADDING_LEFT_OUT] if warned else [])
    windowed = make_file(pixels, WindowCenter="100", WindowWidth="200", **elements)
    assert load_study([windowed]).views[0].warnings == []  # a window says what is shown


def test_signed_padding_and_a_rescale(make_file: Any) -> None:
    """A real scanner's -2000 around the film, its VR one that has no sign."""
    pixels = np.array([[-2000, 0, 10, 30]], np.int16)
    path = make_file(pixels, PixelPaddingValue=-2000, RescaleSlope="2", RescaleIntercept="-5")
    content = path.read_bytes()
    tag = b"\x28\x00\x20\x01"
    path.write_bytes(content.replace(tag + b"SS", tag + b"US"))
    view = load_study([path]).views[0]
    assert view.display().tolist() == [[0, 0, 85, 255]]
    assert view.warnings == [Code.PADDING_LEFT_OUT]


def test_a_transform_is_chosen_by_index_or_explanation(make_file: Any) -> None:
    path = make_file(
        SpecificCharacterSet="ISO_IR 192",
        WindowCenter=["2000", "1000"],
        WindowWidth=["4000", "500"],
        WindowCenterWidthExplanation=["NORMAL", "肺窗"],
    )
    view = load_study([path]).views[0]
    assert (view.display() == view.display(0)).all()
    for choice in (1, "肺窗", view.voi[1]):
        assert (view.display(choice) == view.display(view.voi[1])).all()
    assert (view.display("normal") == view.display(0)).all()
    for wrong in (2, -1, "BONE", "1"):
        with pytest.raises(HilumError) as caught:
            view.display(wrong)
        assert caught.value.code is Code.OPTION_INVALID
        assert "肺" not in caught.value.line()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_view_has_only_finite_pixels(bad: float) -> None:
    pixels = np.ones((3, 3), np.float32)
    pixels[1, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        View(pixels=pixels)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30), functions, st.booleans())
def test_sixteen_bits_and_floats_are_shown_alike(
    xs: list[int], function: VoiFunction, inverted: bool
) -> None:
    """Few levels are looked up, many are worked out; one rule for both."""
    voi: list[Window | VoiLut] = [Window(center=2000, width=3000, function=function)]
    for transforms in (voi, []):
        words, floats = (np.array([xs], kind) for kind in (np.uint16, np.float32))
        views = [View(pixels=p, voi=transforms, inverted=inverted) for p in (words, floats)]
        assert (views[0].display() == views[1].display()).all()
