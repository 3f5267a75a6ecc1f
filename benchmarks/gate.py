"""What the gate says of films: a row a folder, every film that it judges otherwise than expected.

    python -m benchmarks.gate --accept DIR ... --abstain DIR ... [--phantoms 300]

Every view is judged on its own. ``--but NAME`` turns the expectation for the films of that name.
Films to accept are also judged as a negative, on either side and upside down: these must abstain.
Phantoms (of seeds apart from all training) are judged plain, rotated, inverted, and as noise of
the same grey levels. Last line: JSON with the counts and the processor time of a film.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.reading import gate, pose
from hilum.report import Verdict
from hilum.study import Study, View

SEED = 31_415
SIZES = (256, 384, 512)


@dataclass
class Row:
    """One folder's counts."""

    right: int = 0
    judged: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Table:
    """Judges films, and keeps what was said of them."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.seconds: list[float] = []

    def judge(self, name: str, film: str, view: View, expected: set[Code] | bool) -> None:
        """Expected: True accepted, False abstained, or the very codes."""
        start = time.process_time()
        found = gate.judge(Study(id="x", views=[view]))
        self.seconds.append(time.process_time() - start)
        accepted = found.verdict is Verdict.ACCEPT
        right = (
            accepted is expected if isinstance(expected, bool) else set(found.reasons) == expected
        )
        row = self.rows.setdefault(name, Row())
        row.judged += 1
        row.right += right
        row.codes[" + ".join(found.reasons) or "accepted"] += 1
        if not right:
            words = ", ".join(found.reasons) or "accepted"
            upright = pose.scores(view.display())[pose.UPRIGHT]
            row.wrong.append(f"{film}: {words} (upright {upright:+.1f})")

    def show(self) -> None:
        """The table, wrong films below their folder."""
        for name, row in self.rows.items():
            print(f"{name:34s} {row.right:4d} of {row.judged:4d} as expected  {dict(row.codes)}")
            for line in row.wrong:
                print(f"    {line}")
        milliseconds = 1000 * np.array(self.seconds or [0.0])
        total = {
            "judged": sum(row.judged for row in self.rows.values()),
            "as_expected": sum(row.right for row in self.rows.values()),
            "folders": {name: [row.right, row.judged] for name, row in self.rows.items()},
            "cpu_ms_per_film_mean": round(float(milliseconds.mean()), 1),
            "cpu_ms_per_film_p99": round(float(np.percentile(milliseconds, 99)), 1),
        }
        print(json.dumps(total))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--accept", type=Path, nargs="+", default=[])
    parser.add_argument("--abstain", type=Path, nargs="+", default=[])
    parser.add_argument("--but", nargs="+", default=[], help="file names without their ending")
    parser.add_argument("--phantoms", type=int, default=0)
    args = parser.parse_args()
    table = Table()
    gate.judge(Study(id="x", views=[View(pixels=np.zeros((300, 300), np.uint16))]))  # warm
    for expected, folders in ((True, args.accept), (False, args.abstain)):
        for folder in folders:
            for view in _views(folder):
                film = Path(view.path)
                accept = expected is not (film.stem in args.but)
                table.judge(folder.name, film.name, view, accept)
                if accept and expected:
                    _judge_posed(table, folder.name, film.name, view)
    for k in range(args.phantoms):
        _judge_phantom(table, k)
    table.show()


def _views(folder: Path) -> Iterator[View]:
    for files in imaging.scan([folder]):
        try:
            yield from imaging.load(files).views
        except HilumError as error:
            print(f"{files.paths[0].name}: not loaded, {error.code}")


def _judge_posed(table: Table, folder: str, film: str, view: View) -> None:
    negative = view.model_copy(update={"inverted": not view.inverted})
    table.judge(f"{folder}, inverted", film, negative, False)
    for turns in (1, 2, 3):
        turned = view.model_copy(update={"pixels": np.rot90(view.pixels, turns).copy()})
        table.judge(f"{folder}, rotated", f"{film} by {90 * turns}", turned, False)


def _judge_phantom(table: Table, k: int) -> None:
    from hilum.phantom.film import simulate

    pixels = simulate(SEED, k, SIZES[k % len(SIZES)]).pixels
    film = f"{SEED}-{k}"
    table.judge("phantoms", film, View(pixels=pixels), True)
    for turns in (1, 2, 3):
        turned = View(pixels=np.rot90(pixels, turns).copy())
        table.judge(f"phantoms, {90 * turns} degrees", film, turned, {Code.ROTATED_FILM})
    inverted = View(pixels=pixels, inverted=True)
    table.judge("phantoms, inverted", film, inverted, {Code.INVERTED_FILM})
    noise = np.random.default_rng(k).permuted(pixels.ravel()).reshape(pixels.shape)
    table.judge("phantoms, noise", film, View(pixels=noise), False)


if __name__ == "__main__":
    main()
