"""Eight and four bits a weight: what is quantised, what opens it, what is refused."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.codes import Code, HilumError
from hilum.engines import Question, Request, Sampling
from hilum.engines.local.vlm import VlmEngine
from hilum.models.load import load_model, quantised
from hilum.models.memory import estimate
from hilum.models.safety import header
from hilum.models.twins import make_twin
from hilum.reading.calibration import Calibration
from hilum.reading.reader import CARD, Card, Reader
from hilum.training import parity
from hilum.training.bits import METHODS, quantize
from hilum.training.parity import Parity, compare, require_parity

pytest.importorskip("bitsandbytes")
FAMILIES = ("gemma3", "llava-dinov2", "qwen2.5-vl")


@pytest.fixture(scope="module", params=[(f, m) for f in FAMILIES for m in METHODS])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, str]:
    """A twin, its quantised copy and the method.

    Random weights of 32 columns are another model in four bits, so the copy is compared with its
    own weights, below, and not refused for being other than its original.
    """
    family, method = request.param
    folder = tmp_path_factory.mktemp("bits")
    source = make_twin(family, folder / "twin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "require_parity", lambda *_: None)
        quantize(source, method, folder / "out")
    return source, folder / "out", method


def unpacked(source: Path, quantised: Path, out: Path) -> Path:
    """The source with the weights that the quantised copy's four bits stand for, in float32."""
    import bitsandbytes

    shutil.copytree(source, out)
    model = load_model(out, torch.float32)
    for name, module in load_model(quantised).named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = module.weight
            whole = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
            model.get_submodule(name).weight.data = whole.float()
    model.save_pretrained(out)
    return out


def test_four_bits_answer_as_what_they_stand_for(
    made: tuple[Path, Path, str], tmp_path: Path
) -> None:
    source, out, method = made
    if method != "nf4":
        pytest.skip("8 bits round what they multiply too")
    plain = VlmEngine(unpacked(source, out, tmp_path / "plain"), "float32")
    assert compare(plain, VlmEngine(out)).largest_probability_difference < 0.02


def test_the_language_part_alone_is_quantised(made: tuple[Path, Path, str]) -> None:
    _, out, method = made
    assert quantised(out) == method
    entries = header(out / "model.safetensors")
    small = {n for n, e in entries.items() if e["dtype"] in ("U8", "I8")}
    assert small
    assert not any("vision" in n or "visual" in n or "projector" in n for n in small)
    assert not any("lm_head" in n or "embed_tokens" in n for n in small)


def test_it_reads_streams_and_chooses_as_any_model(made: tuple[Path, Path, str]) -> None:
    _, out, method = made
    engine = VlmEngine(out)
    assert method in engine.versions["precision"]
    films = [np.random.default_rng(k).integers(0, 256, (80, 64), np.uint8) for k in range(3)]
    requests = [Request((film,), "Describe this film.") for film in films]
    drafts = engine.generate(requests, Sampling(8))
    assert "".join(engine.stream(requests[0], Sampling(8))) == drafts[0].text
    question = Question("Is there a fracture?", ("Yes", "No"), "first")
    table = engine.choose([(f,) for f in films], "", [question])
    assert all(np.isfinite(row).all() for row in table)


def test_it_takes_less_and_says_so_before_it_is_opened(made: tuple[Path, Path, str]) -> None:
    source, out, _ = made
    assert estimate(out, "bfloat16").weights < estimate(source, "bfloat16").weights
    assert estimate(out, "float32").weights < estimate(source, "float32").weights


def test_the_files_types_hold_whatever_is_asked_for(made: tuple[Path, Path, str]) -> None:
    _, out, _ = made
    assert load_model(out, torch.float32).get_output_embeddings().weight.dtype == torch.bfloat16
    request = Request((np.zeros((64, 64), np.uint8),), "Describe.")
    assert VlmEngine(out, "float32").generate([request], Sampling(4))[0].text is not None


def test_its_odds_are_others_so_its_calibration_is_left_out(tmp_path: Path) -> None:
    source = make_twin("gemma3", tmp_path / "twin")
    card = Card(
        name="site's own",
        architecture="gemma3",
        licence="none",
        prompts={"en": "Describe."},
        questions={"fracture": "Is there a fracture?"},  # type: ignore[dict-item]
        calibration=Calibration(thresholds={"fracture": 0.2}),  # type: ignore[dict-item]
    )
    (source / CARD).write_text(card.model_dump_json())
    quantize(source, "nf4", tmp_path / "out")
    kept = Reader.load(tmp_path / "out").card
    assert kept.questions == card.questions
    assert kept.calibration == Calibration()


def test_what_cannot_be_done_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_twin("gemma3", tmp_path / "twin")

    def refused(folder: Path, to: str, out: Path) -> Code:
        with pytest.raises(HilumError) as caught:
            quantize(folder, to, out)
        return caught.value.code

    out = tmp_path / "out"
    assert refused(source, "int3", out) is Code.OPTION_INVALID
    assert refused(source, "nf4", tmp_path) is Code.OUTPUT_EXISTS
    assert refused(tmp_path, "nf4", out) is Code.MODEL_INVALID
    twice = make_twin("gemma3", tmp_path / "twice")
    config = json.loads((twice / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (twice / "config.json").write_text(json.dumps(config))
    assert refused(twice, "nf4", out) is Code.OPTION_INVALID
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert refused(source, "nf4", out) is Code.EXTRA_MISSING
    with pytest.raises(HilumError, match=r"hilum\[bits\]"):
        load_model(twice)
    assert not out.exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_result_that_says_something_else_is_kept_and_refused(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_twin("gemma3", tmp_path / "twin")
    monkeypatch.setattr(parity, "compare", lambda *_: Parity(4, 0, 0.1, 0.9))
    with pytest.raises(HilumError) as caught:
        quantize(source, method, tmp_path / "out")
    assert caught.value.code is Code.PARITY_FAILED
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_twin("gemma3", tmp_path / "twin")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parity, "write_card", full)
    with pytest.raises(HilumError) as caught:
        quantize(source, "8bit", tmp_path / "out")
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["twin"]


def test_rounding_is_no_failure_and_neither_sign_alone_is(tmp_path: Path) -> None:
    require_parity(tmp_path, 4, Parity(4, 0, 0.1, 0.1))  # near ties, but the same odds
    require_parity(tmp_path, 8, Parity(4, 3, 0.9, 0.5))
    with pytest.raises(HilumError):
        require_parity(tmp_path, 8, Parity(4, 0, 0.4, 0.3))
