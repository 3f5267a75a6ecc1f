"""The reader: its folder, what it refuses, and what a report says of how it came about."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import hilum
from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.engines import Draft, Located, Question, Request, Sampling
from hilum.findings import FindingName, Status
from hilum.phantom.film import simulate
from hilum.reading import reader as module
from hilum.reading.reader import Card, Reader
from hilum.report import NOTICE, Report
from hilum.study import Study

CHEST = simulate(1234, 0, 256).pixels

MakeFile = Callable[..., Path]


@pytest.fixture(scope="module")
def reader(twin: Path) -> Reader:
    return Reader.load(twin)


@pytest.fixture
def outside(phantoms: list[Path], tmp_path: Path) -> Path:
    """A film that nothing says was simulated."""
    path = tmp_path / "someone.png"
    Image.open(phantoms[0]).save(path)
    return path


def load(*paths: Path) -> list[Study]:
    return [imaging.load_study([path]) for path in paths]


class Typist:
    """An engine that writes the same text for every film, and keeps what it was asked."""

    weights_sha256 = "0" * 64

    def __init__(self, text: str, likelihood: float = 0.5, complete: bool = True) -> None:
        self.versions = {"typist": "1"}
        self.draft = Draft(text, complete, (Located("fracture", (1, 2, 30, 40), 0.0),))
        self.likelihood = likelihood
        self.batches: list[int] = []
        self.asked: list[Sequence[Question]] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        self.batches.append(len(requests))
        return [self.draft] * len(requests)

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        yield self.draft.text

    def choose(
        self, images: Sequence[Any], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        self.asked.append(questions)
        return [np.tile([self.likelihood, 1 - self.likelihood], (len(questions), 1))] * len(images)


def card(**more: Any) -> Card:
    given = {"name": "typist", "architecture": "none", "licence": "none", "prompts": {"en": "<en>"}}
    return Card(**{**given, "domain": "phantom", **more})


# -- folders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chexfract", "no/such/folder", "Embedded", "embedded ", "x\0y"])
def test_an_unknown_name_is_not_found(name: str) -> None:
    with pytest.raises(HilumError) as caught:
        Reader.load(name)
    assert caught.value.code is Code.READER_NOT_FOUND
    assert "give embedded or a reader's folder" in caught.value.line()


def test_a_file_is_no_reader(twin: Path) -> None:
    with pytest.raises(HilumError) as caught:
        Reader.load(twin / "reader.json")
    assert caught.value.code is Code.READER_NOT_FOUND


def test_an_installation_without_weights_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_embedded_folder", lambda: tmp_path / "weights")
    with pytest.raises(HilumError) as caught:
        Reader.load()
    assert caught.value.code is Code.READER_NOT_FOUND


def test_embedded_is_the_packaged_one_whatever_lies_in_the_current_folder(
    twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_embedded_folder", lambda: twin)
    assert Reader.load("embedded").card.domain == "phantom"
    with pytest.raises(HilumError) as caught:
        Reader.load("./embedded")
    assert caught.value.code is Code.READER_INVALID


def test_hilum_reader_is_the_reader() -> None:
    assert hilum.Reader is Reader


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID
    assert "reader.json" in caught.value.line()


def test_a_card_without_weights(twin: Path, tmp_path: Path) -> None:
    shutil.copy(twin / "reader.json", tmp_path)
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID


def _set(*keys: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(settings: dict[str, Any]) -> None:
        for key in keys[:-1]:
            settings = settings[key]
        settings[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_set("questions", "cold", to="<ask>"), id="unknown finding"),
        pytest.param(_set("calibration", "thresholds", to={"x": 0.5}), id="unknown threshold"),
        pytest.param(_set("calibration", "thresholds", to={"mass": 50}), id="threshold in %"),
        pytest.param(_set("calibration", "default_threshold", to=0), id="everything present"),
        pytest.param(
            _set("calibration", "findings", to={"mass": {"slope": math.nan}}), id="NaN slope"
        ),
        pytest.param(_set("prompts", "fr", to="<fr>"), id="unknown language"),
        pytest.param(_set("prompts", to={}), id="no language"),
        pytest.param(_set("questions", "fracture", to=""), id="question without words"),
        pytest.param(_set("answers", to=["yes"]), id="one answer"),
        pytest.param(_set("answers", to=["yes", "no", "perhaps"]), id="three answers"),
        pytest.param(_set("answers", to=["yes", ""]), id="answer without words"),
        pytest.param(_set("domain", to="everything"), id="unknown domain"),
        pytest.param(_set("max_new_tokens", to=0), id="no text at all"),
        pytest.param(_set("trust_remote_code", to=True), id="unknown key"),
        pytest.param(lambda s: s.pop("licence"), id="no licence"),
        pytest.param(lambda s: s.clear(), id="empty"),
    ],
)
def test_a_card_that_says_what_nobody_can_do(
    change: Callable[[dict[str, Any]], object], twin: Path, tmp_path: Path
) -> None:
    settings = json.loads((twin / "reader.json").read_text(encoding="utf-8"))
    change(settings)
    (tmp_path / "reader.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID
    assert caught.value.subject.endswith("reader.json")  # before any weights are looked at
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{}", b"{}" * 9, b'{"name": "\xe9"}']
)
def test_a_card_that_cannot_be_parsed(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "reader.json").write_bytes(content)
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID
    assert "\n" not in caught.value.line()


def test_a_card_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "reader.json").mkdir()
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID


# -- language ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["zh", "fr", "", "EN"])
def test_a_language_that_the_reader_does_not_write(language: Any, phantoms: list[Path]) -> None:
    reader = Reader(card(), Typist("No fracture."))
    for studies in (load(phantoms[0]), []):
        with pytest.raises(HilumError) as caught:
            reader.read_studies(studies, language)
        assert caught.value.code is Code.LANGUAGE_UNSUPPORTED
        assert "it writes en" in caught.value.line()


# -- domain -----------------------------------------------------------------------------------


def test_a_simulated_film_is_read_as_it_was_learnt(reader: Reader, phantoms: list[Path]) -> None:
    lines = (phantoms[0].parent / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    truth = [json.loads(line) for line in lines]
    for language in ("en", "zh"):
        reports = reader.read_studies(load(*phantoms), language)  # type: ignore[arg-type]
        for report, row in zip(reports, truth, strict=True):
            assert report.text == row["report"][language]
            assert report.flags == []
            assert report.notice == NOTICE[language]  # type: ignore[index]
            status = {f["name"]: f["status"] for f in row["findings"]}
            assert {f.name: f.status for f in report.findings} == status


def test_a_box_comes_with_its_sentence(reader: Reader, phantoms: list[Path]) -> None:
    told = 0
    for path in phantoms:
        (report,) = reader.read_studies(load(path))
        fracture = report.finding("fracture")
        assert fracture is not None
        for instance in fracture.instances:
            if instance.span is None:
                continue
            assert instance.bone in ("rib", "clavicle")
            assert report.text is not None
            assert "fracture of the" in report.text[slice(*instance.span)]
            if instance.box:
                assert instance.probability is not None
                told += 1
    assert told


def test_any_other_film_is_abstained_from(
    reader: Reader, outside: Path, make_file: MakeFile
) -> None:
    for path in (outside, make_file(CHEST, BodyPartExamined="CHEST")):
        report = reader.read(path)
        assert report.gate.reasons == [Code.OUTSIDE_READER_DOMAIN]
        assert_empty(report)


def assert_empty(report: Report) -> None:
    """Never a normal report by default."""
    assert report.abstained
    assert (report.findings, report.text, report.flags) == ([], None, [])
    assert report.notice == NOTICE[report.language]
    assert report.provenance.weights_sha256


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_allowed_film_is_read_and_marked_as_not_valid(
    language: Any, reader: Reader, outside: Path
) -> None:
    report = reader.read(outside, language, allow_outside_domain=True)
    assert not report.abstained
    assert report.text
    assert report.flags[0] is Code.READ_OUTSIDE_DOMAIN
    assert report.notice.startswith("NOT VALID" if language == "en" else "无效")
    assert report.notice.endswith(NOTICE[language])  # type: ignore[index]


def test_allowing_the_domain_allows_nothing_else(reader: Reader, tmp_path: Path) -> None:
    Image.new("L", (300, 300), 90).save(tmp_path / "blank.png")
    Image.new("L", (30, 30), 90).save(tmp_path / "small.png")
    blank = reader.read(tmp_path / "blank.png", allow_outside_domain=True)
    assert blank.gate.reasons == [Code.BLANK_FILM]
    small = reader.read(tmp_path / "small.png")
    assert small.gate.reasons == [Code.TOO_SMALL, Code.BLANK_FILM, Code.OUTSIDE_READER_DOMAIN]
    assert_empty(blank)
    assert_empty(small)


def test_allowing_changes_nothing_for_a_simulated_film(
    reader: Reader, phantoms: list[Path]
) -> None:
    assert reader.read(phantoms[1], allow_outside_domain=True) == reader.read(phantoms[1])


def test_a_reader_of_chests_reads_both(outside: Path, phantoms: list[Path]) -> None:
    reader = Reader(card(domain="chest"), Typist("No fracture."))
    for path in (outside, phantoms[0]):
        report = reader.read(path)
        assert report.text == "No fracture."
        assert report.flags == []


# -- several views ----------------------------------------------------------------------------


def test_two_views_are_abstained_from(reader: Reader, phantoms: list[Path], outside: Path) -> None:
    two = reader.read(phantoms[:2])
    assert two.gate.reasons == [Code.SEVERAL_VIEWS_UNSUPPORTED]
    assert [v.path for v in two.study.views] == [str(p) for p in phantoms[:2]]
    assert_empty(two)
    mixed = reader.read([phantoms[0], outside])
    assert mixed.gate.reasons == [Code.SEVERAL_VIEWS_UNSUPPORTED, Code.OUTSIDE_READER_DOMAIN]
    allowed = reader.read([phantoms[0], outside], allow_outside_domain=True)
    assert allowed.gate.reasons == [Code.SEVERAL_VIEWS_UNSUPPORTED]


# -- batches ----------------------------------------------------------------------------------


def test_accepted_and_abstained_keep_their_order(
    reader: Reader, phantoms: list[Path], outside: Path, tmp_path: Path
) -> None:
    Image.new("L", (300, 300), 90).save(tmp_path / "blank.png")
    paths = [outside, phantoms[2], tmp_path / "blank.png", phantoms[0], outside, phantoms[2]]
    reports = reader.read_studies(load(*paths))
    assert [r.study.views[0].path for r in reports] == [str(p) for p in paths]
    assert [r.abstained for r in reports] == [True, False, True, False, True, False]
    assert reports[1].text == reports[5].text != reports[3].text
    assert reports[3] == reader.read(phantoms[0])


def test_nothing_to_read(reader: Reader) -> None:
    assert reader.read_studies([]) == []
    assert list(reader.read_stream([])) == []


def test_an_abstained_batch_does_not_trouble_the_engine(outside: Path) -> None:
    engine = Typist("No fracture.")
    reports = Reader(card(), engine).read_studies(load(outside, outside))
    assert all(r.abstained for r in reports)
    assert engine.batches == engine.asked == []


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (99, [6])])
def test_a_stream_holds_one_batch_at_a_time(
    batch: int, sizes: list[int], phantoms: list[Path]
) -> None:
    engine, taken = Typist("No fracture."), []

    def studies() -> Iterator[Study]:
        for path in phantoms:
            taken.append(path)
            yield from load(path)

    reports = Reader(card(), engine).read_stream(studies(), batch=batch)
    assert taken == []
    first = next(reports)
    assert len(taken) == sizes[0]
    rest = list(reports)
    assert [r.study.views[0].path for r in (first, *rest)] == [str(p) for p in phantoms]
    assert engine.batches == sizes


# -- what is read -----------------------------------------------------------------------------


def test_a_path_a_str_and_a_list_are_the_same_study(reader: Reader, phantoms: list[Path]) -> None:
    film = phantoms[3]
    by_path = reader.read(film)
    assert by_path == reader.read(str(film)) == reader.read([film]) == reader.read((str(film),))
    assert (by_path.study.views[0].rows, by_path.study.views[0].columns) == (256, 256)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: folder / "none.png", Code.FILE_NOT_FOUND),
        (lambda folder: folder, Code.FILE_UNREADABLE),
        (lambda _: [], Code.NO_FILES),
    ],
)
def test_what_cannot_be_read_raises(
    make: Callable[[Path], Any], code: Code, reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(HilumError) as caught:
        reader.read(make(tmp_path))
    assert caught.value.code is code


@pytest.mark.parametrize(
    "name", ["a b.png", "胸片.png", "[red]x[/red].png", "a\nb.png", "bad\udcff.png", "\x1b[31m.png"]
)
def test_a_report_can_be_printed_whatever_the_file_is_called(
    name: str, reader: Reader, phantoms: list[Path], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)  # [/red] is half a folder
    shutil.copy(phantoms[0], path)
    report = reader.read(path)
    assert Report.model_validate_json(report.model_dump_json()) == report
    kept = str(path).replace("\udcff", "\\udcff")  # what JSON cannot hold is spelt out
    assert report.study.views[0].path == kept


# -- probability and words --------------------------------------------------------------------


def test_without_questions_there_is_no_probability(phantoms: list[Path]) -> None:
    engine = Typist("No pleural effusion. Possible nodule. Fracture of the left 4th rib.")
    report = Reader(card(), engine).read(phantoms[0])
    assert engine.asked == []
    assert all(f.probability is None for f in report.findings)
    assert {f.name: f.status for f in report.findings} == {
        FindingName.PLEURAL_EFFUSION: Status.ABSENT,
        FindingName.NODULE: Status.UNCERTAIN,
        FindingName.FRACTURE: Status.PRESENT,
    }
    assert report.provenance.thresholds == {}
    assert report.flags == []


@pytest.mark.parametrize(
    ("text", "likelihood", "status", "flagged"),
    [
        ("No fracture.", 0.2, Status.ABSENT, False),
        ("No fracture.", 0.9, Status.PRESENT, True),
        ("Fracture of the left 4th rib.", 0.9, Status.PRESENT, False),
        ("Fracture of the left 4th rib.", 0.2, Status.ABSENT, True),
        ("Possible fracture of the left 4th rib.", 0.9, Status.PRESENT, True),
        ("What is this?", 0.9, Status.PRESENT, True),
        ("", 0.2, Status.ABSENT, False),
    ],
)
def test_the_probability_decides_and_the_words_are_checked(
    text: str, likelihood: float, status: Status, flagged: bool, phantoms: list[Path]
) -> None:
    reader = Reader(card(questions={"fracture": "Fracture?"}), Typist(text, likelihood))
    report = reader.read(phantoms[0])
    fracture = report.finding("fracture")
    assert fracture is not None
    assert fracture.status is status
    assert fracture.probability == pytest.approx(likelihood, abs=1e-4)
    assert (Code.TEXT_DISAGREES in report.flags) == flagged
    assert report.text == text
    assert bool(fracture.instances) == (status is Status.PRESENT)


def test_a_threshold_of_ones_own(phantoms: list[Path]) -> None:
    calibration = {"thresholds": {"fracture": 0.3}, "default_threshold": 0.8}
    asked = {"fracture": "Fracture?", "nodule": "Nodule?"}
    reader = Reader(card(questions=asked, calibration=calibration), Typist("", 0.5))
    report = reader.read(phantoms[0])
    statuses = {f.name: f.status for f in report.findings}
    assert statuses[FindingName.FRACTURE] is Status.PRESENT
    assert statuses[FindingName.NODULE] is Status.ABSENT
    assert report.provenance.thresholds == {"fracture": 0.3, "nodule": 0.8}


def test_a_cut_text_is_flagged(phantoms: list[Path]) -> None:
    reader = Reader(card(), Typist("No fracture. Acute", complete=False))
    assert reader.read(phantoms[0]).flags == [Code.TEXT_CUT]


@pytest.mark.parametrize(
    ("age", "reasons", "flags"),
    [
        ("012Y", [Code.BELOW_AGE_LIMIT], []),
        ("017Y", [], [Code.PAEDIATRIC]),
        ("044Y", [], []),
        (None, [], [Code.AGE_UNKNOWN]),
    ],
)
def test_a_reader_may_have_an_age_limit(
    age: str | None, reasons: list[Code], flags: list[Code], make_file: MakeFile
) -> None:
    reader = Reader(card(domain="chest", min_age=14), Typist("No fracture."))
    report = reader.read(make_file(CHEST, PatientAge=age))
    assert (report.gate.reasons, report.flags) == (reasons, flags)


def test_the_grey_levels_warnings_follow_the_draft(make_file: MakeFile) -> None:
    path = make_file(CHEST, PhotometricInterpretation=None)
    reader = Reader(card(domain="chest"), Typist("No fracture.", complete=False))
    report = reader.read(path)
    assert report.flags == [Code.TEXT_CUT, Code.PHOTOMETRIC_MISSING]
    report = Reader(card(), Typist("No fracture.")).read(path, allow_outside_domain=True)
    assert report.flags == [Code.READ_OUTSIDE_DOMAIN, Code.PHOTOMETRIC_MISSING]


def test_an_engine_without_likelihoods_is_an_error_not_a_guess(phantoms: list[Path]) -> None:
    class Mute(Typist):
        def choose(self, *_: Any) -> Any:
            raise HilumError(Code.NO_PROBABILITY)

    with pytest.raises(HilumError) as caught:
        Reader(card(questions={"fracture": "?"}), Mute("")).read(phantoms[0])
    assert caught.value.code is Code.NO_PROBABILITY


# -- provenance -------------------------------------------------------------------------------


def test_provenance_says_how_a_draft_came_about(
    reader: Reader, twin: Path, phantoms: list[Path], outside: Path
) -> None:
    weights = hashlib.sha256((twin / "model.safetensors").read_bytes()).hexdigest()
    for path in (phantoms[0], outside):  # an abstention has one too
        origin = reader.read(path, "zh").provenance
        assert origin.reader == "embedded"
        assert origin.weights_sha256 == weights
        assert origin.prompt == "<zh>"
        assert origin.decoding == {"do_sample": False, "max_new_tokens": 250}
        assert set(origin.thresholds) == set(reader.card.questions)
        assert origin.licence == "Apache-2.0"
        assert origin.versions["hilum"] == hilum.__version__
        assert {"torch", "transformers"} <= set(origin.versions)


def test_reports_round_trip_through_json(
    reader: Reader, phantoms: list[Path], outside: Path
) -> None:
    reports = reader.read_studies(load(*phantoms, outside), "zh")
    reports += reader.read_studies(load(outside), "en", allow_outside_domain=True)
    for report in reports:
        line = report.model_dump_json()
        assert "\n" not in line
        assert Report.model_validate_json(line) == report


def test_the_same_film_gives_the_same_report(twin: Path, phantoms: list[Path]) -> None:
    first, second = (Reader.load(twin).read(phantoms[4]) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()
