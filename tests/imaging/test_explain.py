"""Every step between file and screen is noted when it is done, and said in both languages."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from hilum.imaging import explain, film
from hilum.study import Step, StepName, View

MakeFile = Callable[..., Path]


def names(view: View) -> list[StepName]:
    return [step.name for step in view.steps]


def step(view: View, name: StepName) -> dict[str, Any]:
    (found,) = [one for one in view.steps if one.name is name]
    return found.values


@pytest.mark.parametrize("name", StepName)
def test_every_step_has_words_in_both_languages_with_the_same_values(name: StepName) -> None:
    english, chinese = explain.SENTENCES[name]
    fields = [
        sorted(field for _, field, _, _ in string.Formatter().parse(text) if field)
        for text in (english, chinese)
    ]
    assert fields[0] == fields[1]
    assert english.isascii()
    assert any("一" <= c <= "鿿" for c in chinese)


def test_a_plain_film(make_file: MakeFile) -> None:
    view = film.read(make_file(BitsStored=12))[0]
    assert names(view) == [
        StepName.DICOM_DECODED,
        StepName.MODALITY_NONE,
        StepName.SMALLEST_TO_LARGEST,
        StepName.NOT_INVERTED,
        StepName.EIGHT_BITS,
    ]
    decoded = step(view, StepName.DICOM_DECODED)
    assert decoded == {
        "syntax": ExplicitVRLittleEndian.name,
        "rows": 256,
        "columns": 256,
        "bits": 12,
        "sign": "unsigned",
    }
    assert step(view, StepName.SMALLEST_TO_LARGEST) == {"low": 0.0, "high": 4095.0}


def test_rescale_window_and_inversion(make_file: MakeFile) -> None:
    view = film.read(
        make_file(
            RescaleSlope=2,
            RescaleIntercept=-5.5,
            WindowCenter=[100, 300],
            WindowWidth=[50, 400],
            VOILUTFunction="SIGMOID",
            PhotometricInterpretation="MONOCHROME1",
        )
    )[0]
    assert step(view, StepName.MODALITY_RESCALE) == {"slope": 2.0, "intercept": -5.5}
    assert step(view, StepName.VOI_WINDOW) == {
        "count": 2,
        "center": 100.0,
        "width": 50.0,
        "function": "SIGMOID",
    }
    assert step(view, StepName.INVERTED) == {"because": "MONOCHROME1"}
    english, chinese = (explain.lines(view, language) for language in ("en", "zh"))
    assert "value = stored x 2 + -5.5" in english[1]
    assert "窗位 100，窗宽 50" in chinese[2]
    assert "无符号" in chinese[0]


@pytest.mark.parametrize(
    ("header", "name", "because"),
    [
        ({"PresentationLUTShape": "INVERSE"}, StepName.INVERTED, "PresentationLUTShape INVERSE"),
        (
            {"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"},
            StepName.NOT_INVERTED,
            "PresentationLUTShape IDENTITY",
        ),
        ({"PhotometricInterpretation": None}, StepName.NOT_INVERTED, "taken as MONOCHROME2"),
    ],
)
def test_one_reason_for_the_one_inversion(
    make_file: MakeFile, header: dict[str, Any], name: StepName, because: str
) -> None:
    view = film.read(make_file(**header))[0]
    assert step(view, name) == {"because": because}
    assert view.inverted == (name is StepName.INVERTED)
    assert len({StepName.INVERTED, StepName.NOT_INVERTED} & set(names(view))) == 1


def lut(bits: int = 16) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "US", list(range(4096)))
    return item


def test_tables(make_file: MakeFile) -> None:
    sequences = {"ModalityLUTSequence": Sequence([lut()]), "VOILUTSequence": Sequence([lut()])}
    view = film.read(make_file(**sequences))[0]
    assert step(view, StepName.MODALITY_LUT) == {"entries": 4096, "first": 0}
    assert step(view, StepName.VOI_LUT) == {"count": 1, "entries": 4096, "first": 0}


@pytest.mark.parametrize("slope", ["0", "abc"])
def test_what_is_left_out_is_said(make_file: MakeFile, slope: str) -> None:
    raw = {"RescaleSlope": slope.encode(), "WindowCenter": b"10", "WindowWidth": b"0"}
    view = film.read(make_file(raw=raw))[0]
    assert StepName.MODALITY_LEFT_OUT in names(view)
    assert names(view).index(StepName.VOI_LEFT_OUT) + 1 == names(view).index(
        StepName.SMALLEST_TO_LARGEST
    )


def test_window_explanations_are_never_said(make_file: MakeFile) -> None:
    path = make_file(WindowCenter=9, WindowWidth=9, WindowCenterWidthExplanation="DOE^JANE")
    view = film.read(path)[0]
    for language in ("en", "zh"):
        assert "JANE" not in " ".join(explain.lines(view, language))
    assert "JANE" not in str([one.model_dump() for one in view.steps])


def test_eight_bits_and_frames(make_file: MakeFile) -> None:
    pixels = np.arange(3 * 64 * 64, dtype=np.uint8).reshape(3, 64, 64)
    view = film.read(make_file(pixels, NumberOfFrames=3))[0]
    assert step(view, StepName.FIRST_OF_SEVERAL) == {"count": 3}
    assert StepName.SHOWN_AS_STORED in names(view)


def test_colour(make_file: MakeFile) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    path = make_file(
        pixels,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
    )
    assert StepName.COLOUR_TO_GREY in names(film.read(path)[0])


def test_rasters(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    exif = Image.Exif()
    exif[274] = 6
    colour = Image.merge("RGB", [grey, grey.rotate(90), grey])
    see_through = colour.copy()
    see_through.putalpha(grey)
    deep = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 9)
    cases: dict[str, tuple[Image.Image, dict[str, Any], list[StepName]]] = {
        "grey.png": (grey, {}, [StepName.SHOWN_AS_STORED]),
        "deep.png": (deep, {}, [StepName.SMALLEST_TO_LARGEST]),
        "turned.jpg": (grey, {"exif": exif}, [StepName.TURNED, StepName.SHOWN_AS_STORED]),
        "colour.png": (colour, {}, [StepName.COLOUR_TO_GREY, StepName.SHOWN_AS_STORED]),
        "clear.png": (
            see_through,
            {},
            [StepName.LAID_ON_BLACK, StepName.COLOUR_TO_GREY, StepName.SHOWN_AS_STORED],
        ),
        "pages.tiff": (
            grey,
            {"save_all": True, "append_images": [grey]},
            [StepName.FIRST_OF_SEVERAL, StepName.SHOWN_AS_STORED],
        ),
        "white.tiff": (
            deep,
            {"tiffinfo": {262: 0}},
            [StepName.SMALLEST_TO_LARGEST, StepName.INVERTED],
        ),
    }
    for name, (image, options, expected) in cases.items():
        image.save(tmp_path / name, **options)
        view = film.read(tmp_path / name)[0]
        found = names(view)
        assert found[0] is StepName.RASTER_DECODED
        assert found[-1] is StepName.EIGHT_BITS
        assert (name, found[1:-1]) == (name, expected)
        assert all(explain.lines(view, language) for language in ("en", "zh"))


def test_steps_survive_json() -> None:
    one = Step.of(StepName.VOI_WINDOW, count=2, center=1.5, width=3.0, function="LINEAR")
    assert Step.model_validate_json(one.model_dump_json()) == one


def test_numbers_are_said_as_the_file_holds_them(make_file: MakeFile) -> None:
    view = film.read(make_file(RescaleSlope="3.7741147", RescaleIntercept="-1024"))[0]
    assert "value = stored x 3.7741147 + -1024 " in " ".join(explain.lines(view, "en"))
