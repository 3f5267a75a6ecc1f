"""The optimiser: kernels move along every direction alike, all else as AdamW moves it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hilum.training.embedded.optimizer import LENGTH, Optimizer, orthogonal


class Small(nn.Module):
    """One of each: kernels of several shapes, a matrix, a norm, one part never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.grey = nn.Conv2d(1, 4, 3)
        self.kernel = nn.Conv2d(4, 6, 3)
        self.point = nn.Conv2d(6, 2, 1)
        self.norm, self.matrix = nn.BatchNorm2d(6), nn.Linear(2, 3)
        self.idle = nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.point(self.norm(self.kernel(self.grey(x).relu())).relu())
        return torch.as_tensor(self.matrix(x.mean((2, 3))))


def make(rate: float = 0.01) -> tuple[Small, Optimizer]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small()
    optimizer = Optimizer(model)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return model, optimizer


def learn(model: Small, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    x = torch.randn(16, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    y = x[:, 0, :3].mean((1, 2)).gt(0).long() + x[:, 0, 9:].mean((1, 2)).gt(0).long()
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (72, 8), (1, 9), (256, 300)])
def test_orthogonal_keeps_directions_and_evens_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    turned = orthogonal(matrix)
    assert turned.dtype == matrix.dtype
    assert turned.shape == shape
    values = torch.linalg.svdvals(turned)
    well = torch.linalg.svdvals(matrix) > 0.02 * torch.linalg.matrix_norm(matrix)
    assert (values[well] > 0.6).all()
    assert (values < 1.3).all()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ turned @ v.T
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 0.1
    assert (inside.diagonal() > 0).all()


def test_of_no_gradient_comes_no_step() -> None:
    assert not orthogonal(torch.zeros(4, 9)).any()


def test_a_kernel_moves_as_far_whatever_its_gradients_length() -> None:
    """And by the share of the rate that is promised."""
    for much in (1e-6, 1.0, 1e6):
        model, optimizer = make()
        before = model.kernel.weight.detach().clone()
        gradient = torch.randn(before.shape, generator=torch.Generator().manual_seed(3))
        model.kernel.weight.grad = much * gradient
        optimizer.step()
        moved = model.kernel.weight.detach() - before * (1 - 0.01 * 0.02)
        size = moved.square().mean().sqrt().item() / 0.01
        rows, columns = before.flatten(1).shape
        # an orthogonal matrix of so many rows has this root mean square
        assert size == pytest.approx(LENGTH * math.sqrt(max(rows, columns) / columns), rel=0.25)
        assert (moved * gradient).sum() < 0


def test_all_else_moves_as_adamw_moves_it() -> None:
    model, optimizer = make()
    twin, _ = make()
    others = {n: p for n, p in twin.named_parameters() if not n.startswith(("kernel.w", "idle"))}
    plain = torch.optim.AdamW(
        [
            {"params": [p for p in others.values() if p.ndim > 1], "weight_decay": 0.02},
            {"params": [p for p in others.values() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.01,
        betas=(0.9, 0.98),
    )
    for k in range(3):
        for name, p in model.named_parameters():
            if not name.startswith("idle"):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
        for p in others.values():
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
        optimizer.step()
        plain.step()
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], p) for name, p in others.items())
    assert not torch.equal(after["kernel.weight"], twin.kernel.weight)


def test_what_has_no_gradient_stays_and_has_no_state() -> None:
    model, optimizer = make()
    before = model.idle.weight.detach().clone()
    learn(model, optimizer, 2)
    assert torch.equal(model.idle.weight, before)
    assert model.idle.weight not in optimizer.state
    assert set(optimizer.state[model.kernel.weight]) == {"momentum"}


def test_norms_and_biases_do_not_decay() -> None:
    model, optimizer = make()
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(model.parameters()))  # each once
    named = {n: decay[id(p)] for n, p in model.named_parameters()}
    assert {n.partition(".")[0] for n, d in named.items() if d and n.endswith("weight")} == {
        "grey",
        "kernel",
        "point",
        "matrix",
        "idle",
    }
    assert not any(d for n, d in named.items() if n.endswith("bias") or n.startswith("norm"))


def test_a_model_without_kernels_is_plain_adamw() -> None:
    optimizer = Optimizer(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))
    assert [g["kernels"] for g in optimizer.param_groups] == [False, False]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_learns_however_kernels_lie_in_memory(layout: torch.memory_format) -> None:
    losses = []
    for of in (torch.contiguous_format, layout):
        model, _ = make()
        model = model.to(memory_format=of)  # type: ignore[call-arg]
        optimizer = Optimizer(model)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        losses.append(learn(model, optimizer, 30))
    assert losses[1][-1] < 0.75 * losses[1][0]
    assert losses[1][:3] == pytest.approx(losses[0][:3], rel=0.05)
