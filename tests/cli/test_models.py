"""``hilum models``: its commands as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.cli import main
from hilum.models.presets import presets


def test_list_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name} " in out for name in presets())


def test_list_as_json_and_for_commerce(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models", "list", "--json", "--commercial"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert "chexfract-maira2" not in rows
    assert rows["qwen3-vl-8b"]["commercial"] == "yes"
    assert rows["qwen3-vl-8b"]["counted"] is None


@pytest.mark.parametrize("as_json", [False, True])
def test_show_has_the_source_of_what_it_says(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["models", "show", "chexfract-maira2", *["--json"] * as_json]) == 0
    out = capsys.readouterr().out
    assert "Describe bones on this chest X-ray" in out
    assert "model card of AIRI-Institute/chexfract-maira2" in out
    assert "msrla" in out


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["show", "xrayglm"], 4, "model_gone"),
        (["show", "nonsense"], 4, "preset_unknown"),
        (["check", "/nowhere"], 4, "file_not_found"),
        (["fetch", "maira-2", "x", "--commercial"], 4, "licence_forbids"),
        (["convert", "/nowhere", "x"], 4, "model_invalid"),
        (["convert", "a", "b", "--fit", "tiles"], 2, "option_invalid"),
        (["push", ".", "mine"], 2, "option_invalid"),
        (["twin", "embedded", "x"], 4, "preset_unknown"),
        (["twin", "llava-dinov2", "x", "--width", "128"], 2, "option_invalid"),
        (["twin", "llava-dinov2", "x", "--seeing", "--width", "100"], 2, "option_invalid"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(
    arguments: list[str], status: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["models", *arguments]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith(f"[{code}]\n")


def test_a_twin_is_made_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "twin"
    assert main.run(["models", "twin", "qwen3-vl", str(folder)]) == 0
    assert main.run(["models", "check", str(folder)]) == 0
    assert "answers" in capsys.readouterr().out
    (folder / "model.safetensors").unlink()
    assert main.run(["models", "check", str(folder), "--json"]) == 4
    items = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert items["files"]["code"] == "model_incomplete"


def test_the_packages_own_weights_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models", "check", "embedded", "--commercial"]) == 0
    out = capsys.readouterr().out
    assert "Apache License" in out
    assert "VisionEncoderDecoderModel" in out


@pytest.mark.parametrize("command", ["list", "show", "fetch", "check", "convert", "push", "twin"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["models", command, "--help"]) == 0
    assert "Example: " in capsys.readouterr().out


def test_an_export_is_run_by_its_own_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are ``.bin`` files, which are no pickles."""
    pytest.importorskip("openvino_genai")
    (tmp_path / "openvino_language_model.xml").write_text("<net/>")
    (tmp_path / "openvino_language_model.bin").write_bytes(b"")
    assert main.run(["models", "check", str(tmp_path), "--json"]) == 4
    (item,) = json.loads(capsys.readouterr().out)
    assert (item["name"], item["code"]) == ("engine", "reader_invalid")
