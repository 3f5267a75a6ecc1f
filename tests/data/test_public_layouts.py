"""The large data sets' layouts, in small copies made here."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.data import Given, Pair, Settings, Work, open_source, prepare
from hilum.data.sources.labels import pack, padchest_findings, unpack
from hilum.data.sources.sections import split_sections
from hilum.findings import Bone, FindingName, Side, Stage, Status
from tests.conftest import ramp
from tests.data.conftest import film, write_csv


def pairs(path: Path, layout: str | None = None, given: Given | None = None) -> list[Pair]:
    return list(open_source(path, layout, given or Given()).pairs())


def zipped(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


# -- sections -------------------------------------------------------------------------------------

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with pain  // fracture?

 COMPARISON:  Chest radiograph ___

 FINDINGS:

 The lungs are clear.  There is a fracture of
 the left fifth rib.

 IMPRESSION:

 Left rib fracture.
"""


@pytest.mark.parametrize(
    ("text", "findings", "impression", "indication"),
    [
        (MIMIC, "The lungs are clear.", "Left rib fracture.", "___F with pain"),
        (
            "检查所见：两肺清晰。\n诊断意见：未见异常。\n报告医师：某",
            "两肺清晰。",
            "未见异常。",
            "",
        ),
        ("影像表现:\n肋骨骨折。\n影像诊断:\n骨折。", "肋骨骨折。", "骨折。", ""),
        (
            "FINAL REPORT\n HISTORY: pain\n\n Heart is normal.\n\n No fracture.",
            "No fracture.",
            "",
            "pain",
        ),
        ("Findings are unchanged.", "Findings are unchanged.", "", ""),
        ("impression: Normal.", "", "Normal.", ""),
        ("", "", "", ""),
    ],
)
def test_sections_are_told_apart(
    text: str, findings: str, impression: str, indication: str
) -> None:
    found = split_sections(text)
    assert found.findings.startswith(findings)
    assert bool(found.findings) is bool(findings)
    assert found.impression == impression
    assert found.indication.startswith(indication)


# -- labels ---------------------------------------------------------------------------------------


def test_chexpert_labels_pack_small_and_come_back() -> None:
    row = {"Fracture": "1.0", "Pleural Effusion": "0.0", "Edema": -1, "Pneumonia": "", "x": "1"}
    assert len(pack(row)) == 14
    assert unpack(pack(row)) == {
        FindingName.FRACTURE: Status.PRESENT,
        FindingName.PLEURAL_EFFUSION: Status.ABSENT,
        FindingName.EDEMA: Status.UNCERTAIN,
    }
    assert unpack("") == {}


def test_padchest_labels_become_findings_with_places() -> None:
    found = padchest_findings(
        [["callus rib fracture", "loc left", "loc rib"], ["nodule", "loc right"], ["exclude"]]
    )
    byname = {f.name: f for f in found}
    fracture = byname[FindingName.FRACTURE].instances[0]
    assert (fracture.bone, fracture.side, fracture.stage) == (Bone.RIB, Side.LEFT, Stage.HEALING)
    assert set(byname) == {FindingName.FRACTURE, FindingName.NODULE, FindingName.LUNG_LESION}


# -- MIMIC-CXR ------------------------------------------------------------------------------------


