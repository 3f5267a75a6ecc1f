"""What the encoder and the decoder are asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.models.embedded.encoder import FilmEncoder, FilmEncoderOutput
from hilum.training.embedded.batches import Batch


def heat_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a heatmap (arXiv 1904.07850, equation 1), per peak."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = (target > 0.999).float()
    loss = peak * (1 - p) ** 2 * p.log() + (1 - peak) * (1 - target) ** 4 * p**2 * (1 - p).log()
    return -loss.sum() / peak.sum().clamp(min=1)


def rib_loss(logits: Tensor, cells: Tensor) -> Tensor:
    """Which ribs, in which region, cross each cell: cross-entropy of every channel on its own."""
    target = torch.zeros_like(logits)
    target[tuple(cells.T)] = 1
    weight = 1 + 4 * target  # an axis is thin: one cell in thirty is positive
    return F.binary_cross_entropy_with_logits(logits, target, weight) * 10


def size_loss(out: FilmEncoderOutput, places: Tensor) -> Tensor:
    """Mean error of log half-sizes at the true centres."""
    assert out.sizes is not None
    if not len(places):
        return torch.zeros(())
    film, cell, kind = (places[:, k].long() for k in range(3))
    sizes = out.sizes.unflatten(1, (-1, 2)).flatten(3)[film, kind, :, cell]
    return F.l1_loss(sizes, places[:, 3:5])


def attribute_loss(encoder: FilmEncoder, out: FilmEncoderOutput, places: Tensor) -> Tensor:
    """Side, rib, region and the like, read from the token of every true centre that has them."""
    known = places[(places[:, 5:] >= 0).any(1)]
    if not len(known):
        return torch.zeros(())
    rows = [known[known[:, 0] == b] for b in range(len(out.heatmaps))]
    most = max(len(r) for r in rows)
    cells = torch.zeros(len(rows), most, dtype=torch.long)
    kinds = torch.zeros(len(rows), most, dtype=torch.long)
    truth = torch.full((len(rows), most, len(ATTRIBUTES)), -1, dtype=torch.long)
    for b, r in enumerate(rows):
        cells[b, : len(r)], kinds[b, : len(r)] = r[:, 1].long(), r[:, 2].long()
        truth[b, : len(r)] = r[:, 5:].long()
    tokens = encoder.proposals.describe(encoder.look(out, cells, kinds), kinds)
    return told_loss(encoder.proposals.attributes(tokens), truth)


def told_loss(answers: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of every attribute: logits (B, N, 26), truth (B, N, 6) with -1 for none."""
    parts = answers.float().split(list(ATTRIBUTES.values()), -1)
    losses = [
        F.cross_entropy(part.flatten(0, 1), truth[..., k].flatten(), ignore_index=-1)
        for k, part in enumerate(parts)
        if (truth[..., k] >= 0).any()
    ]
    return torch.stack(losses).sum() if losses else torch.zeros(())


def encoder_losses(encoder: FilmEncoder, out: FilmEncoderOutput, batch: Batch) -> dict[str, Tensor]:
    """The encoder's losses by name, already weighted."""
    return {
        "heat": heat_loss(out.heatmaps, batch.heat),
        "ribs": rib_loss(out.ribs, batch.rib_cells),
        "size": 0.2 * size_loss(out, batch.places),
        "attributes": 0.5 * attribute_loss(encoder, out, batch.places),
    }
