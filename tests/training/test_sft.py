"""Runs of a few steps: what is learnt, what is kept, and what stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.codes import Code, HilumError
from hilum.training import checkpoint
from hilum.training.recipe import Recipe, save
from hilum.training.sft import Ears, read_run, train
from tests.training.conftest import FAMILIES, MakeRecipe, study, write_dataset


def losses(run: Path) -> dict[int, float]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {e["step"]: e["loss"] for e in entries if "loss" in e}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_all_three_parts(family: str, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(family)
    done = train(recipe)
    assert done.steps == 6
    assert [checkpoint.step_of(c) for c in checkpoint.checkpoints(recipe.folder)] == [3, 6]
    assert all(0 < loss < 50 for loss in losses(recipe.folder).values())


KILL = """
import os, signal, sys
from pathlib import Path
from hilum.training import checkpoint, trainer
from hilum.training.recipe import load
from hilum.training.sft import train

where, step = sys.argv[2], int(sys.argv[3])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "step":
    plain = trainer.Tuner.training_step
    def training_step(self, *given, **named):
        if self.state.global_step == step:
            die()
        return plain(self, *given, **named)
    trainer.Tuner.training_step = training_step
elif where == "save":  # all is written but the seal
    plain = checkpoint.seal
    checkpoint.seal = lambda folder: die() if folder.name == f"checkpoint-{step}" else plain(folder)
