"""Phantoms on disk: valid DICOM and PNG that read back as they were made, and their truth."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
import pydicom.config
import pytest
from PIL import Image
from pydicom.sr.codedict import codes

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.findings import Finding, Side
from hilum.language import label
from hilum.phantom.corpus import make_corpus, truth_row
from hilum.phantom.dicom import to_dicom
from hilum.phantom.film import Film, simulate
from hilum.reading import gate
from hilum.report import Verdict
from hilum.study import Study, View

Format = Literal["dicom", "png"]
FORMATS: tuple[Format, Format] = ("dicom", "png")
SIZE, SEED, N = 208, 4, 6


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    folders = {format: tmp_path_factory.mktemp(format) for format in FORMATS}
    for format, folder in folders.items():
        make_corpus(folder, N, SEED, SIZE, format, processes=1)
    return folders


def load(path: Path) -> Study:
    (files,) = imaging.scan([path])
    return imaging.load(files)


def view_of(path: Path) -> View:
    (view,) = load(path).views
    return view


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text("utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# -- the folder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_the_bytes_do_not_depend_on_the_number_of_processes(
    format: Format, corpora: dict[Format, Path], tmp_path: Path
) -> None:
    make_corpus(tmp_path, N, SEED, SIZE, format, processes=3)
    made = contents(tmp_path)
    assert made == contents(corpora[format])
    assert len(made) == N + 1
    assert not [name for name in made if name.startswith(".")]


@pytest.mark.parametrize("format", FORMATS)
def test_a_shorter_corpus_is_the_beginning_of_a_longer_one(
    format: Format, corpora: dict[Format, Path], tmp_path: Path
) -> None:
    make_corpus(tmp_path, 2, SEED, SIZE, format, processes=1)
    assert rows(tmp_path) == rows(corpora[format])[:2]
    for name in ("phantom-4-00000", "phantom-4-00001"):
        (path,) = tmp_path.glob(f"{name}.*")
        assert path.read_bytes() == (corpora[format] / path.name).read_bytes()


def test_writing_again_over_a_corpus_gives_the_same_and_keeps_what_else_is_there(
    corpora: dict[Format, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "片 b"
    (tmp_path / "a").mkdir()
    make_corpus(folder, 2, SEED, SIZE, "png", processes=1)
    (folder / "notes.txt").write_text("mine")
    (folder / "truth.jsonl").write_text("old")
    assert make_corpus(folder, 2, SEED, SIZE, "png", processes=1) == folder / "truth.jsonl"
    assert rows(folder) == rows(corpora["png"])[:2]
    assert (folder / "notes.txt").read_text() == "mine"


def test_progress_is_told_once_a_film(tmp_path: Path) -> None:
    told: list[int] = []
    make_corpus(tmp_path, 3, 0, 128, "png", processes=1, progress=lambda: told.append(1))
    assert len(told) == 3


def test_truth_is_missing_until_the_last_film_is_there(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        assert not (tmp_path / "truth.jsonl").exists()
        if len(list(tmp_path.glob("*.png"))) == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        make_corpus(tmp_path, 3, 0, 128, "png", processes=1, progress=stop)
    assert not (tmp_path / "truth.jsonl").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, processes: int) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken" / "phantom-0-00000.png").mkdir(parents=True)  # a folder is in the way
    (tmp_path / "taken" / "phantom-0-00001.png").mkdir()
    for folder in (tmp_path / "file", tmp_path / "file" / "under", tmp_path / "taken"):
        with pytest.raises(HilumError) as caught:
            make_corpus(folder, 2, 0, 128, "png", processes=processes)
        assert caught.value.code is Code.OUTPUT_UNWRITABLE
        assert caught.value.subject == str(folder)
        assert not (tmp_path / "taken" / "truth.jsonl").exists()


@pytest.mark.parametrize("folder", ["/proc/hilum", "/dev/null/films", "x" * 300])
def test_an_impossible_folder_is_named(folder: str, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        make_corpus(tmp_path / folder, 1, 0, 128, "png", processes=1)
    assert caught.value.code is Code.OUTPUT_UNWRITABLE


# -- truth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_truth_has_exactly_the_house_plans_fields(
    format: Format, corpora: dict[Format, Path]
) -> None:
    folder, suffix = corpora[format], {"dicom": "dcm", "png": "png"}[format]
    for index, row in enumerate(rows(folder)):
        assert list(row) == ["path", "patient_id", "mm_per_pixel", "position", "findings", "report"]
        assert row["path"] == f"phantom-{SEED}-{index:05d}.{suffix}"
        assert (folder / row["path"]).is_file()
        assert row["patient_id"] == f"phantom-{SEED}-{index:05d}"
        assert row["position"] == "PA"
        assert row["mm_per_pixel"] == 400 / SIZE
        assert list(row["report"]) == ["en", "zh"]
        assert set(row["findings"][0]) == {"name", "status", "probability", "instances"}


def test_truth_comes_back_as_findings_and_agrees_with_its_own_reports(
    corpora: dict[Format, Path],
) -> None:
    for index, row in enumerate(rows(corpora["dicom"])):
        findings = [Finding.model_validate(f) for f in row["findings"]]
        assert findings == simulate(SEED, index, SIZE).findings
        for language in ("en", "zh"):
            said = {f.name: f for f in label(row["report"][language], language)}
            assert {f.name: f.status for f in findings} == {n: f.status for n, f in said.items()}
            for finding in findings:
                places = [i.model_copy(update={"span": None}) for i in said[finding.name].instances]
                known = [i.model_copy(update={"box": None}) for i in finding.instances]
                assert places == known


def test_truth_is_one_line_a_film_in_readable_utf8(corpora: dict[Format, Path]) -> None:
    raw = (corpora["png"] / "truth.jsonl").read_bytes()
    assert raw.count(b"\n") == N
    assert raw.endswith(b"}\n")
    assert "\\u" not in raw.decode("utf-8")
    for line in raw.decode("utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_both_formats_tell_the_same_truth(corpora: dict[Format, Path]) -> None:
    one, other = ([{**r, "path": Path(r["path"]).stem} for r in rows(corpora[f])] for f in FORMATS)
    assert one == other


# -- films read back ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(N))
def test_a_dicom_film_reads_back_as_it_was_made(index: int, corpora: dict[Format, Path]) -> None:
    view = view_of(corpora["dicom"] / f"phantom-{SEED}-{index:05d}.dcm")
    film = simulate(SEED, index, SIZE)
    assert view.simulated
    assert view.position == "PA"
    assert view.mm_per_pixel == pytest.approx(film.mm_per_pixel, abs=1e-5)
    assert view.warnings == []
    assert view.inverted == (index % 2 == 1)
    stored = 4095 - film.pixels if view.inverted else film.pixels
    np.testing.assert_array_equal(view.pixels, stored)
    assert view.header["modality"] == "DX"
    assert view.header["body_part"] == "CHEST"


@pytest.mark.parametrize("index", range(N))
def test_a_png_film_reads_back_as_it_was_made(index: int, corpora: dict[Format, Path]) -> None:
    view = view_of(corpora["png"] / f"phantom-{SEED}-{index:05d}.png")
    film = simulate(SEED, index, SIZE)
    assert view.simulated
    assert view.mm_per_pixel == film.mm_per_pixel
    assert view.warnings == []
    assert not view.inverted
    np.testing.assert_array_equal(view.display(), film.pixels >> 4)


def test_half_of_the_films_are_monochrome1(corpora: dict[Format, Path]) -> None:
    said = [
        str(pydicom.dcmread(path, stop_before_pixels=True).PhotometricInterpretation)
        for path in sorted(corpora["dicom"].glob("*.dcm"))
    ]
    assert said == ["MONOCHROME2", "MONOCHROME1"] * (N // 2)


@pytest.mark.parametrize("index", range(3))
def test_a_film_is_shown_the_same_whatever_its_polarity_and_format(
    index: int, tmp_path: Path, corpora: dict[Format, Path]
) -> None:
    film = simulate(SEED, index, SIZE)
    shown = []
    for inverted in (False, True):
        path = tmp_path / f"{inverted}.dcm"
        to_dicom(film, "x", inverted).save_as(path, enforce_file_format=True)
        shown.append(view_of(path).display().astype(int))
    np.testing.assert_array_equal(shown[0], shown[1])
    expected = np.rint(film.pixels / 4095 * 255)
    assert np.abs(shown[0] - expected).max() <= 1
    png = view_of(corpora["png"] / f"phantom-{SEED}-{index:05d}.png").display()
    assert np.abs(shown[0] - png.astype(int)).max() <= 1


@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_folder_is_as_many_studies_and_the_gate_lets_them_pass(
    format: Format, corpora: dict[Format, Path]
) -> None:
    found = imaging.scan([corpora[format]])
    assert len(found) == N
    assert [files.error for files in found] == [None] * N
    for files in found[:2]:
        assert gate.judge(imaging.load(files)).verdict is Verdict.ACCEPT


def test_a_copy_that_lost_its_mark_is_no_phantom(tmp_path: Path) -> None:
    """What is not marked as simulated must never pass for it."""
    film = simulate(SEED, 0, SIZE)
    for keyword, value in (("QualityControlImage", "NO"), ("ManufacturerModelName", "Other")):
        ds = to_dicom(film, "x", inverted=False)
        setattr(ds, keyword, value)
        path = tmp_path / f"{keyword}.dcm"
        ds.save_as(path, enforce_file_format=True)
        assert not view_of(path).simulated
    bare = tmp_path / "bare.png"
    Image.fromarray((film.pixels >> 4).astype(np.uint8)).save(bare)
    assert not view_of(bare).simulated
    assert view_of(bare).mm_per_pixel is None


def test_an_odd_size_is_padded_to_an_even_number_of_bytes(tmp_path: Path) -> None:
    film = simulate(SEED, 1, 333)
    path = tmp_path / "odd.dcm"
    to_dicom(film, "odd", inverted=True).save_as(path, enforce_file_format=True)
    view = view_of(path)
    np.testing.assert_array_equal(4095 - view.pixels, film.pixels)
    assert view.mm_per_pixel == pytest.approx(400 / 333, abs=1e-5)


# -- DICOM itself -------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("index", range(2))
def test_dciodvfy_finds_no_error(index: int, corpora: dict[Format, Path]) -> None:
    path = corpora["dicom"] / f"phantom-{SEED}-{index:05d}.dcm"
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    said = done.stderr + done.stdout
    assert "DXImageForPresentation" in said
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_every_element_is_valid_and_nothing_is_private(
    corpora: dict[Format, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for path in sorted(corpora["dicom"].glob("*.dcm"))[:2]:
        ds = pydicom.dcmread(path)
        for element in ds.iterall():
            assert element.value is not ds
            assert not element.tag.is_private


def test_coded_terms_mean_what_they_say(corpora: dict[Format, Path]) -> None:
    """A code and its meaning are two ways to say one thing: a reader may take either."""
    ds = pydicom.dcmread(corpora["dicom"] / f"phantom-{SEED}-00000.dcm")
    (view,), (part,) = ds.ViewCodeSequence, ds.AnatomicRegionSequence
    for item, known in ((view, codes.CID4010.PosteroAnterior), (part, codes.CID4031.Chest)):
        assert item.CodingSchemeDesignator == known.scheme_designator == "SCT"
        assert item.CodeValue == known.value
        assert item.CodeMeaning.lower() == known.meaning.lower()


@pytest.mark.parametrize("inverted", [False, True])
def test_polarity_is_told_the_same_way_in_every_place(inverted: bool) -> None:
    ds = to_dicom(simulate(0, 0, 128), "x", inverted)
    assert ds.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    assert ds.PresentationLUTShape == ("INVERSE" if inverted else "IDENTITY")  # PS3.3 C.8.11.3.1.2
    assert ds.PixelIntensityRelationshipSign == (1 if inverted else -1)  # bone: less beam
    assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (16, 12, 11)
    assert (ds.WindowCenter, ds.WindowWidth) == (2048, 4096)


def test_it_says_that_there_is_no_patient_and_gives_no_date(corpora: dict[Format, Path]) -> None:
    for path in sorted(corpora["dicom"].glob("*.dcm")):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert ds.QualityControlImage == "YES"
        assert ds.ManufacturerModelName == "Hilum phantom"
        assert "no patient" in ds.DerivationDescription
        assert ds.ImageType[0] == "DERIVED"
        assert ds.PatientName == "PHANTOM^HILUM"
        assert not any(element.value for element in ds if element.VR in ("DA", "TM", "DT"))


def test_every_film_is_a_study_of_its_own(corpora: dict[Format, Path]) -> None:
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in corpora["dicom"].glob("*.dcm")]
    uids = [
        str(ds[keyword].value)
        for ds in headers
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ]
    assert len(set(uids)) == 3 * N
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in headers)
    assert all(len(uid) <= 64 for uid in uids)


def test_the_patients_left_is_the_pictures_right_in_the_header_too() -> None:
    """PatientOrientation L, F: rows run to the patient's left, columns to the feet."""
    film: Film = simulate(0, 0, 128)
    assert list(to_dicom(film, "x", inverted=False).PatientOrientation) == ["L", "F"]
    assert film.tracks[Side.LEFT, 6][:, 0].mean() > 64


