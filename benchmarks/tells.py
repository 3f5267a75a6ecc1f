"""Does anything but the lesion itself give a simulated fracture away?

    python -m benchmarks.tells --films 400

A small network learns crops of ribs: those that the truth calls broken against intact ribs of the
same films, at places drawn alike. Once with the fractures showing, as a control: it must learn
then. Once with every visible part removed while the truth stays (`simulate(hide=True)`): it must
not. The last line is one line of JSON with every figure.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.metrics import auc, bootstrap
from hilum.findings import Side
from hilum.phantom.anatomy import Habitus
from hilum.phantom.chance import CROWDED, draw_lesions
from hilum.phantom.film import Film, simulate
from hilum.phantom.findings import BONE_END, REGION_ANGLES, RIBS_THAT_BREAK, rib_end

CROP = 40  # pixels of a 512 px film: 31 mm


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--seed", type=int, default=515)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    figures: dict[str, Any] = {"films": args.films}
    for hide in (False, True):
        name = "removed" if hide else "visible"
        y, p = audit(args.seed, args.films, hide, args.epochs)
        low, high = bootstrap(auc, y, p, rounds=500)
        figures |= {f"auc_{name}": [round(float(v), 4) for v in (auc(y, p), low, high)]}
        print(f"fracture {name:8s} AUC {auc(y, p):.3f} ({low:.3f} to {high:.3f}), {len(y)} crops")
    print(json.dumps(figures))


def crops(seed: int, index: int, hide: bool) -> tuple[list[NDArray[np.uint8]], list[bool]]:
    """As many intact places as broken ones of one film, cut out around the rib's axis."""
    film = simulate(seed, index, 512, CROWDED, hide)
    habitus = Habitus.draw(np.random.default_rng([seed, index, 0]), cardiomegaly=False)
    drawn = draw_lesions(
        np.random.default_rng([seed, index, 1]), CROWDED, (habitus.width, habitus.height)
    )
    broken = {(f.side, f.rib): f.angle for f in drawn.fractures}
    rng = np.random.default_rng([seed, index, 99])
    whole = [(s, r) for s in (Side.LEFT, Side.RIGHT) for r in RIBS_THAT_BREAK]
    whole = [place for place in whole if place not in broken]
    out, labels = [], []
    for place, angle in broken.items():
        _cut(film, place, angle, out, labels, True)
    for k in rng.permutation(len(whole))[: len(broken)]:
        low, high = list(REGION_ANGLES.values())[rng.integers(3)]
        angle = rng.uniform(low, min(high, rib_end(whole[k][1]) - BONE_END))
        _cut(film, whole[k], angle, out, labels, False)
    return out, labels


def _cut(
    film: Film,
    place: tuple[Side, int],
    angle: float,
    out: list[NDArray[np.uint8]],
    labels: list[bool],
    broken: bool,
) -> None:
    track = film.tracks[place]
    x, y = (round(float(np.interp(angle, track[:, 2], track[:, k]))) for k in (0, 1))
    half = CROP // 2
    if half <= x < 512 - half and half <= y < 512 - half:
        crop = film.pixels[y - half : y + half, x - half : x + half] >> 4
        # the picture's left is made like its right: one side is enough to learn
        out.append(np.ascontiguousarray(crop[:, ::-1] if place[0] is Side.RIGHT else crop))
        labels.append(broken)


def audit(
    seed: int, films: int, hide: bool, epochs: int
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Truth and score of the crops of the last third of the films, learnt from the others."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    cv2.setNumThreads(1)
    torch.manual_seed(0)
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for span in (range(films * 2 // 3), range(films * 2 // 3, films)):
        made = [crops(seed, i, hide) for i in span]
        x = np.array([c for m in made for c in m[0]], np.float32)
        x = (x - x.mean((1, 2), keepdims=True)) / (x.std((1, 2), keepdims=True) + 4)
        y = np.array([v for m in made for v in m[1]])
        parts.append((torch.from_numpy(x)[:, None], torch.from_numpy(y)))
    (x, y), (unseen, truth) = parts
    layers: list[nn.Module] = []
    for a, b in ((1, 16), (16, 32), (32, 48)):
        layers += [nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 25, 1))
    steps = epochs * (len(x) // 64)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 64 * 64].view(-1, 64):
            loss = F.binary_cross_entropy_with_logits(net(x[rows])[:, 0], y[rows].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        return truth.numpy(), net(unseen)[:, 0].numpy()


if __name__ == "__main__":
    main()
