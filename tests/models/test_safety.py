"""Folders of models: whole safetensors, no pickles, no program code without a word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hilum.codes import Code, HilumError
from hilum.models.safety import header, refuse_remote_code, remote_code, weight_files


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.float16)}, path)
    return path


def test_a_header_names_every_tensor(weights: Path) -> None:
    entries = header(weights)
    assert {name: entry["shape"] for name, entry in entries.items()} == {"a": [2, 3], "b": [4]}


@pytest.mark.parametrize("keep", [0, 7, 8, 20, -1])
def test_a_file_cut_anywhere_is_named(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(HilumError) as caught:
        header(weights)
    assert caught.value.code is Code.MODEL_INVALID


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 64,
        (4).to_bytes(8, "little") + b"nul1",
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
        (10**9).to_bytes(8, "little") + b"{}",
    ],
)
def test_what_is_no_safetensors_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(HilumError) as caught:
        header(path)
    assert caught.value.code is Code.MODEL_INVALID


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        header(tmp_path / "none.safetensors")
    assert caught.value.code is Code.MODEL_INVALID


def test_pickles_alone_are_refused_beside_safetensors_ignored(weights: Path) -> None:
    folder = weights.parent
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert weight_files(folder) == [weights]
    weights.unlink()
    with pytest.raises(HilumError) as caught:
        weight_files(folder)
    assert caught.value.code is Code.PICKLE_REFUSED


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "../model.safetensors", ""])
def test_a_shard_that_is_not_there_or_lies_outside_is_missing(weights: Path, name: str) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": name}}
    (weights.parent / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(HilumError) as caught:
        weight_files(weights.parent)
    assert caught.value.code is Code.MODEL_INCOMPLETE


@pytest.mark.parametrize("index", ["{}", "[]", "{"])
def test_an_index_that_says_nothing_is_refused(weights: Path, index: str) -> None:
    (weights.parent / "model.safetensors.index.json").write_text(index)
    with pytest.raises(HilumError) as caught:
        weight_files(weights.parent)
    assert caught.value.code in (Code.MODEL_INCOMPLETE, Code.MODEL_INVALID)


def test_an_empty_folder_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        weight_files(tmp_path)
    assert caught.value.code is Code.MODEL_INCOMPLETE


@pytest.mark.parametrize(
    ("file", "auto", "code"),
    [
        ("config.json", {"AutoModel": "modeling_x.X"}, "config.json: modeling_x.X"),
        ("config.json", {"AutoModel": "some/repo--modeling_x.X"}, "some/repo"),
        ("processor_config.json", {"AutoProcessor": "p.P"}, "processor_config.json: p.P"),
        ("tokenizer_config.json", {"AutoTokenizer": ["a/b--t.T", None]}, "a/b"),
    ],
)
def test_program_code_is_named_and_refused(
    tmp_path: Path, file: str, auto: object, code: str
) -> None:
    (tmp_path / file).write_text(json.dumps({"auto_map": auto}))
    assert remote_code(tmp_path) == code
    with pytest.raises(HilumError) as caught:
        refuse_remote_code(tmp_path, allowed=False)
    assert caught.value.code is Code.REMOTE_CODE_REFUSED
    assert code in caught.value.detail
    assert code in refuse_remote_code(tmp_path, allowed=True)


def test_a_folder_without_code_needs_no_word(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert refuse_remote_code(tmp_path, allowed=False) == ""
