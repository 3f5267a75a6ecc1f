"""Finding studies: what is grouped, what is passed over, what is an error, and in which order."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.imaging import StudyFiles, load, load_study, scan
from hilum.study import Window


def png(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(level, level + 100, dtype=np.uint8).reshape(10, 10)).save(path, "PNG")
    return path


def names(studies: list[StudyFiles]) -> list[list[str]]:
    return [[path.name for path in study.paths] for study in studies]


def codes(studies: list[StudyFiles]) -> list[Code | None]:
    return [study.error and study.error.code for study in studies]


def test_views_of_a_study_are_grouped_wherever_they_lie(make_file: Any, tmp_path: Path) -> None:
    for name, study in [("b/IM2", "1.2.3"), ("a/IM1", "1.2.4"), ("c/IM3", "1.2.3")]:
        make_file(name=name, StudyInstanceUID=study)
    studies = scan([tmp_path])
    assert names(studies) == [["IM1"], ["IM2", "IM3"]]
    assert studies[1].id == hashlib.sha256(b"1.2.3").hexdigest()[:12]
    assert [len(load(study).views) for study in studies] == [1, 2]
    assert [load(study).id for study in studies] == [study.id for study in studies]


def test_dicom_without_a_study_uid_and_rasters_are_studies_of_their_own(
    make_file: Any, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        make_file(name=name, StudyInstanceUID="", PatientID="same")
    one = png(tmp_path / "3.png")
    (tmp_path / "4.png").write_bytes(one.read_bytes())
    studies = scan([tmp_path])
    assert names(studies) == [["1"], ["2"], ["3.png"], ["4.png"]]
    for study in studies:
        assert study.id == hashlib.sha256(study.paths[0].read_bytes()).hexdigest()[:12]


def test_order_is_by_name_and_a_file_counts_once(make_file: Any, tmp_path: Path) -> None:
    for name in ("z/1.png", "a/2.png", "m.png"):
        png(tmp_path / name)
    assert names(scan([tmp_path])) == [["2.png"], ["m.png"], ["1.png"]]
    given = [tmp_path / "m.png", tmp_path, str(tmp_path / "a" / ".." / "m.png")]
    assert names(scan(given)) == [["m.png"], ["2.png"], ["1.png"]]
    assert scan(given) == scan(given)


def test_folders_pass_over_what_is_clearly_no_image(make_file: Any, tmp_path: Path) -> None:
    film = make_file(name="IM000001")
    for name in (
        "truth.jsonl", "notes.TXT", "table.csv", "LICENSE", "README.zh.md", "viewer.exe",
        ".DS_Store", ".hidden/film.png", "__MACOSX/film.png",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing to see")
    (tmp_path / "DICOMDIR").write_bytes(film.read_bytes())
    assert names(scan([tmp_path])) == [["IM000001"]]


def test_a_film_with_a_misleading_name_is_still_found(make_file: Any, tmp_path: Path) -> None:
    make_file(name="film.txt")
    png(tmp_path / "LICENSE")
    assert names(scan([tmp_path])) == [["LICENSE"], ["film.txt"]]


def test_what_might_be_an_image_is_reported(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK\3\4")
    (tmp_path / "film.dcm").write_bytes(b"x" * 500)
    (tmp_path / "empty").touch()
    studies = scan([tmp_path])
    assert names(studies) == [["empty"], ["export.zip"], ["film.dcm"]]
    assert codes(studies) == [Code.FILE_EMPTY, Code.ARCHIVE_REFUSED, Code.FORMAT_UNKNOWN]


def test_a_file_named_outright_is_never_passed_over(make_file: Any, tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_text("{}")
    (tmp_path / ".hidden.png").write_bytes(png(tmp_path / "x.png").read_bytes())
    studies = scan([tmp_path / "truth.jsonl", tmp_path / ".hidden.png"])
    assert codes(studies) == [Code.FORMAT_UNKNOWN, None]
    with pytest.raises(HilumError) as caught:
        load(studies[0])
    assert caught.value.code is Code.FORMAT_UNKNOWN


@pytest.mark.parametrize("name", ["nowhere", "nowhere\0", "n" * 5000, "film.png/inside"])
def test_missing_paths(tmp_path: Path, name: str) -> None:
    png(tmp_path / "film.png")
    (study,) = scan([f"{tmp_path}/{name}"])
    assert study.error is not None
    assert study.error.code in (Code.FILE_NOT_FOUND, Code.FILE_UNREADABLE)
    assert len(study.id) == 12


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "notes" / "deep" / "readme.md").write_text("hello")
    studies = scan([tmp_path / "empty", tmp_path / "notes"])
    assert codes(studies) == [Code.NO_FILES, Code.NO_FILES]
    assert scan([]) == []


def test_pipes_and_loops_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    png(tmp_path / "x.png")
    studies = scan([tmp_path])
    assert names(studies) == [["gone.png"], ["pipe"], ["x.png"]]
    assert codes(studies) == [Code.FILE_NOT_FOUND, Code.FILE_UNREADABLE, None]


def test_links_to_folders_and_films_are_followed_once(tmp_path: Path) -> None:
    png(tmp_path / "store" / "x.png")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in ("a", "b"):
        (inbox / name).symlink_to(tmp_path / "store", target_is_directory=True)
    (inbox / "c.png").symlink_to(tmp_path / "store" / "x.png")
    (study,) = scan([inbox])
    assert study.paths == (inbox / "a" / "x.png",)


def test_what_may_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are made here, for tests that run as root."""
    png(tmp_path / "shut.png")
    (tmp_path / "folder").mkdir()
    real_open, real_iterdir = Path.open, Path.iterdir

    def refuse(real: Any) -> Any:
        def call(path: Path, *args: Any) -> Any:
            if path.name in ("shut.png", "folder"):
                raise PermissionError(errno.EACCES, "no")
            return real(path, *args)

        return call

    monkeypatch.setattr(Path, "open", refuse(real_open))
    monkeypatch.setattr(Path, "iterdir", refuse(real_iterdir))
    studies = scan([tmp_path])
    assert names(studies) == [["folder"], ["shut.png"]]
    assert codes(studies) == [Code.FILE_UNREADABLE] * 2


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_a_data_set_without_preamble(make_file: Any, tmp_path: Path, syntax: Any) -> None:
    options = {"syntax": syntax} if syntax else {}
    path = make_file(name="bare", preamble=False, StudyInstanceUID="1.2.3", **options)
    assert path.read_bytes()[:2] == b"\x08\x00"
    (study,) = scan([path])
    assert (study.error, study.id) == (None, hashlib.sha256(b"1.2.3").hexdigest()[:12])
    assert load(study).views[0].pixels.max() == 4095
    path.write_bytes(b"\x08\x00" + bytes(range(256)) * 4)
    assert codes(scan([path])) == [Code.FORMAT_UNKNOWN]


