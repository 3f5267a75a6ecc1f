"""GPTQ and AWQ: what is calibrated on, what is refused, and what opens such a folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hilum.cli.main import run
from hilum.codes import Code, HilumError
from hilum.engines import Request, Sampling
from hilum.engines.local.vlm import VlmEngine
from hilum.models.load import COMPRESSED, load_model, quantised
from hilum.models.memory import estimate
from hilum.models.processing import open_processor
from hilum.reading.reader import CARD, Card
from hilum.training import parity
from hilum.training.compress import COMPRESSOR, METHODS, quantize, write_samples
from hilum.training.compressor import SMOOTHED_AS, group
from hilum.training.parity import card_of
from hilum.training.parts import kept_whole, part_of
from tests.training.conftest import FAMILIES, study, write_dataset

Twin = Callable[[str], Path]
OTHER_PARTS = {"vision", "projector"}


@pytest.fixture(scope="module")
def packed(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Gemma 3's twin and a copy of rounded weights, in the format that llm-compressor writes."""
    compressors = pytest.importorskip("compressed_tensors.compressors")
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    source = twin("gemma3")
    out = tmp_path_factory.mktemp("packed") / "out"
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="channel")
    config = QuantizationConfig(
        config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=weights)},
        ignore=[f"re:.*{name}.*" for name in kept_whole(source, OTHER_PARTS)],
        quantization_status="frozen",
    )
    model = load_model(source, torch.float32)
    apply_quantization_config(model, config, show_progress=False)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax(1, keepdim=True) / 7
    compressor = compressors.ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(out)
    open_processor(source).save_pretrained(out)
    return source, out


def test_four_bits_are_unpacked_and_nothing_else_is_changed(packed: tuple[Path, Path]) -> None:
    assert quantised(packed[1]) == COMPRESSED
    before, after = (dict(load_model(p, torch.float32).named_parameters()) for p in packed)
    rounded = set()
    for name, weight in before.items():
        if torch.equal(weight, after[name]):
            continue
        steps = weight.abs().amax(1, keepdim=True) / 7
        assert ((weight - after[name]).abs() <= steps * 0.51).all()
        rounded.add(name)
    assert {name.split(".")[1] for name in rounded} == {"language_model"}
    assert len(rounded) == 14  # seven layers in each of two


def test_it_is_read_as_any_other(packed: tuple[Path, Path]) -> None:
    engine = VlmEngine(packed[1], "bfloat16")
    assert engine.versions["precision"].startswith("compressed-tensors weights, bfloat16")
    film = np.zeros((64, 64), np.uint8)
    alone, *_ = engine.generate([Request((film,), "Describe.")], Sampling(4))
    both = engine.generate([Request((film,), "Describe.")] * 2, Sampling(4))
    assert [d.text for d in both] == [alone.text] * 2


def test_memory_is_counted_as_it_will_be_unpacked(packed: tuple[Path, Path]) -> None:
    before, after = (estimate(p, "bfloat16").weights for p in packed)
    assert after == pytest.approx(before, rel=0.02)  # the scales come on top


