"""The encoder's training: it goes on where it was, to the same weights."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import hilum
from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import encoder_stage
from hilum.training.embedded.batches import whole
from hilum.training.embedded.encoder_stage import check, rate, settle_norms, train_encoder
from hilum.training.embedded.optimizer import Optimizer
from hilum.training.embedded.shards import Shards

SIZE = 64
PATIENCE = 90  # seconds


class StopHereError(Exception):
    """An interruption."""


def train(
    folder: Path, films: Path, steps: int = 4, seed: int = 3, stop: int | None = None
) -> FilmEncoder:
    def progress(step: int) -> None:
        if step == stop:
            raise StopHereError

    folder.mkdir(exist_ok=True)
    return train_encoder(folder, films, steps, seed, SIZE, 1, lambda _: None, progress)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# -- the rate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 299, 300, 4200])
def test_rate(steps: int) -> None:
    rates = [rate(k, steps, 2.0) for k in range(steps)]
    warm = min(300, steps)
    assert all(0 < r <= 2.0 for r in rates)
    assert rates[0] == pytest.approx(2.0 / warm * (0.505 + 0.495 * math.cos(0)))
    assert all(later < sooner for sooner, later in pairwise(rates[warm:]))
    if steps > 1000:
        assert max(rates) > 1.9
        assert all(sooner < later for sooner, later in pairwise(rates[:250]))
        assert rates[-1] == pytest.approx(0.02, rel=0.01)
    assert rate(steps, steps, 2.0) == pytest.approx(0.02)


# -- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [2, 3])
def test_interrupted_and_gone_on_equals_one_go(
    stop: int, tiny: None, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at the checkpoint's step, or one later: that step is done again."""
    monkeypatch.setattr(encoder_stage, "SAVE_EVERY", 1 if stop == 3 else 2)
    once = train(tmp_path / "once", films)
    with pytest.raises(StopHereError):
        train(tmp_path / "twice", films, stop=stop)
    twice = train(tmp_path / "twice", films)
    assert same(once, twice)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "encoder.jsonl").read_text().splitlines()]
        for name in ("once", "twice")
    ]
    assert [r["step"] for r in logs[0]] == [r["step"] for r in logs[1]] == [1, 2, 3, 4]


def test_two_and_two_steps_equal_four(
    tiny: None, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two interruptions, one before anything was saved."""
    monkeypatch.setattr(encoder_stage, "SAVE_EVERY", 2)
    for stop in (1, 3):
        with pytest.raises(StopHereError):
            train(tmp_path / "twice", films, stop=stop)
        assert (tmp_path / "twice" / "encoder.safetensors").exists() == (stop == 3)
    assert same(train(tmp_path / "twice", films), train(tmp_path / "once", films))


def test_a_finished_run_is_not_trained_on(tiny: None, films: Path, tmp_path: Path) -> None:
    first = train(tmp_path, films, steps=2)
    saved = (tmp_path / "encoder.safetensors").read_bytes()
    again = train(tmp_path, films, steps=2, stop=1)  # would raise at a step
    assert same(first, again)
    assert not again.training
    assert (tmp_path / "encoder.safetensors").read_bytes() == saved


def test_the_seed_is_what_decides(tiny: None, films: Path, tmp_path: Path) -> None:
    first = train(tmp_path / "a", films, steps=1)
    assert same(first, train(tmp_path / "b", films, steps=1))
    assert not same(first, train(tmp_path / "c", films, steps=1, seed=4))


def test_training_learns(tiny: None, films: Path, tmp_path: Path) -> None:
    train(tmp_path, films, steps=30)
    rows = [json.loads(line) for line in (tmp_path / "encoder.jsonl").read_text().splitlines()]
    assert rows[-1]["ribs"] < rows[0]["ribs"]
    assert all(math.isfinite(v) for row in rows for v in row.values())


def test_the_log_says_what_is_known_by_heart(
    tiny: None, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def check(_: object, shards: Shards, films: int) -> dict[str, float]:
        asked.append(len(shards))
        return {"auc_fracture": float(len(asked))}

    monkeypatch.setattr(encoder_stage, "check", check)
    monkeypatch.setattr(encoder_stage, "CHECK_EVERY", 2)
    train(tmp_path, films, steps=2)
    last = json.loads((tmp_path / "encoder.jsonl").read_text().splitlines()[-1])
    assert asked == [len(Shards(films, mix)) for mix in ("held_out", "single")]
    assert (last["auc_fracture"], last["learnt_auc_fracture"]) == (1, 2)


CHILD = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import pytest, conftest
from hilum.training.embedded import encoder_stage
torch.set_num_threads(1)
with pytest.MonkeyPatch.context() as patch:
    conftest.shrink(patch)
    conftest.make_tiny(patch)
    patch.setattr(encoder_stage, "SAVE_EVERY", 1)
    folder, films = map(Path, sys.argv[1:3])
    progress = lambda k: print(k, flush=True)
    encoder_stage.train_encoder(folder, films, 200, 3, 64, 1, print, progress)
"""


def test_killed_and_gone_on(
    tiny: None, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle; what it left is whole, and another process finishes."""
    killed = tmp_path / "killed"
    killed.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(killed), str(films), str(Path(__file__).parent)],
        env=os.environ | {"PYTHONPATH": str(Path(hilum.__file__).parents[1])},
        stdout=subprocess.DEVNULL,
    ) as child:
        _wait_for(lambda: (killed / "encoder.safetensors").exists() or child.poll() is not None)
        time.sleep(0.3)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    steps = encoder_stage.checkpoint.resume(
        killed / "encoder.safetensors", *_untrained(tmp_path, films)
    )
    assert 0 < steps < 200
    monkeypatch.setattr(encoder_stage, "rate", lambda step, _, top: rate(step, 200, top))
    end = steps + 2
    assert same(train(killed, films, steps=end), train(tmp_path / "once", films, steps=end))


def _untrained(folder: Path, films: Path) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = train(folder / "untrained", films, steps=0)
    return model, Optimizer(model)


def _wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- norms and checks -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 16, 320])
def test_norms_are_settled_on_films_that_are_not_crowded(
    count: int, tiny: None, films: Path, tmp_path: Path
) -> None:
    """Also where there are fewer films than asked for, or no whole batch of them."""
    model, single = train(tmp_path, films, steps=1), Shards(films, "single")
    settle_norms(model, single, count)
    first = model.stride4[1].norm1
    assert isinstance(first, torch.nn.BatchNorm2d)
    assert first.momentum == 0.1
    batch = np.stack([whole(single[k][0], 64)[0] for k in range(len(single))])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        seen = model.stride2(normalise(torch.from_numpy(batch)[:, None]))
        seen = model.stride4[1].conv1(model.stride4[0](seen))
    if count != 5:
        torch.testing.assert_close(
            first.running_mean, seen.float().mean((0, 2, 3)), rtol=0.02, atol=0.02
        )


def test_a_check_on_few_films(tiny: None, films: Path, tmp_path: Path) -> None:
    model, held_out = train(tmp_path, films, steps=1), Shards(films, "held_out")
    for count in (200, 21, 1):  # more than there are, a rest of one, a single film
        figures = check(model, held_out, count)
        assert set(figures) >= {f"auc_{name}" for name in CLASSES} | {"near_15mm"}
        assert all(math.isnan(v) or 0 <= v <= 1 for v in figures.values())
        assert model.training