def test_a_dicom_file_with_a_tiff_in_its_preamble_is_dicom(make_file: Any) -> None:
    path = make_file()
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert load_study([path]).views[0].header["modality"] == "CR"


def test_objects_without_image_beside_images_are_skipped(make_file: Any, tmp_path: Path) -> None:
    report = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.34",
        "PixelData": None,
        "Rows": None,
        "Modality": "SR",
    }
    make_file(name="1", StudyInstanceUID="1.2.3", **report)
    make_file(name="2", StudyInstanceUID="1.2.3")
    make_file(name="3", StudyInstanceUID="1.2.9", **report)
    pair, alone = scan([tmp_path])
    assert len(pair.paths) == 2
    assert [Path(view.path).name for view in load(pair).views] == ["2"]
    for bad in (lambda: load(alone), lambda: load_study(pair.paths)):
        with pytest.raises(HilumError) as caught:
            bad()
        assert caught.value.code is Code.NO_PIXEL_DATA


def test_one_damaged_view_fails_its_study(make_file: Any, tmp_path: Path) -> None:
    make_file(name="1", StudyInstanceUID="1.2.3")
    cut = make_file(name="2", StudyInstanceUID="1.2.3")
    cut.write_bytes(cut.read_bytes()[:-1000])
    (study,) = scan([tmp_path])
    with pytest.raises(HilumError) as caught:
        load(study)
    assert caught.value.code is Code.FILE_DAMAGED
    assert caught.value.subject.endswith("2")


def test_a_long_series_is_refused_rather_than_cut(
    make_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imaging, "MAX_STUDY_PIXELS", 3 * 256 * 256)
    for index in range(4):
        make_file(name=f"{index}", StudyInstanceUID="1.2.3")
    (study,) = scan([tmp_path])
    with pytest.raises(HilumError) as caught:
        load(study)
    assert caught.value.code is Code.TOO_MANY_PIXELS


