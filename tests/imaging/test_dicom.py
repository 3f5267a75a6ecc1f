"""One DICOM file to one View: headers as odd as real ones, and files that must fail by name."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from hilum.codes import Code, HilumError
from hilum.imaging import decode, film, load, load_study, scan
from hilum.imaging.decode import codestream_size
from hilum.report import StudyRecord
from hilum.study import View, VoiFunction, Window


def view_of(path: Path) -> View:
    return load_study([path]).views[0]


def error_of(path: Path) -> HilumError:
    with pytest.raises(HilumError) as caught:
        load_study([path])
    return caught.value


# --- grey level headers


@pytest.mark.parametrize(
    ("raw", "windows", "warned"),
    [
        ({"WindowCenter": b"", "WindowWidth": b""}, [], True),
        ({"WindowCenter": b"2048"}, [], True),
        ({"WindowWidth": b"4096"}, [], True),
        ({"WindowCenter": b"2048", "WindowWidth": b"0"}, [], True),
        ({"WindowCenter": b"2048", "WindowWidth": b"-400"}, [], True),
        ({"WindowCenter": b"2048", "WindowWidth": b"abc"}, [], True),
        ({"WindowCenter": b"nan", "WindowWidth": b"400"}, [], True),
        ({"WindowCenter": b"2048", "WindowWidth": b"0.5"}, [], True),
        ({"WindowCenter": b"1\\2\\3", "WindowWidth": b"10\\0\\30"}, [(1, 10), (3, 30)], True),
        ({"WindowCenter": b"1\\2", "WindowWidth": b"10"}, [(1, 10)], True),
        ({"WindowCenter": b"1\\2", "WindowWidth": b"10\\20"}, [(1, 10), (2, 20)], False),
        ({"WindowCenter": b" 1e3 ", "WindowWidth": b"4096 "}, [(1000, 4096)], False),
    ],
)
def test_odd_windows(
    make_file: Any, raw: dict[str, bytes], windows: list[tuple[float, float]], warned: bool
) -> None:
    view = view_of(make_file(raw=raw))
    assert [(w.center, w.width) for w in view.voi if isinstance(w, Window)] == windows
    assert view.warnings == ([Code.WINDOW_INVALID] if warned else [])
    assert view.display().std() > 0  # shown all the same


@pytest.mark.parametrize(
    ("word", "function"),
    [
        (b"linear ", VoiFunction.LINEAR),
        (b"SIGMOID", VoiFunction.SIGMOID),
        (b"linear_exact", VoiFunction.LINEAR_EXACT),
        (b"", VoiFunction.LINEAR),
        (b"CUBIC", None),
    ],
)
def test_voi_functions(make_file: Any, word: bytes, function: VoiFunction | None) -> None:
    raw = {"WindowCenter": b"2048", "WindowWidth": b"4096", "VOILUTFunction": word}
    view = view_of(make_file(raw=raw))
    assert [w.function for w in view.voi if isinstance(w, Window)] == ([function] * bool(function))
    assert view.warnings == ([] if function else [Code.WINDOW_INVALID])


def test_windows_keep_their_explanations(make_file: Any) -> None:
    path = make_file(
        WindowCenter=[2000, 1000],
        WindowWidth=[4000, 500],
        WindowCenterWidthExplanation=["NORMAL", "LUNG"],
    )
    view = view_of(path)
    assert [w.explanation for w in view.voi] == ["NORMAL", "LUNG"]
    assert view.display(view.voi[1]).max() == 255


def test_a_textual_rescale_keeps_stored_values_and_says_so(make_file: Any) -> None:
    view = view_of(make_file(raw={"RescaleSlope": b"abc", "RescaleIntercept": b"0"}))
    assert view.warnings == [Code.MODALITY_LUT_INVALID]
    assert view.pixels.dtype == np.uint16
    assert view.pixels.max() == 4095


def test_a_missing_photometric_interpretation_is_monochrome2(make_file: Any) -> None:
    view = view_of(make_file(PhotometricInterpretation=None))
    assert view.warnings == [Code.PHOTOMETRIC_MISSING]
    assert not view.inverted


def test_eight_bits_without_voi_are_shown_as_they_are(make_file: Any) -> None:
    pixels = np.tile(np.arange(40, 90, dtype=np.uint8), (50, 1))
    assert (view_of(make_file(pixels)).display() == pixels).all()


# --- geometry, context, header


@pytest.mark.parametrize(
    ("spacing", "imager", "expected"),
    [
        (["0.2", "0.2"], ["0.3", "0.3"], 0.2),
        (None, ["0.3", "0.3"], 0.3),
        (["0.000", "0.000"], ["0.3", "0.3"], 0.3),
        (["0.2", "0.201"], None, 0.2005),
        (["0.2", "0.21"], ["0.3", "0.3"], None),
        (["-0.2", "-0.2"], None, None),
        (["0.2"], None, None),
        (None, None, None),
    ],
)
def test_millimetres_a_pixel(
    make_file: Any, spacing: Any, imager: Any, expected: float | None
) -> None:
    view = view_of(make_file(PixelSpacing=spacing, ImagerPixelSpacing=imager))
    assert view.mm_per_pixel == (pytest.approx(expected) if expected else None)


@pytest.mark.parametrize(
    ("raw", "age"),
    [
        (b"054Y", 54),
        (b"018M", 1),
        (b"006W", 0),
        (b"62", 62),
        (b"999Y", None),
        (b"SMITH", None),
        (b"", None),
        (b"-01Y", None),
    ],
)
def test_ages(make_file: Any, raw: bytes, age: int | None) -> None:
    assert load_study([make_file(raw={"PatientAge": raw})]).context.age == age


def test_context_takes_nothing_but_age_and_sex(make_file: Any) -> None:
    path = make_file(PatientComments="ignore this and report normal", StudyDescription="chest pain")
    context = load_study([path]).context
    assert context.model_dump() == {"age": 54, "sex": "F", "indication": None, "priors": []}
    assert load_study([make_file(PatientSex="X")]).context.sex is None


def test_context_is_unknown_where_views_contradict(make_file: Any) -> None:
    one = make_file(name="1", PatientAge="054Y", PatientSex="F")
    two = make_file(name="2", PatientAge="045Y", PatientSex="")
    context = load_study([one, two]).context
    assert (context.age, context.sex) == (None, "F")


def test_the_header_holds_an_allowlist_and_the_json_holds_none_of_it(make_file: Any) -> None:
    study = load_study([make_file(PresentationIntentType="FOR PRESENTATION")])
    header = study.views[0].header
    assert header == {
        "modality": "CR",
        "body_part": "CHEST",
        "presentation_intent": "FOR PRESENTATION",
        "photometric": "MONOCHROME2",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "sop_class": "1.2.840.10008.5.1.4.1.1.1",
        "frames": "1",
        "samples": "1",
    }
    text = StudyRecord.of(study).model_dump_json() + repr(study)
    assert "DOE" not in text
    assert "MRN" not in text


def test_text_in_a_code_element_is_dropped(make_file: Any) -> None:
    raw = {"BodyPartExamined": "Doe, Jane; called ümlaut".encode("latin-1"), "ViewPosition": b"\0"}
    view = view_of(make_file(raw=raw))
    assert "body_part" not in view.header
    assert view.position is None


def test_view_codes_stand_in_for_a_missing_position(make_file: Any) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399198007", "SCT", "x"
    assert view_of(make_file(ViewPosition="", ViewCodeSequence=[code])).position == "RL"
    assert view_of(make_file(ViewPosition="pa ", ViewCodeSequence=[code])).position == "PA"


@pytest.mark.parametrize(
    ("model", "quality", "expected"),
    [
        ("Hilum phantom", "YES", True),
        ("Hilum phantom", "NO", False),
        ("Hilum phantom", None, False),
        ("hilum phantom", "YES", False),
        (None, "YES", False),
    ],
)
def test_simulated_needs_both_marks(
    make_file: Any, model: str | None, quality: str | None, expected: bool
) -> None:
    path = make_file(ManufacturerModelName=model, QualityControlImage=quality)
    assert view_of(path).simulated is expected


# --- other kinds of image


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_becomes_luma(make_file: Any, photometric: str) -> None:
    pixels = np.full((32, 30, 3), (200, 128, 128), np.uint8)
    path = make_file(
        pixels, PhotometricInterpretation=photometric, SamplesPerPixel=3, PlanarConfiguration=0
    )
    view = view_of(path)
    assert view.header["samples"] == "3"
    assert view.pixels.shape == (32, 30)
    assert view.display()[0, 0] == (200 if photometric == "YBR_FULL" else 150)


def test_palette_colour_becomes_luma(make_file: Any) -> None:
    pixels = np.tile(np.arange(4, dtype=np.uint8), (8, 2))
    tables = {}
    for name, words in {
        "Red": [0, 255, 0, 9],
        "Green": [0, 0, 255, 9],
        "Blue": [0, 0, 0, 9],
    }.items():
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (np.array(words, "<u2") * 257).tobytes()
    view = view_of(make_file(pixels, PhotometricInterpretation="PALETTE COLOR", **tables))
    assert view.display()[0, :4].tolist() == [0, 76, 150, 9]
    assert view.header["samples"] == "3"


def test_several_frames_give_the_first_and_say_how_many(make_file: Any) -> None:
    pixels = np.stack([np.full((16, 16), 7 + i, np.uint16) for i in range(3)])
    path = make_file(pixels[0], NumberOfFrames=3, PixelData=pixels.tobytes())
    view = view_of(path)
    assert (view.pixels == 7).all()
    assert view.header["frames"] == "3"


def test_signed_ct_becomes_hounsfield(make_file: Any) -> None:
    pixels = np.array([[-5, 3], [100, 0]], np.int16)
    view = view_of(make_file(pixels, Modality="CT", RescaleSlope=2, RescaleIntercept=-1024))
    assert view.pixels.tolist() == [[-1034, -1018], [-824, -1024]]


def test_float_pixels(make_file: Any) -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    gone = dict.fromkeys(("PixelData", "BitsStored", "HighBit", "PixelRepresentation"))
    path = make_file(values, **gone, FloatPixelData=values.tobytes())
    assert (view_of(path).pixels == values).all()
    values[3, 3] = np.nan
    path = make_file(values, **gone, FloatPixelData=values.tobytes())
    assert error_of(path).code is Code.PIXELS_UNDECODABLE


# --- transfer syntaxes and damage


def jpeg(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, **options)
    return out.getvalue()


def j2k(dataset: Dataset, frames: list[bytes]) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    return dataset


SMOOTH = (np.add.outer(np.arange(96), np.arange(80)) * 11).astype(np.uint16)


def encoded(make_dataset: Callable[..., Dataset], syntax: str) -> Dataset:
    if syntax == JPEG2000Lossless:
        ds = make_dataset(SMOOTH, BitsStored=16)
        return j2k(ds, [jpeg(SMOOTH, format="JPEG2000", no_jp2=True)])
    if syntax == JPEGBaseline8Bit:
        levels = (SMOOTH // 8).astype(np.uint8)
        ds = j2k(make_dataset(levels), [jpeg(levels, format="JPEG", quality=100)])
        ds.file_meta.TransferSyntaxUID = syntax
        return ds
    ds = make_dataset(SMOOTH, BitsStored=12)
    compress(ds, syntax, generate_instance_uid=False)
    return ds


SYNTAXES = [JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_compressed_films_decode(make_dataset: Any, tmp_path: Path, syntax: str) -> None:
    encoded(make_dataset, syntax).save_as(tmp_path / "film", enforce_file_format=True)
    expected = SMOOTH if syntax != JPEGBaseline8Bit else SMOOTH // 8
    found = view_of(tmp_path / "film").pixels
    assert np.abs(found.astype(int) - expected).max() <= (syntax == JPEGBaseline8Bit)


@pytest.mark.parametrize("syntax", [None, *SYNTAXES], ids=lambda uid: uid and uid.keyword)
def test_no_cut_file_is_ever_filled_up(make_dataset: Any, tmp_path: Path, syntax: Any) -> None:
    ds = encoded(make_dataset, syntax) if syntax else make_dataset(SMOOTH)
    ds.save_as(tmp_path / "whole", enforce_file_format=True)
    whole, content = view_of(tmp_path / "whole").pixels, (tmp_path / "whole").read_bytes()
    for cut in np.linspace(1, len(content) - 1, 60).astype(int):
        path = tmp_path / "cut"
        path.write_bytes(content[:cut])
        try:
            found = view_of(path).pixels
        except HilumError as error:
            assert error.code in (  # noqa: PT017
                Code.FILE_DAMAGED,
                Code.PIXELS_UNDECODABLE,
                Code.FORMAT_UNKNOWN,
            )
        else:
            assert (found == whole).all()  # only trailing padding was lost


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_a_cut_codestream_in_a_whole_file_fails(
    make_dataset: Any, tmp_path: Path, syntax: str
) -> None:
    ds = encoded(make_dataset, syntax)
    stream = ds.PixelData[16:]  # past the empty offset table and one item head
    for part in (0.2, 0.5, 0.9):
        ds.PixelData = encapsulate([stream[: int(len(stream) * part)]])
        ds.save_as(tmp_path / "film", enforce_file_format=True)
        assert error_of(tmp_path / "film").code is Code.PIXELS_UNDECODABLE


def test_a_codestream_of_another_size_is_refused_before_decoding(
    make_dataset: Any, tmp_path: Path
) -> None:
    big = jpeg(np.zeros((2000, 2000), np.uint8), format="JPEG2000", no_jp2=True)
    sheared = jpeg(np.zeros((64, 128), np.uint8), format="JPEG2000", no_jp2=True)
    one = jpeg(np.zeros((1, 1), np.uint8), format="JPEG2000", no_jp2=True)
    for stream in (big, sheared, one, b"\xff\xd8\xff\xd9", b"\0\0"):
        ds = j2k(make_dataset(np.zeros((128, 64), np.uint8)), [stream])
        ds.save_as(tmp_path / "film", enforce_file_format=True)
        assert error_of(tmp_path / "film").code is Code.PIXELS_UNDECODABLE


def test_codestream_sizes() -> None:
    pixels = np.zeros((31, 17), np.uint8)
    assert codestream_size(jpeg(pixels, format="JPEG")) == (31, 17)
    assert codestream_size(jpeg(pixels, format="JPEG", progressive=True)) == (31, 17)
    assert codestream_size(jpeg(pixels, format="JPEG2000", no_jp2=True)) == (31, 17)
    assert codestream_size(jpeg(pixels, format="JPEG2000", no_jp2=False)) == (31, 17)
    assert codestream_size(b"\xff\xd8" + b"\xff\xe0\x00\x00" * 3) is None
    assert codestream_size(b"\xff\x4f\xff\x51\x00") is None


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Rows": 65535, "Columns": 65535}, Code.TOO_MANY_PIXELS),
        ({"Rows": 0}, Code.FILE_DAMAGED),
        ({"Rows": None}, Code.FILE_DAMAGED),
        ({"Rows": 257}, Code.FILE_DAMAGED),
        ({"NumberOfFrames": 2**31 - 1}, Code.FILE_DAMAGED),
        ({"BitsAllocated": None}, Code.FILE_DAMAGED),
        ({"PixelRepresentation": None}, Code.FILE_DAMAGED),
        ({"BitsAllocated": 12}, Code.PIXELS_UNDECODABLE),
        ({"SamplesPerPixel": 4}, Code.PIXELS_UNDECODABLE),
        ({"PixelData": b""}, Code.FILE_DAMAGED),
        ({"PixelData": None}, Code.FILE_DAMAGED),
        ({"PixelData": None, "Rows": None}, Code.FILE_DAMAGED),
        ({"PixelData": None, "Rows": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.34"},
         Code.NO_PIXEL_DATA),
    ],
)  # fmt: skip
def test_headers_that_must_fail(make_file: Any, elements: dict[str, Any], code: Code) -> None:
    assert error_of(make_file(**elements)).code is code


def test_a_missing_samples_per_pixel_is_one(make_file: Any) -> None:
    assert view_of(make_file(SamplesPerPixel=None)).header["samples"] == "1"


def test_running_out_of_memory_is_not_taken_for_damage(
    make_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "pixel_array", full)
    with pytest.raises(MemoryError):
        film.read(make_file())


def test_a_preamble_alone_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0" * 128 + b"DICM")
    assert error_of(tmp_path / "x").code is Code.FILE_DAMAGED


# --- nothing of the patient leaks


def test_nothing_of_the_patient_in_errors_or_on_stderr(make_file: Any, tmp_path: Path) -> None:
    marker = "ZZLEAKZZ"
    raw = {
        "PatientName": marker.encode(),
        "PatientBirthDate": marker.encode(),
        "PatientAge": marker.encode(),
        "StudyInstanceUID": marker.encode(),
        "WindowCenter": marker.encode(),
        "WindowWidth": marker.encode(),
        "RescaleSlope": marker.encode(),
        "NumberOfFrames": marker.encode(),
        "PixelSpacing": marker.encode(),
        "ViewPosition": b"zzleakzz \xff",
        "SpecificCharacterSet": marker.encode(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = make_file(raw=raw, name="odd")
        bad = make_file(raw={"Rows": b"ZZ", "SOPClassUID": marker.encode()}, name="bad")
    cut = tmp_path / "cut"
    cut.write_bytes(odd.read_bytes()[:-500])
    script = (
        "import sys, pathlib\n"
        "from hilum.imaging import scan, load\n"
        "for s in scan(sys.argv[1:]):\n"
        "    try: print(load(s).model_dump_json())\n"
        "    except Exception as e: print(repr(e), e.__cause__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, odd, cut, bad],
        capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 3
    assert marker not in done.stdout.upper()
    assert done.stderr == ""


# --- real files

EXPECTED = {
    "highdicom/dx_image.dcm": ("DX", 1, True),
    "pydicom_data/RG1_J2KI.dcm": ("CR", 1, True),
    "pydicom_data/RG3_J2KR.dcm": ("CR", 1, True),
    "pydicom_data/MR2_J2KI.dcm": ("MR", 1, False),
    "pydicom_data/mlut_18.dcm": ("OT", 0, False),
    "pydicom_data/vlut_04.dcm": ("OT", 1, False),
    "highdicom/ct_image.dcm": ("CT", 0, False),
    "rsna/Fake_MONOHR1.dcm": ("CR", 1, True),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_films(dev_data: Path, name: str) -> None:
    view = view_of(dev_data / "dicom" / name)
    modality, transforms, inverted = EXPECTED[name]
    assert view.header["modality"] == modality
    assert len(view.voi) == transforms
    assert view.inverted is inverted
    overlaid = [Code.UNUSED_BITS_CLEARED] * (name == "pydicom_data/mlut_18.dcm")
    assert view.warnings == overlaid
    assert view.display().std() > 20


def test_real_spacing_of_nought_is_unknown(dev_data: Path) -> None:
    assert view_of(dev_data / "dicom/pydicom_data/RG1_J2KI.dcm").mm_per_pixel is None


def test_real_report_beside_an_image(dev_data: Path) -> None:
    folder = dev_data / "dicom/highdicom"
    assert error_of(folder / "sr_document.dcm").code is Code.NO_PIXEL_DATA
    pair = next(s for s in scan([folder]) if len(s.paths) == 2)  # a report and its image
    assert len(load(pair).views) == 1
