"""The packaged weights on phantoms of seeds that no training ever saw."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.findings import Displacement, FindingName
from hilum.imaging.grey import identity_window
from hilum.models.embedded import WEIGHTS
from hilum.phantom.film import SIMULATED, Film, simulate
from hilum.reading.reader import Reader
from hilum.report import Report
from hilum.study import Study, View

SEED = 77_001
N = FindingName


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load("embedded")


@pytest.fixture(scope="module")
def films() -> list[Film]:
    return [simulate(SEED, i) for i in range(24)]


@pytest.fixture(scope="module")
def reports(reader: Reader, films: list[Film]) -> list[Report]:
    return reader.read_studies([study_of(f, i) for i, f in enumerate(films)], "en")


def study_of(film: Film, number: int = 0) -> Study:
    view = View(pixels=film.pixels, voi=[identity_window(12)], simulated=True)
    return Study(id=f"film{number}", views=[view])


def present(film: Film, name: FindingName) -> bool:
    return any(f.name == name and f.present for f in film.findings)


def test_the_package_stays_small_and_holds_no_pickle() -> None:
    files = [p for p in WEIGHTS.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 20_000_000
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".md"}


@pytest.mark.parametrize("name", [N.CARDIOMEGALY, N.PLEURAL_EFFUSION, N.PNEUMOTHORAX])
def test_large_findings_are_told(
    name: FindingName, films: list[Film], reports: list[Report]
) -> None:
    right = 0
    for film, report in zip(films, reports, strict=True):
        finding = report.finding(name)
        assert finding is not None
        assert finding.probability is not None
        right += finding.present == present(film, name)
    assert right >= 23


def test_sides_are_those_of_the_patient(films: list[Film], reports: list[Report]) -> None:
    """Of what is called and truly there, in words that come from the text alone."""
    told = right = 0
    for film, report in zip(films, reports, strict=True):
        for name in (N.PLEURAL_EFFUSION, N.PNEUMOTHORAX, N.FRACTURE):
            truth = next(f for f in film.findings if f.name == name)
            said = report.finding(name)
            if not truth.instances or said is None or not said.present or not said.instances:
                continue
            told += 1
            right += said.instances[0].side == truth.instances[0].side
    assert told >= 20
    assert right / told > 0.9


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_finding_is_said_in_words_that_are_understood(
    language: str, reader: Reader, films: list[Film]
) -> None:
    from hilum.language import label

    studies = [study_of(f, i) for i, f in enumerate(films[:6])]
    for report in reader.read_studies(studies, language):  # type: ignore[arg-type]
        said = {f.name for f in label(report.text or "", language)}  # type: ignore[arg-type]
        assert said >= set(SIMULATED)


def test_what_is_present_has_a_box_on_the_film(reports: list[Report]) -> None:
    boxes = 0
    for report in reports:
        for finding in report.findings:
            if finding.probability is None or not finding.present:
                continue
            for instance in finding.instances:
                if instance.box is not None:
                    boxes += 1
                    x0, y0, x1, y1 = instance.box.xyxy
                    assert 0 <= x0 < x1 <= 511
                    assert 0 <= y0 < y1 <= 511
    assert boxes >= len(reports)


def test_a_film_without_its_fracture_is_no_longer_called_fractured(reader: Reader) -> None:
    """The same chest and exposure, the fracture not simulated: the probability must fall."""
    pairs = []
    index = 0
    while len(pairs) < 8:
        film = simulate(SEED + 1, index)
        kinds = [i.displacement for f in film.findings if f.name == N.FRACTURE for i in f.instances]
        if Displacement.DISPLACED in kinds:
            pairs.append((film, simulate(SEED + 1, index, hide=True)))
        index += 1
    falls = []
    for with_it, without in pairs:
        reports = reader.read_studies([study_of(with_it), study_of(without)])
        p = [r.finding(N.FRACTURE).probability for r in reports]  # type: ignore[union-attr]
        falls.append(p[0] - p[1])  # type: ignore[operator]
    assert np.median(falls) > 0.4


def test_reading_twice_gives_the_same_report(reader: Reader, films: list[Film]) -> None:
    first = reader.read_studies([study_of(films[0])])[0]
    reader.engine.forget()  # type: ignore[attr-defined]
    again = reader.read_studies([study_of(films[0]), study_of(films[1])])[0]
    assert again.text == first.text
    for a, b in zip(first.findings, again.findings, strict=True):
        assert b.probability == pytest.approx(a.probability, abs=2e-3)