def test_load_study_of_several_files(make_file: Any, tmp_path: Path) -> None:
    frontal = make_file(name="1", StudyInstanceUID="1.2.3")
    lateral = png(tmp_path / "lateral.png")
    study = load_study([str(frontal), lateral])
    assert [Path(view.path).name for view in study.views] == ["1", "lateral.png"]
    assert study.context.age == 54
    assert study.id not in (load_study([frontal]).id, load_study(lateral).id)
    assert load_study([frontal]).id == scan([frontal])[0].id
    assert load_study(str(lateral)).id == scan(lateral)[0].id
    for bad, code in [([], Code.NO_FILES), ([tmp_path], Code.FILE_UNREADABLE)]:
        with pytest.raises(HilumError) as caught:
            load_study(bad)
        assert caught.value.code is code


def test_ids_hold_no_patient_text(make_file: Any, tmp_path: Path) -> None:
    make_file(name="1", StudyInstanceUID="", PatientID="MRN7")
    (tmp_path / "MRN7.dat").write_bytes(b"?")
    for study in scan([tmp_path]):
        assert len(study.id) == 12
        assert set(study.id) <= set("0123456789abcdef")


def test_real_folders(dev_data: Path) -> None:
    studies = scan([dev_data / "dicom"])
    assert codes(studies) == [None] * len(studies)
    assert "LICENSE" not in {path.name for study in studies for path in study.paths}
    assert len(scan([dev_data / "xray/hannover_ccby3"])) == 40


# --- archives, DICOMDIR, Chinese names and headers


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def export(make_file: Any, tmp_path: Path) -> dict[str, bytes]:
    """What a hospital's export holds: a study of two views, another, and what is no film."""
    films = {
        f"DICOM/ST{study}/IM{view}": make_file(
            name=f"made/{study}{view}", StudyInstanceUID=f"1.2.{study}", Rows=256
        ).read_bytes()
        for study, view in [(1, 1), (1, 2), (2, 1)]
    }
    other = {"DICOMDIR": b"x" * 200, "viewer/run.exe": b"MZ", "README.txt": b"hello", "A/": b""}
    return films | other | {"key.png": png(tmp_path / "made" / "key.png").read_bytes()}


def test_a_zip_archive_is_read_as_a_folder_is(make_file: Any, tmp_path: Path) -> None:
    path = packed(tmp_path / "export.zip", export(make_file, tmp_path))
    shutil.rmtree(tmp_path / "made")
    for given in (path, tmp_path):
        studies = scan([given])
        assert names(studies) == [["IM1", "IM2"], ["IM1"], ["key.png"]]
        assert codes(studies) == [None] * 3
        assert studies[0].paths[0] == path / "DICOM/ST1/IM1"
    study = load(studies[0])
    assert [view.path for view in study.views] == [str(p) for p in studies[0].paths]
    assert study.id == hashlib.sha256(b"1.2.1").hexdigest()[:12]
    assert load(studies[2]).views[0].pixels.shape == (10, 10)
    assert load_study([path / "key.png"]).id == studies[2].id
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.zip"]  # nothing unpacked


def test_an_archive_itself_is_no_film(tmp_path: Path) -> None:
    path = packed(tmp_path / "export.zip", {"notes.txt": b"hello"})
    assert codes(scan([path])) == [Code.NO_FILES]
    with pytest.raises(HilumError) as caught:
        load_study([path])
    assert caught.value.code is Code.FORMAT_UNKNOWN
    for name in ("nothing", "notes.txt/deeper"):
        with pytest.raises(HilumError) as caught:
            load_study([path / name])
        assert caught.value.code is Code.FILE_NOT_FOUND


def test_an_archive_that_is_something_else_is_passed_over(tmp_path: Path) -> None:
    png(tmp_path / "film.png")
    packed(tmp_path / "viewer.jar", {"Main.class": b"\xca\xfe"})
    assert names(scan([tmp_path])) == [["film.png"]]
    assert codes(scan([tmp_path / "viewer.jar"])) == [Code.NO_FILES]


def test_a_changed_archive_is_opened_again(make_file: Any, tmp_path: Path) -> None:
    film = make_file().read_bytes()
    path = packed(tmp_path / "x.zip", {"1": film})
    assert len(scan([path])) == 1
    packed(path, {"1": film, "22": png(tmp_path / "p.png").read_bytes()})
    assert names(scan([path])) == [["1"], ["22"]]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/passwd", "..\\evil"])
def test_a_member_that_leads_out_of_its_archive(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "x.zip", {"ok": b"1", name: b"2"})
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.code is Code.ARCHIVE_REFUSED
    assert "leads out" in study.error.detail


