"""Checkpoints: everything that training needs to go on, in one piece or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from hilum.training.embedded import checkpoint
from hilum.training.embedded.optimizer import Optimizer


class Tied(nn.Module):
    """Two names for one weight, a kernel, a buffer, a part that is never trained."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, width), nn.BatchNorm1d(width)
        self.last = nn.Linear(width, 4, bias=False)
        self.again = nn.Linear(width, 4, bias=False)
        self.again.weight = self.last.weight
        self.idle = nn.Embedding(3, 2)
        self.kernel = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.kernel(x.view(-1, 2, 2, 1)).view(-1, 4)
        x = self.norm(self.first(x).relu())
        return self.last(x) + self.again(x)


def make(seed: int = 0, width: int = 6) -> tuple[Tied, Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tied(width)
    return model, Optimizer(model)


def step(model: Tied, optimizer: Optimizer, k: int) -> None:
    data = torch.randn(8, 4, generator=torch.Generator().manual_seed(k))
    for group in optimizer.param_groups:
        group["lr"] = 0.01 / (k + 1)
    optimizer.zero_grad()
    model(data).square().mean().backward()
    optimizer.step()


def states(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_going_on_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model, optimizer = make()
    for k in range(3):
        step(model, optimizer, k)
    checkpoint.save(path, model, optimizer, 3)
    again, its_optimizer = make(seed=9)
    assert checkpoint.resume(path, again, its_optimizer) == 3
    for k in (3, 4):
        step(model, optimizer, k)
        step(again, its_optimizer, k)
    expected = states(model)
    assert all(torch.equal(expected[name], value) for name, value in states(again).items())
    assert again.again.weight is again.last.weight


def test_without_a_checkpoint_nothing_is_touched(tmp_path: Path) -> None:
    model, optimizer = make()
    before = states(model)
    assert checkpoint.resume(tmp_path / "x.safetensors", model, optimizer) == 0
    assert all(torch.equal(before[name], value) for name, value in states(model).items())
    assert not optimizer.state


def test_a_save_that_fails_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    model, optimizer = make()
    checkpoint.save(path, model, optimizer, 7)
    before = path.read_bytes()

    def full(tensors: object, part: Path, **_: object) -> None:
        part.write_bytes(b"half of it")
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OSError, match="no space"):
            checkpoint.save(path, model, optimizer, 8)
    assert path.read_bytes() == before
    assert checkpoint.resume(path, *make()) == 7  # whatever else lies there
    checkpoint.save(path, model, optimizer, 9)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.999])
def test_a_damaged_checkpoint_is_an_error_and_no_fresh_start(share: float, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    model, optimizer = make()
    checkpoint.save(path, model, optimizer, 7)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(Exception, match=r"header|Error"):
        checkpoint.resume(path, *make())


def test_a_checkpoint_of_another_shape_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, *make(), 7)
    with pytest.raises(RuntimeError, match="size mismatch"):
        checkpoint.resume(path, *make(width=5))


def test_the_log_forgets_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    path, said = tmp_path / "log.jsonl", []
    log = checkpoint.Log(path, 0, said.append)
    for k in (1, 2, 3):
        log.write({"step": k, "heat": 1 / 3})
    assert len(said) == 3
    checkpoint.Log(path, 2, said.append).write({"step": 3, "heat": 0.5})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3]
    assert [r["heat"] for r in rows] == [0.3333, 0.3333, 0.5]