@pytest.mark.parametrize("format", FORMATS)
def test_a_side_view_is_a_second_view_of_its_study(format: Format, tmp_path: Path) -> None:
    make_corpus(tmp_path, 2, SEED, SIZE, format, processes=1, lateral=True)
    for row in rows(tmp_path):
        (side,) = row["views"]
        assert side["position"] == "LL"
        assert (tmp_path / side["path"]).is_file()
    if format == "dicom":
        studies = list(imaging.scan([tmp_path]))
        assert [len(files.paths) for files in studies] == [2, 2]
        positions = {v.position for files in studies for v in imaging.load(files).views}
        assert positions == {"PA", "LL"}


def test_without_side_views_the_films_are_the_same(
    corpora: dict[Format, Path], tmp_path: Path
) -> None:
    make_corpus(tmp_path, 1, SEED, SIZE, "dicom", processes=1, lateral=True)
    name = "phantom-4-00000.dcm"
    assert (tmp_path / name).read_bytes() == (corpora["dicom"] / name).read_bytes()


def test_a_row_of_truth_needs_no_file() -> None:
    film = simulate(0, 0, 128)
    row = truth_row(film, "a", "b")
    assert (row["path"], row["patient_id"], row["mm_per_pixel"]) == ("a", "b", 3.125)
    json.dumps(row)