def test_without_the_package_it_is_named(
    packed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(HilumError) as caught:
        load_model(packed[1])
    assert caught.value.code is Code.EXTRA_MISSING
    assert "hilum[bits]" in caught.value.line()


def test_it_is_calibrated_on_what_it_will_be_asked(
    twin: Twin, dataset: Path, tmp_path: Path
) -> None:
    folder = twin("gemma3")
    write_samples(folder, dataset, tmp_path / "samples", 5)
    files = sorted((tmp_path / "samples").iterdir())
    assert [f.name for f in files] == [f"0000{i}.safetensors" for i in range(5)]
    tokenizer = open_processor(folder).tokenizer
    prompts = card_of(folder).prompts.values()
    for tensors in map(load_file, files):
        text = tokenizer.decode(tensors["input_ids"][0])
        assert any(prompt in text for prompt in prompts)
        assert any(word in text.lower() for word in ("fracture", "骨折"))  # the report
        assert "labels" not in tensors
    assert any("pixel_values" in load_file(f) for f in files)


def test_a_readers_own_words_come_before_plain_ones(
    twin: Twin, dataset: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(twin("gemma3"), tmp_path / "reader"))
    card = Card(name="r", architecture="gemma3", licence="none", prompts={"en": "Say bones."})
    (folder / CARD).write_text(card.model_dump_json())
    write_samples(folder, dataset, tmp_path / "samples", 1)
    (file,) = (tmp_path / "samples").iterdir()
    assert "Say bones." in open_processor(folder).tokenizer.decode(load_file(file)["input_ids"][0])


def fake(folder: Path, words: str) -> Path:
    """An environment whose python is this shell script."""
    bin_ = folder / "env" / "bin"
    bin_.mkdir(parents=True)
    for name in ("python", COMPRESSOR.tool):
        (bin_ / name).write_text(f"#!/bin/sh\n{words}\n")
        (bin_ / name).chmod(0o755)
    return folder / "env"


def refused(*given: Any) -> HilumError:
    with pytest.raises(HilumError) as caught:
        quantize(*given)
    return caught.value


def test_what_cannot_be_done_is_said_before_any_work(
    twin: Twin, dataset: Path, packed: tuple[Path, Path], tmp_path: Path
) -> None:
    model, out, env = twin("gemma3"), tmp_path / "out", tmp_path / "env"
    assert refused(model, "w8a8", out, env, dataset).code is Code.OPTION_INVALID
    assert refused(model, "gptq", tmp_path, env, dataset).code is Code.OUTPUT_EXISTS
    again = refused(packed[1], "gptq", out, env, dataset)
    assert again.code is Code.OPTION_INVALID
    assert "already" in again.line()
    missing = refused(model, "awq", out, env, dataset)
    assert missing.code is Code.EXTRA_MISSING
    assert "llmcompressor==" in missing.line()
    none = tmp_path / "none"
    assert refused(model, "awq", out, fake(tmp_path, "exit 0"), none).code is Code.FILE_NOT_FOUND
    assert not out.exists()


def test_a_dataset_without_a_finding_teaches_nothing(twin: Twin, tmp_path: Path) -> None:
    rows = [study(0, "train") | {"findings": []}]
    with pytest.raises(HilumError) as caught:
        write_samples(twin("gemma3"), write_dataset(tmp_path / "d", rows), tmp_path / "s", 2)
    assert caught.value.code is Code.NOTHING_TO_LEARN


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("echo one >&2; echo 'RuntimeError: no room' >&2; exit 1", "RuntimeError: no room"),
        ("exit 0", "no weights were written"),
    ],
)
def test_a_compressor_that_fails_is_quoted_and_leaves_nothing(
    twin: Twin, dataset: Path, tmp_path: Path, words: str, told: str
) -> None:
    env = fake(tmp_path, words)
    error = refused(twin("gemma3"), "gptq", tmp_path / "out", env, dataset, 1)
    assert error.code is Code.EXPORT_FAILED
    assert told in error.line()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["env"]


def test_it_is_run_beside_this_package_and_no_other(
    twin: Twin, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the environment's place may be relative
    seen = tmp_path / "seen"
    fake(tmp_path, f'ls "$PYTHONPATH" > {seen}; echo "$@" >> {seen}; cat "$3/job.json" >> {seen}')
    refused(twin("gemma3"), "awq", Path("out"), Path("env"), dataset, 1)
    modules, words, job = seen.read_text().splitlines()
    assert modules == "hilum"
    assert words.startswith("-m hilum.training.compressor ")
    assert '"method": "awq"' in job


def test_the_command_line_wants_a_dataset(
    twin: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["quantize", str(twin("gemma3")), str(tmp_path / "out"), "--to", "gptq"])
    assert "--data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("widths", "size"),
    [((128, 384), 128), ((128, 192), 64), ((96, 64), 32), ((48, 128), None), ((), 128)],
)
def test_as_many_weights_share_a_scale_as_every_width_allows(
    widths: tuple[int, ...], size: int | None
) -> None:
    layers = torch.nn.ModuleList(torch.nn.Linear(w, 8) for w in widths)
    model = torch.nn.ModuleDict({"language": layers, "lm_head": torch.nn.Linear(7, 7)})
    assert group(model, ["lm_head"]) == size


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_by_the_real_tool(
    twin: Twin, dataset: Path, tmp_path: Path, family: str, method: str
) -> None:
    named = os.environ.get("HILUM_COMPRESSOR_ENV")
    if not named:
        pytest.skip("HILUM_COMPRESSOR_ENV names no environment with llm-compressor")
    source, out = twin(family), tmp_path / "out"
    text = load_model(source).config.get_text_config().model_type
    if method == "awq" and text not in SMOOTHED_AS:
        error = refused(source, method, out, Path(named), dataset, 8)
        assert f"awq knows no layers of {text}" in error.line()
        return
    with pytest.MonkeyPatch.context() as patch:  # random weights of few columns round badly
        patch.setattr(parity, "require_parity", lambda *_: None)
        done = quantize(source, method, out, Path(named), dataset, 8)
    assert done.bytes_after < done.bytes_before
    assert quantised(out) == COMPRESSED
    before, after = (dict(load_model(p, torch.float32).named_parameters()) for p in (source, out))
    for name in before:  # what is kept is kept; AWQ scales a norm and divides the next layer by it
        if part_of(name) != "language":
            torch.testing.assert_close(before[name], after[name], atol=0, rtol=0)