def test_archives_that_are_refused(make_file: Any, tmp_path: Path) -> None:
    film = make_file().read_bytes()
    path = packed(tmp_path / "x.zip", {"IM1": film})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert codes(scan([path])) == [Code.ARCHIVE_REFUSED]
    locked = bytearray(whole)
    for at in (6, whole.rindex(b"PK\1\2") + 8):  # the flag of encryption, in both heads
        locked[at] |= 1
    path.write_bytes(locked)
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.detail == "encrypted; unpack it first"
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(damaged)
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.code is Code.ARCHIVE_REFUSED
    packed(path, {"IM1": film, "IM2": film})
    path.write_bytes(path.read_bytes().replace(b"IM2", b"IM1"))
    (study,) = scan([path])
    assert study.error is not None
    assert study.error.detail == "two members of one name"


@pytest.mark.parametrize("flag", [False, True])
def test_chinese_names_in_an_archive(make_file: Any, tmp_path: Path, flag: bool) -> None:
    """Windows in China writes GB18030 without saying so; others set the UTF-8 flag."""
    film = make_file().read_bytes()
    name, code = ("胸部正位/影像1", "gb18030")
    path = packed(tmp_path / "导出.zip", {name if flag else "ABCDEFGH/XYZWU": film})
    if not flag:
        raw = name.encode(code)
        assert len(raw) == len("ABCDEFGH/XYZWU")
        path.write_bytes(path.read_bytes().replace(b"ABCDEFGH/XYZWU", raw))
    (study,) = scan([path])
    assert study.paths == (path / name,)
    assert load(study).views[0].rows == 256


def directory(folder: Path, files: list[str]) -> Path:
    """A DICOMDIR that lists ``files``, with the records of a real one."""
    ds = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    patient = Dataset()
    patient.DirectoryRecordType, patient.PatientName = "PATIENT", "DOE^JANE"
    ds.DirectoryRecordSequence = [patient]
    for name in files:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name.split("/")
        ds.DirectoryRecordSequence.append(record)
    ds.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_dicomdir_stands_for_the_files_it_lists(make_file: Any, tmp_path: Path) -> None:
    for name, study in [
        ("DICOM/A/IM1", "1.2.1"),
        ("DICOM/A/IM2", "1.2.1"),
        ("dicom2/im3", "1.2.2"),
    ]:
        make_file(name=name, StudyInstanceUID=study)
    make_file(name="DICOM/unlisted", StudyInstanceUID="1.2.9")
    path = directory(tmp_path, ["DICOM/A/IM2", "DICOM/A/IM1", "DICOM2/IM3", "DICOM/GONE"])
    studies = scan([path])
    assert names(studies) == [["IM2", "IM1"], ["im3"], ["GONE"]]  # the case of a copied CD differs
    assert codes(studies) == [None, None, Code.FILE_NOT_FOUND]
    renamed = path.rename(tmp_path / "index.bin")
    assert names(scan([renamed])) == names(studies)
    with pytest.raises(HilumError) as caught:
        load_study([renamed])
    assert caught.value.code is Code.NO_PIXEL_DATA


def test_a_dicomdir_leads_nowhere_else(make_file: Any, tmp_path: Path) -> None:
    make_file(name="secret")
    (tmp_path / "cd").mkdir()
    listed = ["../secret", str(tmp_path / "secret"), "./x", "A\\..\\secret"]
    (study,) = scan([directory(tmp_path / "cd", listed)])
    assert study.error is not None
    assert study.error.code is Code.NO_FILES


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("GB18030", "gb18030"),
        ("GBK", "gbk"),
        ("ISO_IR 192", "utf-8"),
        ("ISO 2022 IR 58", "gb18030"),  # says one thing, holds another
        ("", "gb18030"),
        ("ISO_IR 100", "utf-8"),
        ("NONSENSE", "gb18030"),
    ],
)
def test_chinese_headers(make_file: Any, declared: str, codec: str) -> None:
    raw = {
        "SpecificCharacterSet": declared.encode(),
        "PatientName": "王^小明".encode(codec),
        "StudyDescription": "胸部正侧位".encode(codec),
        "InstitutionName": "某某医院".encode(codec),
        "WindowCenterWidthExplanation": "肺窗\\纵隔窗".encode(codec),
        "WindowCenter": b"1000\\2000",
        "WindowWidth": b"500\\4000",
        "PatientAge": b"054Y",
    }
    (study,) = scan([make_file(raw=raw)])
    read = load(study)
    assert read.context.age == 54
    assert [w.width for w in read.views[0].voi if isinstance(w, Window)] == [500, 4000]
    if declared in ("GB18030", "GBK", "ISO_IR 192"):
        assert [w.explanation for w in read.views[0].voi] == ["肺窗", "纵隔窗"]
    assert "王" not in repr(read)