def mimic(root: Path, *, archive: bool = False) -> Path:
    records = [
        ("a1", "10000032", "50414267", "PA", "train"),
        ("a2", "10000032", "50414267", "LATERAL", "train"),
        ("b1", "10000764", "57375967", "AP", "validate"),
        ("c1", "10000898", "50771383", "", "test"),
    ]
    write_csv(
        root / "mimic-cxr-2.0.0-metadata.csv",
        [
            {"dicom_id": d, "subject_id": p, "study_id": s, "ViewPosition": v}
            for d, p, s, v, _ in records
        ],
    )
    write_csv(
        root / "mimic-cxr-2.0.0-split.csv",
        [{"dicom_id": d, "study_id": s, "subject_id": p, "split": x} for d, p, s, _, x in records],
    )
    write_csv(
        root / "mimic-cxr-2.0.0-chexpert.csv",
        [{"subject_id": "10000032", "study_id": "50414267", "Fracture": "0.0", "Edema": ""}],
    )
    for table in list(root.glob("*.csv")):
        zipped(table)
    reports = {}
    for n, (name, patient, study, *_) in enumerate(records):
        folder = f"files/p{patient[:2]}/p{patient}"
        film(root / folder / f"s{study}" / f"{name}.jpg", n, quality=95)
        reports[f"{folder}/s{study}.txt"] = MIMIC
    missing = "files/p10/p10000898/s50771383.txt"
    del reports[missing]
    if archive:
        with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w") as packed:
            for name, text in reports.items():
                packed.writestr(name, text)
    else:
        for name, text in reports.items():
            (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("archive", [False, True])
def test_mimic_is_read_with_its_splits_and_labels(tmp_path: Path, archive: bool) -> None:
    first, second, third = pairs(mimic(tmp_path, archive=archive))
    assert (first.study_id, first.patient_id) == ("s50414267", "p10000032")
    assert [f.position for f in first.films] == ["PA", "LATERAL"]
    assert all(f.path is not None and f.path.is_file() for f in first.films)
    assert (first.split, second.split) == ("train", "validation")
    assert first.published == {FindingName.FRACTURE: Status.ABSENT}
    assert first.licence == "PhysioNet-1.5.0"
    assert third.error is not None
    assert third.error.code is Code.FILE_NOT_FOUND


def test_mimic_comes_out_as_a_dataset(tmp_path: Path) -> None:
    card = prepare(open_source(mimic(tmp_path / "in"), None, Given()), tmp_path / "out")
    assert card["facts"]["rows"] == {"train": 1, "validation": 1}
    assert card["facts"]["quarantined"] == {"file_not_found": 1}
    # CheXpert's label denies the fracture that the report names
    assert card["facts"]["flags"]["labels_differ"] == 1
    assert card["facts"]["licence"] == "PhysioNet-1.5.0"


def test_mimic_dicom_is_listed_by_its_records(tmp_path: Path) -> None:
    row = {"subject_id": "10000032", "study_id": "1", "dicom_id": "x", "path": "p"}
    write_csv(tmp_path / "cxr-record-list.csv", [row])
    folder = tmp_path / "files/p10/p10000032"
    (folder / "s1").mkdir(parents=True)
    (folder / "s1" / "x.dcm").write_bytes(b"")
    (folder / "s1.txt").write_text(MIMIC)
    (pair,) = pairs(tmp_path)
    assert pair.films[0].path == folder / "s1" / "x.dcm"


# -- PadChest -------------------------------------------------------------------------------------


def padchest(root: Path) -> Path:
    base = {
        "ImageDir": 0,
        "StudyDate_DICOM": 20140915,
        "PatientBirth": 1930.0,
        "PatientSex_DICOM": "F",
        "Report": "fractur costal izquierd .",
        "MethodLabel": "Physician",
        "Labels": "['rib fracture']",
        "LabelsLocalizationsBySentence": "[['rib fracture', 'loc left']]",
    }
    rows: list[dict[str, Any]] = [
        base | {"ImageID": "a.png", "StudyID": "s1", "PatientID": "p1", "Projection": "PA"},
        base
        | {"ImageID": "c.png", "StudyID": "s2", "PatientID": "p2", "Projection": "AP"}
        | {"Labels": "['normal']", "LabelsLocalizationsBySentence": "broken["}
        | {"MethodLabel": "RNN_model", "PatientBirth": ""},
        base | {"ImageID": "b.png", "StudyID": "s1", "PatientID": "p1", "Projection": "L"},
    ]
    write_csv(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)
    film(root / "0" / "a.png", 1)
    film(root / "0" / "b.png", 2)
    film(root / "c.png", 3)
    return root


def test_padchest_joins_its_studies_and_says_who_labelled(tmp_path: Path) -> None:
    first, second = pairs(padchest(tmp_path))
    assert [f.position for f in first.films] == ["PA", "LATERAL"]
    assert first.language == "es"
    assert first.context.age == 84
    assert second.context.age is None
    assert (first.truth_source, second.truth_source) == ("expert", "labeler")
    assert [f.name for f in second.truth or []] == [FindingName.NO_FINDING]
    card = prepare(open_source(tmp_path, None, Given()), tmp_path / "out")
    assert card["facts"]["languages"] == {"es": 2}
    assert card["facts"]["fractures"]["side"] == {"left": 1}


# -- CheXpert Plus --------------------------------------------------------------------------------


def chexpert_plus(root: Path) -> Path:
    base = {"section_findings": "", "section_impression": "Left rib fracture.", "age": "82.0"}
    base |= {"section_clinical_history": "pain", "sex": "Male", "path_to_dcm": ""}
    images = [
        ("train/patient1/study1/view1_frontal.jpg", "Frontal", "AP"),
        ("train/patient1/study1/view2_lateral.jpg", "Lateral", ""),
        ("valid/patient2/study1/view1_frontal.jpg", "Frontal", "PA"),
        ("../../patient3/study1/view1_frontal.jpg", "Frontal", "PA"),
    ]
    write_csv(
        root / "df_chexpert_plus_240401.csv",
        [
            base | {"path_to_image": p, "frontal_lateral": f, "ap_pa": a, "deid_patient_id": p[:14]}
            for p, f, a in images
        ],
    )
    for n, (path, *_) in enumerate(images[:3]):
        film((root / "PNG" / "PNG" / path).with_suffix(".png"), n)
    labels = {"path_to_image": images[0][0], "Fracture": 1.0, "Edema": None}
    (root / "report_fixed.json").write_text(json.dumps(labels) + "\nbroken\n")
    return root


def test_chexpert_plus_is_read_view_by_view(tmp_path: Path) -> None:
    first, second, third = pairs(chexpert_plus(tmp_path))
    assert first.study_id == "patient1_study1"
    assert [f.position for f in first.films] == ["AP", "LATERAL"]
    assert all(f.path is not None and f.path.is_file() for f in first.films)
    assert (first.split, second.split) == ("train", "validation")
    assert (first.context.age, first.context.sex) == (82, "M")
    assert first.published == {FindingName.FRACTURE: Status.PRESENT}
    assert third.error is not None


# -- hub ------------------------------------------------------------------------------------------


@pytest.fixture
def radiology_mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shape of Radiology_mini and ROCO: image, image_id, caption, cui."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    captions = ["Coronary angiogram with a dissection of the right artery.", "CT of the abdomen."]
    rows = {
        "image": [str(film(tmp_path / f"{n}.png", n)) for n in range(2)],
        "image_id": ["ROCO_1", "ROCO_2"],
        "caption": captions,
        "cui": [["C1"], ["C2", "C3"]],
    }
    data = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    for split in ("train", "test"):
        embedded = data.map(lambda row: row).with_format(None)
        embedded = embedded.map(
            lambda row: {
                "image": {"bytes": Path(row["image"].filename).read_bytes(), "path": None}
            },
            features=data.features,
        )
        embedded.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return folder


def test_a_hub_folder_of_any_pictures_keeps_its_captions(
    radiology_mini: Path, tmp_path: Path
) -> None:
    source = open_source(radiology_mini, None, Given(domain="any"))
    assert source.layout == "hub"
    found = list(source.pairs())
    assert [p.split for p in found] == ["train", "train", "test", "test"]
    assert found[0].findings.startswith("Coronary")
    assert found[0].films[0].data
    how = Settings(work=Work(domain="any"))
    card = prepare(source, tmp_path / "out", how)
    # the test split repeats the pictures of the training split: they are refused
    assert card["facts"]["rows"] == {"train": 2}
    assert card["facts"]["quarantined"] == {"duplicate_image": 2}
    assert card["facts"]["findings"] == {}


def test_a_hub_id_is_only_looked_up_when_asked_by_name(tmp_path: Path) -> None:
    for layout, code in ((None, Code.FILE_NOT_FOUND), ("table", Code.FILE_NOT_FOUND)):
        with pytest.raises(HilumError) as caught:
            open_source(Path("nobody/nothing-here"), layout, Given())
        assert caught.value.code is code
    assert open_source(Path("nobody/nothing-here"), "hub", Given()).layout == "hub"


# -- DICOM ----------------------------------------------------------------------------------------


def test_dicom_studies_find_their_reports(make_file: Any, tmp_path: Path) -> None:
    make_file(name="in/p1/s1/a.dcm", StudyInstanceUID="1.2.3", PatientID="MRN-1")
    make_file(name="in/p1/s1/b.dcm", StudyInstanceUID="1.2.3", PatientID="MRN-1", ViewPosition="LL")
    make_file(name="in/p1/s2/c.dcm", StudyInstanceUID="1.2.4", PatientID="MRN-1")
    make_file(ramp(300, 300), name="in/p2/s3/d.dcm", StudyInstanceUID="1.2.5", PatientID=None)
    root = tmp_path / "in"
    (root / "p1/s1/报告.txt").write_text("检查所见：左侧肋骨骨折。\n诊断：骨折。", encoding="gbk")
    (root / "p2/s3/d.txt").write_text("Rib fracture.")
    first, second, third = pairs(root)
    assert first.findings == "左侧肋骨骨折。"
    assert first.impression == "骨折。"
    assert len(first.films) == 2
    assert first.patient_id == second.patient_id
    assert "MRN" not in repr(first)
    assert second.error is not None
    assert second.error.code is Code.FILE_NOT_FOUND
    assert third.flags == (Code.PATIENT_UNKNOWN,)
    card = prepare(open_source(root, None, Given()), tmp_path / "out")
    assert sum(card["facts"]["rows"].values()) == 2
    assert "MRN" not in (tmp_path / "out" / "quarantine.jsonl").read_text()
