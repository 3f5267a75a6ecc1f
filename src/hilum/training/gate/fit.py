"""Fits the network of :mod:`hilum.reading.pose`, and writes it where that module reads it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hilum.reading.gate import FRONTAL
from hilum.reading.pose import Network
from hilum.training.gate.samples import SHARES, Store, batch

CHANNELS = (2, 8, 16, 24, 32)
HIDDEN = 24
BATCH = 128
RATE = 2e-3


def network() -> Any:
    """The network in torch, layer by layer what ``pose.Network`` computes."""
    from torch import nn

    layers: list[nn.Module] = []
    for before, after in pairwise(CHANNELS):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    flat = CHANNELS[-1] * 4 * 4
    layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(flat, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 1))


def fit(
    store: Store, steps: int, seed: int, say: Callable[[str], None], tick: Callable[[], None]
) -> Any:
    """Train from endless samples of ``store``; the rate falls as a cosine."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    model = network().train()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    running = 0.7
    for step in range(steps):
        seen, kinds = batch(store, BATCH, rng)
        label = torch.tensor([0.98 * (kind == "frontal") + 0.01 for kind in kinds])
        loss = entropy(model(torch.from_numpy(seen))[:, 0], label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        running += 0.02 * (loss.item() - running)
        if (step + 1) % 250 == 0:
            say(f"step {step + 1}: loss {running:.4f}")
        tick()
    return model.eval()


def accepted(network: Network, store: Store, count: int, seed: int) -> dict[str, tuple[int, int]]:
    """By kind, how many of ``count`` fresh pictures the gate would accept, and of how many."""
    seen, kinds = batch(store, count, np.random.default_rng([seed, 2]))
    passed = network.score(seen) >= FRONTAL
    return {
        kind: (sum(p for p, k in zip(passed, kinds, strict=True) if k == kind), kinds.count(kind))
        for kind in SHARES
    }


def save(model: Any, path: Path) -> None:
    """Half-precision arrays, no pickle."""
    from torch import nn

    layers: dict[str, Any] = {}
    for kind, name in ((nn.Conv2d, "conv"), (nn.Linear, "dense")):
        found = [layer for layer in model if isinstance(layer, kind)]
        for k, layer in enumerate(found):
            for part, values in layer.named_parameters():
                layers[f"{name}{k}.{part}"] = values.detach().numpy().astype(np.float16)
    np.savez(path, **layers)
