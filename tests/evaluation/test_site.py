"""A site's calibration: fitted on a reader's answers, bound to what they were answers to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.codes import HilumError
from hilum.evaluation.calibrate import Points
from hilum.evaluation.case import Prediction, System
from hilum.evaluation.page.calibrated import page
from hilum.evaluation.site import Wish, calibrate, save
from hilum.findings import Instance, Side, Status
from hilum.reading.calibration import CalibrationFile, Platt, open_file
from tests.evaluation.conftest import A, Films, N, P, failed, fracture, oracle, reference, system
from tests.evaluation.test_page import parsed


def answers(n: int = 200, sides: bool = True) -> tuple[list[Any], System]:
    rng = np.random.default_rng(0)
    rows, predictions = [], []
    for k in range(n):
        likelihood = round(float(rng.random()), 4)
        side = Side.LEFT if k % 2 else Side.RIGHT
        ill = fracture(P if rng.random() < likelihood**2 else A, instances=[Instance(side=side)])
        rows.append(reference(k, ill))
        predictions.append(
            Prediction(
                study_id=f"s{k}",
                likelihoods={N.FRACTURE: likelihood},
                sides=dict.fromkeys((Side.LEFT, Side.RIGHT), likelihood) if sides else {},
            )
        )
    return rows, system(predictions)


def made(**wish: Any) -> CalibrationFile:
    rows, told = answers()
    return calibrate(oracle(sides=True), Films(rows), rows, told, "here", Wish(**wish))


def test_findings_and_sides_are_fitted_and_bound() -> None:
    reader = oracle(sides=True)
    file = made(points=Points(0.9, 0.9))
    assert set(file.calibration.findings) == {N.FRACTURE}
    assert set(file.calibration.sides) == {Side.LEFT, Side.RIGHT}
    assert file.calibration.doubts[N.FRACTURE] < file.calibration.thresholds[N.FRACTURE]
    assert file.site == "here"
    assert file.weights_sha256 == reader.engine.weights_sha256
    assert file.prompt_sha256 == reader.card.asked.sha256
    told = file.fitted["findings"]["fracture"]
    assert told["after"]["ece"] < told["before"]["ece"]
    assert file.fitted["dataset"]["sha256"] == "0" * 64


def test_the_file_comes_back_and_a_reader_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    file = made(points=Points(0.9, 0.9))
    save(file, path)
    again, digest = open_file(path)
    assert again == file
    reader = oracle(sides=True).calibrated(path, "here")
    assert reader.card.calibration.findings == file.calibration.findings
    told = reader.provenance("en")
    assert told.calibration is not None
    assert (told.calibration.site, told.calibration.sha256) == ("here", digest)
    assert told.doubts == file.calibration.doubts


@pytest.mark.usefixtures("open_gate")
def test_a_report_between_the_points_is_possible(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    file = made()
    file.calibration.findings = {N.FRACTURE: Platt()}
    file.calibration.thresholds = {N.FRACTURE: 0.9}
    file.calibration.doubts = {N.FRACTURE: 0.3}
    save(file, path)
    reader = oracle(sides=True).calibrated(path)
    rows = [reference(k, fracture()) for k in (0, 1)]
    first, second = reader.read_studies(list(Films(rows).studies()))  # type: ignore[misc]
    assert first.findings[0].status is Status.UNCERTAIN  # 0.7
    assert second.findings[0].status is Status.ABSENT  # 0.1


@pytest.mark.parametrize(
    ("reader", "site", "what"),
    [
        ({"weights": "1" * 64}, "here", "weights: .* quantised"),
        ({"sides": False}, "here", "prompt: "),
        ({}, "there", "site: fitted for here, not there"),
    ],
)
def test_elsewhere_it_is_an_error(tmp_path: Path, reader: Any, site: str, what: str) -> None:
    path = tmp_path / "site.json"
    save(made(), path)
    with pytest.raises(HilumError, match=f"calibration_mismatch|{what}") as caught:
        oracle(**{"sides": True, **reader}).calibrated(path, site)
    import re

    assert re.search(what, str(caught.value))


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "{", '{"site": "x"}'])
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HilumError, match="calibration_invalid"):
        oracle().calibrated(path)
    with pytest.raises(HilumError, match="file_not_found"):
        oracle().calibrated(tmp_path / "none.json")


def test_a_file_with_one_more_key_is_refused(tmp_path: Path) -> None:
    told = made().model_dump(mode="json") | {"more": 1}
    path = tmp_path / "site.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(HilumError, match="calibration_invalid"):
        oracle().calibrated(path)


def test_studies_that_were_not_read_are_left_out_and_counted() -> None:
    rows, told = answers()
    told.predictions[:5] = [failed(r) for r in rows[:5]]
    file = calibrate(oracle(), Films(rows), rows, told, "here")
    assert file.fitted["not_read"] == 5
    assert file.fitted["findings"]["fracture"]["cases"] == 195


def test_too_little_is_an_error_and_no_questions_are_another() -> None:
    rows, told = answers(12)
    with pytest.raises(HilumError, match="calibration_impossible"):
        calibrate(oracle(), Films(rows), rows, told, "here")
    silent = oracle()
    silent.card = silent.card.model_copy(update={"questions": {}})
    with pytest.raises(HilumError, match="no_probability"):
        calibrate(silent, Films(rows), rows, told, "here")


def test_the_page_is_whole_and_bilingual() -> None:
    html = page(made(points=Points(0.9)))
    tags = parsed(html)
    assert tags.open == []
    assert tags.loads == []
    assert html.count('class="en') == html.count('class="zh')
    assert html.count("<figure>") == 3
