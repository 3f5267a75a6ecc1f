"""Processes that train together: the same weights as one, and none is left behind."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hilum
from hilum.training.embedded.team import Team, together

CHILD = """
import os, sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
import pytest, conftest
from hilum.training.embedded import encoder_stage, team

torch.set_num_threads(1)
patch = pytest.MonkeyPatch()  # for good: a member begins by running this file
conftest.shrink(patch)
conftest.make_tiny(patch)
real = encoder_stage.encoder_losses

def losses(*given):
    if {fails!r} == os.environ.get("MEMBER", "first"):
        raise ValueError("this member has failed")
    return real(*given)

patch.setattr(encoder_stage, "encoder_losses", losses)
member = team._member

def named(*given):
    os.environ["MEMBER"] = "other"
    member(*given)

if __name__ == "__main__":
    team._member = named  # by its name: a member finds it in its own copy of this file
    out, films, steps, processes = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
    torch.set_num_threads(threads := 1 if processes == 1 else 3)
    encoder_stage.train_encoder(out, films, steps, 3, 64, processes, print, lambda k: None)
    assert torch.get_num_threads() == threads  # as it was
    print("done")
"""


def run(
    folder: Path, films: Path, processes: int, fails: str = ""
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    script = folder / "train.py"
    script.write_text(CHILD.format(tests=str(Path(__file__).parent), fails=fails))
    return subprocess.run(
        [sys.executable, script, folder, films, "1", str(processes)],
        env=os.environ | {"PYTHONPATH": str(Path(hilum.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_steps_batches_are_the_same_however_many_share_them(size: int) -> None:
    each = [Team(rank, size).numbers(5, 4) for rank in range(size)]
    shares = [len(range(rank, 4, size)) for rank in range(size)]
    for step in (5, 6, 7):
        drawn = [list(itertools.islice(n, k)) for n, k in zip(each, shares, strict=True)]
        assert sorted(itertools.chain(*drawn)) == list(range(4 * step, 4 * step + 4))


def test_one_alone_shares_with_nobody() -> None:
    model = torch.nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    with together(1, lambda team: None) as team:
        before = model.weight.grad.clone()
        team.share(model)
    assert torch.equal(model.weight.grad, before)
    assert not torch.distributed.is_initialized()


def test_two_train_what_one_trains(films: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        done = run(tmp_path / str(processes), films, processes)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.endswith("done\n")
    one, two = (load_file(tmp_path / str(n) / "encoder.safetensors") for n in (1, 2))
    assert one.keys() == two.keys()
    learnt = [name for name in one if name.endswith(".exp_avg")]  # a tenth of the first gradient
    for name in learnt:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-7)
    steps = [json.loads(line)["step"] for line in (tmp_path / "2/encoder.jsonl").open()]
    assert steps == [1]  # written by the first alone


@pytest.mark.parametrize("fails", ["first", "other"])
def test_a_member_that_fails_ends_all(fails: str, films: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = run(tmp_path, films, 2, fails)
    assert done.returncode == 1
    assert "this member has failed" in done.stderr
    assert time.monotonic() - begun < 100


UNEVEN = """
import torch
from hilum.training.embedded.team import Team, together

def step(team):
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Linear(2, 1) for _ in range(3)])
    x = torch.full((1, 2), 1.0 + team.rank)
    loss = model[0](x).sum()
    if team.rank == 1:  # what the first had nothing to learn of
        loss = loss + model[1](x).sum()
    loss.backward()
    team.share(model)
    return [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]

if __name__ == "__main__":
    with together(2, step) as team:
        print(step(team))
"""


def test_what_only_one_has_learnt_of_is_shared(tmp_path: Path) -> None:
    script = tmp_path / "uneven with a space.py"
    script.write_text(UNEVEN)
    (tmp_path / "a #place").mkdir()
    paths = {
        "PYTHONPATH": str(Path(hilum.__file__).parents[1]),
        "TMPDIR": str(tmp_path / "a #place"),
    }
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # the third has no gradient anywhere, so that no weight decays that nothing has learnt of
    assert json.loads(done.stdout.replace("None", "null")) == [
        [3.0, 3.0],
        [2.0],
        [2.0, 2.0],
        [1.0],
        None,
        None,
    ]


def test_alone_a_member_has_the_threads_of_those_that_wait() -> None:
    torch.set_num_threads(1)
    with Team(0, 3).alone():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1
    with pytest.raises(ValueError, match="broke off"), Team(0, 2).alone():
        raise ValueError("broke off")
    assert torch.get_num_threads() == 1
