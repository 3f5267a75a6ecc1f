"""Exports for OpenVINO: what is refused before any work, and one export where there is a tool."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hilum.codes import Code, HilumError
from hilum.engines import Question, Request, Sampling
from hilum.engines.open import open_engine
from hilum.engines.openvino import EXPORT, OpenVinoEngine, _literal
from hilum.models.twins import make_twin
from hilum.reading.reader import CARD, Card, Reader
from hilum.training.quantize import FORMATS, install_commands, quantize


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_twin("qwen2.5-vl", tmp_path_factory.mktemp("qwen"))


def refused(model: Path, to: str, out: Path, env: Path) -> HilumError:
    with pytest.raises(HilumError) as caught:
        quantize(model, to, out, env)
    return caught.value


def test_what_cannot_be_done_is_said_before_any_work(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert refused(model, "gguf", out, tmp_path).code is Code.OPTION_INVALID
    missing = refused(model, "openvino-int8", out, tmp_path / "env")
    assert missing.code is Code.EXTRA_MISSING
    for command in install_commands(tmp_path / "env"):
        assert " ".join(command) in missing.line()
    assert refused(model, "openvino-int8", tmp_path, tmp_path).code is Code.OUTPUT_EXISTS
    assert not out.exists()


def fake(folder: Path, script: str) -> Path:
    """An environment whose exporter is this shell script."""
    path = folder / "env" / "bin" / "optimum-cli"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder / "env"


def test_an_exporter_that_fails_is_quoted_by_its_last_line(model: Path, tmp_path: Path) -> None:
    env = fake(tmp_path, "echo first >&2; echo 'ValueError: no such model' >&2; exit 1")
    error = refused(model, "openvino-int8", tmp_path / "out", env)
    assert error.code is Code.EXPORT_FAILED
    assert "ValueError: no such model" in error.line()
    assert not (tmp_path / "out").exists()


def test_an_exporter_that_writes_nothing_has_failed(model: Path, tmp_path: Path) -> None:
    error = refused(model, "openvino-int8", tmp_path / "out", fake(tmp_path, "exit 0"))
    assert error.code is Code.EXPORT_FAILED


def test_the_exporter_is_offline_and_by_itself(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    seen = tmp_path / "seen"
    env = fake(tmp_path, f'echo "$HF_HUB_OFFLINE|$PYTHONPATH|$*" > {seen}; exit 1')
    refused(model, "openvino-int4", tmp_path / "out", env)
    offline, path, words = seen.read_text().strip().split("|")
    assert (offline, path) == ("1", "")
    assert "--weight-format int4" in words
    assert "--task image-text-to-text" in words


@pytest.mark.parametrize("words", ["Yes", "a.b", "(x|y)*", "C:\\d+", "有", "no - none"])
def test_a_grammar_of_one_wording_is_that_wording(words: str) -> None:
    import re

    assert re.fullmatch(_literal(words), words)
    assert not re.fullmatch(_literal(words), words + "x")


@pytest.mark.parametrize("content", [None, "{", "{}", '{"stops": 3}', '{"stops": [1]}'])
def test_a_folder_that_is_no_export_is_no_reader(content: str | None, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    (tmp_path / "openvino_language_model.xml").write_text("<net/>")
    if content is not None:
        (tmp_path / EXPORT).write_text(content)
    with pytest.raises(HilumError) as caught:
        open_engine(tmp_path)
    assert caught.value.code is Code.READER_INVALID


@pytest.mark.slow
def test_an_export_answers_as_its_original(
    model: Path, tmp_path: Path, phantoms: list[Path]
) -> None:
    named = os.environ.get("HILUM_OPENVINO_ENV")
    if not named:
        pytest.skip("HILUM_OPENVINO_ENV names no exporter's environment")
    pytest.importorskip("openvino_genai")
    (model / CARD).write_text(
        Card(
            name="twin",
            architecture="qwen",
            licence="none",
            prompts={"en": "Describe bones."},
            questions={"fracture": "Is there a fracture?"},  # type: ignore[dict-item]
            answers=("Yes", "No"),
            max_new_tokens=8,
        ).model_dump_json()
    )
    out = tmp_path / "out"
    done = quantize(model, "openvino-fp16", out, Path(named))
    assert done.bytes_after < done.bytes_before
    assert json.loads((out / EXPORT).read_text())["parity"]["texts"] == done.parity.texts
    engine = OpenVinoEngine(out, exact=True)
    films = [np.random.default_rng(i).integers(0, 256, (80, 64), dtype=np.uint8) for i in range(3)]
    asked = [Request((f,), "Hi") for f in films]
    drafts = engine.generate(asked, Sampling(8))
    assert drafts == [engine.generate([r], Sampling(8))[0] for r in asked]
    assert "".join(engine.stream(asked[0], Sampling(8))).strip() == drafts[0].text
    (found,) = engine.choose([(films[0],)], "", [Question("Hi", ("Yes", "No", "A"), "first")])
    assert found.sum() == pytest.approx(1)
    report = Reader.load(out).read(phantoms[0])
    assert report.provenance.weights_sha256 == engine.weights_sha256
    assert report.finding("fracture") is not None  # type: ignore[arg-type]


def test_the_formats_are_the_command_lines() -> None:
    from hilum.cli.quantize import Format

    assert [f.value for f in Format] == list(FORMATS)