train(load(Path(sys.argv[1])))
"""


def run_killed(recipe: Recipe, where: str, step: int) -> int:
    path = recipe.folder.parent / f"{recipe.folder.name}.yaml"
    save(recipe, path)
    source = str(Path(__file__).parents[2] / "src")
    env = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", KILL, str(path), where, str(step)]
    return subprocess.run(command, env=env, check=False, capture_output=True).returncode


@pytest.mark.slow
@pytest.mark.parametrize(("where", "step"), [("step", 0), ("step", 4), ("save", 4)])
def test_a_killed_run_goes_on_with_the_same_losses(
    where: str, step: int, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"evaluation__every": 2, "lora__dropout": 0.2}
    recipe = make_recipe(output=str(tmp_path / "killed"), **settings)
    whole = make_recipe(output=str(tmp_path / "whole"), **settings)
    assert run_killed(recipe, where, step) == -signal.SIGKILL
    kept = checkpoint.checkpoints(recipe.folder)
    assert [checkpoint.step_of(c) for c in kept] == {0: [], 4: [2, 4]}[step][
        : 2 - (where == "save")
    ]
    train(recipe)
    train(whole)
    mine, theirs = losses(recipe.folder), losses(whole.folder)
    assert mine.keys() == theirs.keys() == set(range(1, 7))
    assert max(abs(mine[k] - theirs[k]) for k in mine) < 1e-6


def stop_at(step: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training step after ``step`` whole ones fail."""
    from hilum.training.trainer import Tuner

    plain = Tuner.training_step

    def training_step(self: Any, *given: Any, **named: Any) -> Any:
        if self.state.global_step == step:
            raise error
        return plain(self, *given, **named)

    monkeypatch.setattr(Tuner, "training_step", training_step)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), Code.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), Code.OUT_OF_MEMORY),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            Code.OUT_OF_MEMORY,
        ),
    ],
)
def test_memory_running_out_is_one_line_and_the_run_goes_on_smaller(
    error: BaseException, code: Code, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    with monkeypatch.context() as patch:
        stop_at(4, error, patch)
        with pytest.raises(HilumError) as failed:
            train(recipe)
    assert failed.value.code is code
    assert "goes on from step 3" in str(failed.value)
    assert "micro_batch=1" in str(failed.value)
    assert "\n" not in str(failed.value)
    whole = make_recipe(output=f"{recipe.folder}-whole")
    smaller = make_recipe(schedule__micro_batch=1)
    assert train(smaller).steps == 6
    train(whole)
    mine, theirs = losses(recipe.folder), losses(whole.folder)
    assert max(abs(mine[k] - theirs[k]) for k in theirs) < 1e-4  # the same samples a step


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hilum.training.loss as module

    recipe = make_recipe()
    plain, calls = module.answer_loss, []

    def spoilt(hidden: Any, labels: Any, head: Any) -> Any:
        calls.append(1)
        return plain(hidden * (float("nan") if len(calls) == 9 else 1), labels, head)

    with monkeypatch.context() as patch:
        patch.setattr(module, "answer_loss", spoilt)
        with pytest.raises(HilumError) as failed:
            train(recipe)
    assert failed.value.code is Code.TRAINING_DIVERGED
    assert "step 5" in str(failed.value)
    assert "goes on from step 3" in str(failed.value)
    lower = make_recipe(schedule__lr=0.001)
    assert train(lower).steps == 6
    rates = [json.loads(line) for line in (recipe.folder / "log.jsonl").read_text().splitlines()]
    assert max(e["learning_rate"] for e in rates if e["step"] > 3) <= 0.001


def test_a_full_disk_keeps_the_checkpoint_before(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    plain = checkpoint.save_trained

    def full(model: Any, folder: Path, state: Any = None) -> None:
        plain(model, folder, state)
        if folder.name == "checkpoint-6":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_trained", full)
        with pytest.raises(HilumError) as failed:
            train(recipe)
    assert failed.value.code is Code.OUTPUT_UNWRITABLE
    assert "goes on from step 3" in str(failed.value)
    assert not (recipe.folder / "checkpoint-6").exists()
    assert train(recipe).steps == 6


def test_no_room_for_a_checkpoint_is_said_before_it_is_begun(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    monkeypatch.setattr(checkpoint, "needed_bytes", lambda _: 10**18)
    with pytest.raises(HilumError) as failed:
        train(recipe)
    assert failed.value.code is Code.OUTPUT_UNWRITABLE
    assert "begins anew" in str(failed.value)


def test_a_film_damaged_beforehand_is_left_out_by_name(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [study(n, "train") for n in range(8)]
    rows[2]["images"][0]["bytes"] = rows[2]["images"][0]["bytes"][:300]
    data = write_dataset(tmp_path / "damaged", rows)
    recipe = make_recipe(data__path=str(data))
    heard: list[str] = []
    train(recipe, Ears(heard.append))
    entries = [
        json.loads(line) for line in (recipe.folder / "left_out.jsonl").read_text().splitlines()
    ]
    assert [(e["study"], e["code"]) for e in entries] == [("study-2", "file_damaged")]
    assert any("left out 1" in line for line in heard)


def test_a_film_damaged_later_is_muted_and_the_order_stays(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hilum.training.collate as module

    recipe = make_recipe(schedule__steps=8)
    plain, broken = module.open_image, []

    def worn(content: bytes) -> Any:
        if not broken:
            broken.append(content)
        if content == broken[0]:
            raise HilumError(Code.FILE_DAMAGED, "", "OSError")
        return plain(content)

    monkeypatch.setattr(module, "open_image", worn)
    heard: list[str] = []
    assert train(recipe, Ears(heard.append)).steps == 8
    assert any("damaged and not learnt from: study-" in line for line in heard)


def test_another_recipe_or_other_data_are_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    train(make_recipe(schedule__steps=3))
    with pytest.raises(HilumError, match=r"lora\.rank is another.*recipe_changed"):
        train(make_recipe(lora__rank=8))
    rows = [study(n, "train") for n in range(9)]
    run = make_recipe().folder
    (run / "recipe.yaml").write_text(
        (run / "recipe.yaml")
        .read_text()
        .replace(make_recipe().data.path, str(write_dataset(tmp_path / "other", rows)))
    )
    with pytest.raises(HilumError, match="recipe_changed"):
        train(make_recipe(data__path=str(tmp_path / "other")))


def test_a_longer_run_goes_on_from_a_finished_one(make_recipe: MakeRecipe) -> None:
    train(make_recipe(schedule__steps=3))
    assert train(make_recipe(schedule__steps=5)).steps == 5
    assert losses(make_recipe().folder).keys() == set(range(1, 6))


def test_a_part_without_gradient_fails_the_run_by_name(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = [study(n, "train", films=0) for n in range(8)]
    data = write_dataset(tmp_path / "text", rows)
    with pytest.raises(HilumError, match=r"parts\.vision.*no gradient.*part_dead"):
        train(make_recipe(data__path=str(data), parts__projector={"train": "frozen"}))


def test_validation_keeps_the_best_and_stands_beside_all_normal(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(
        schedule__steps=8,
        evaluation={
            "every": 2,
            "rows": 4,
            "reports": 2,
            "max_new_tokens": 8,
            "best": "fracture_auc",
        },
    )
    done = train(recipe)
    noted = read_run(recipe.folder)
    assert noted["finished"]
    assert noted["best"] == done.best
    numbers = noted["numbers"]
    assert 0 <= numbers["eval_fracture_auc_low"] <= numbers["eval_fracture_auc"] <= 1
    assert numbers["eval_all_normal_finding_f1"] == 0
    assert 0 < numbers["eval_all_normal_agreement"] < 1
    assert len(checkpoint.checkpoints(recipe.folder)) == 2


def test_no_better_metric_ends_the_run_early(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(
        schedule__steps=40,
        schedule__lr=1e-12,
        schedule__warmup=0.5,
        evaluation={"every": 2, "rows": 4, "reports": 0, "patience": 2, "best": "fracture_auc"},
    )
    assert train(recipe).steps < 40


@pytest.mark.parametrize(
    ("best", "reports", "instead"),
    [
        ("f1", 0, "loss, fracture_auc"),
        ("agreement", 0, "fracture_auc"),
        ("edema_auc", 2, "agreeme"),
    ],
)
def test_a_best_metric_that_will_not_be_there_is_refused_before_the_first_step(
    best: str, reports: int, instead: str, make_recipe: MakeRecipe
) -> None:
    watch = {"every": 2, "rows": 4, "reports": reports, "best": best}
    recipe = make_recipe(evaluation=watch)
    with pytest.raises(HilumError, match=rf"evaluation\.best: {best}.*{instead}"):
        train(recipe)
    assert not (recipe.folder / "log.jsonl").exists()


def test_the_best_checkpoint_is_that_of_the_metric_that_was_named(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics of one's own: the second evaluation is the best of three, the last one the worst."""
    heard: list[str] = []
    scores = [0.0, 0.2, 0.9, 0.1]  # the first is the look at what will be there
    watch = {"every": 2, "rows": 4, "reports": 2, "max_new_tokens": 4, "best": "mine"}
    recipe = make_recipe(evaluation=watch)
    done = train(recipe, Ears(heard.append), lambda said, known: {"mine": scores.pop(0)})
    assert done.best == "checkpoint-4"
    assert done.numbers["eval_mine"] == 0.9
    assert sum("mine 0.9" in line for line in heard) == 1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(recipe.folder / "tensorboard")).Reload()
    assert [e.step for e in board.Scalars("eval_mine")] == [2, 4, 6]
    assert [e.value for e in board.Scalars("eval_mine")] == pytest.approx([0.2, 0.9, 0.1])


def test_what_is_written_in_batches_is_what_is_written_alone(make_recipe: MakeRecipe) -> None:
    said: list[list[tuple[str, str | None, list[float | None]]]] = []

    def keep(predictions: Any, references: Any) -> dict[str, float]:
        assert [p.study_id for p in predictions] == [r.study_id for r in references]
        told = [(p.study_id, p.text, [f.probability for f in p.findings]) for p in predictions]
        said.append(told)
        return {}

    watch = {"every": 6, "rows": 4, "reports": 4, "max_new_tokens": 12}
    for size in (1, 4):
        out = make_recipe().folder.parent / f"of-{size}"
        train(
            make_recipe(evaluation=watch, schedule__micro_batch=size, output=str(out)), metrics=keep
        )
    _, alone, _, together = said
    assert [one[:2] for one in alone] == [one[:2] for one in together]
    assert any(one[1] for one in alone)
    for a, b in zip(alone, together, strict=True):
        assert a[2] == pytest.approx(b[2], abs=1e-3)


def test_two_runs_in_one_folder_are_one_too_many(make_recipe: MakeRecipe) -> None:
    from hilum.data.build import locked

    recipe = make_recipe()
    recipe.folder.mkdir()
    with locked(recipe.folder), pytest.raises(HilumError, match="output_busy"):
        train(recipe)


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.slow
def test_two_processes_learn_what_one_does(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Samples differ in length and half have no film: whole micro-batches leave the tower out."""
    rows = [study(n, "train", films=n % 3 % 2 * (1 + n % 2)) for n in range(16)]
    data = str(
        write_dataset(tmp_path / "data", [*rows, study(20, "validation"), study(21, "validation")])
    )
    watch = {"every": 3, "rows": 4, "reports": 2, "max_new_tokens": 4}
    given = {"evaluation": watch, "schedule__micro_batch": 1, "data__path": data}
    one = make_recipe(output=str(tmp_path / "one"), **given)
    two = make_recipe(output=str(tmp_path / "two"), **given)
    train(one)
    path = tmp_path / "two.yaml"
    save(two, path)
    source = str(Path(__file__).parents[2] / "src")
    env = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node=2",
               "--master-addr=127.0.0.1", f"--master-port={free_port()}",
               "-m", "hilum.cli.main", "train", str(path)]  # fmt: skip
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    mine, theirs = losses(one.folder), losses(two.folder)
    assert max(abs(mine[k] - theirs[k]) for k in range(1, 7)) < 1e-4
    a, b = (read_run(r.folder)["numbers"] for r in (one, two))
    assert abs(a["eval_loss"] - b["eval_loss"]) < 1e-4
    assert abs(a["eval_fracture_auc"] - b["eval_fracture_auc"]) < 1e-4
    from safetensors.torch import load_file

    first, second = (load_file(r.folder / "checkpoint-6" / checkpoint.TRAINED) for r in (one, two))
    assert first.keys() == second.keys()
    # a bias that is added to every key changes no attention: its gradient is rounding alone, and
    # Adam makes a step of it
    apart = {n: float((first[n] - second[n]).abs().max()) for n in first if "k_proj.bias" not in n}
    assert max(apart.values()) < 1e-4, max(apart, key=lambda n: apart[n])
