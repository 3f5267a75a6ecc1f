"""Rows a second and memory of `hilum prepare`, on synthetic studies that are made as they are read.

    python -m benchmarks.prepare --rows 10000 100000 --workers 4
    python -m benchmarks.prepare --rows 2000 --scaling 4 --repeat 3

Each row is a phantom of --side pixels (8 bits, its number stamped into a corner; 0: no film) with a
report of five sentences. Each size runs in a fresh process. The peak is the largest sum, twice a
second, of the memory of the main process, its workers and their decoders; what they share
counts for each. --scaling N compares N workers on N times the rows with N independent runs at the
same time, in turns, and takes the medians. Time on the processor is what to compare where other
work shares it: what the main process takes of a row bounds how many workers it can feed. Last
line: JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from hilum.data import Film, Given, Pair, Settings, Source, Watch, Work, prepare, processes
from hilum.phantom.film import simulate
from hilum.reading.gate import judge

PEAK_LIMIT_MIB = 1500
_SIDES = ("left", "right")


@dataclass(frozen=True)
class Synthetic(Source):
    """``rows`` studies; the film of each is one TIFF with its number stamped into the pixels."""

    rows: int = 0
    side: int = 256
    start: int = 0

    def pairs(self) -> Iterator[Pair]:
        """The studies, made as they are asked for."""
        levels = (simulate(0, 0, max(self.side, 128)).pixels >> 4).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(levels).save(out, "TIFF")
        base = out.getvalue()
        at = base.index(levels.tobytes())
        for n in range(self.start, self.start + self.rows):
            stamp = n.to_bytes(8, "big")
            yield Pair(
                study_id=f"s{n}",
                patient_id=f"p{n // 2}",
                films=(Film(data=base[:at] + stamp + base[at + 8 :]),),
                findings=(
                    f"Fracture of the {_SIDES[n % 2]} {n % 9 + 2}th rib. The heart is enlarged. "
                    f"No pneumothorax. No pleural effusion. Film {n} of the series."
                ),
                licence="CC0-1.0",
                source="synthetic",
            )


def resident(pid: int) -> int:
    """Bytes in memory of a process and its descendants, as Linux counts them."""
    total = 0
    with suppress(OSError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (task / "children").read_text().split())
    return total


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """Samples of what this process and its descendants hold, as they come."""
    samples, over = [resident(os.getpid())], threading.Event()

    def sample() -> None:
        while not over.wait(0.5):
            samples.append(resident(os.getpid()))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def measure(rows: int, side: int, workers: int, out: Path) -> dict[str, float]:
    """One run in this process: rows a second, and the rate of its first and last tenth."""
    times: list[float] = []
    source = Synthetic("table", out, Given(), rows, side)
    settings = Settings(work=Work(gate=judge, text_only=not side))
    began = time.perf_counter()
    watch = Watch(result=lambda _: times.append(time.perf_counter()))
    with watched_memory() as memory:
        card = prepare(source, out, settings, processes(workers), watch)
    seconds = time.perf_counter() - began
    for worker in multiprocessing.active_children():  # their time counts when they have ended
        worker.join()
    assert sum(card["facts"]["rows"].values()) == rows, card["facts"]["quarantined"]
    tenth = max(1, rows // 10)
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return {
        "rows": rows,
        "workers": workers,
        "rows_per_s": rows / seconds,
        "cpu_ms_per_row": 1000 * spent / rows,
        "main_cpu_ms_per_row": 1000 * (usages[0].ru_utime + usages[0].ru_stime) / rows,
        "first_tenth_rows_per_s": tenth / (times[tenth] - times[0]),
        "last_tenth_rows_per_s": tenth / (times[-1] - times[-1 - tenth]),
        "peak_mib": max(memory) / 2**20,
    }


def fresh(rows: int, side: int, workers: int) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    words = ["--one", str(rows), "--side", str(side), "--workers", str(workers)]
    command = [sys.executable, "-m", "benchmarks.prepare", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(run: subprocess.Popen[str]) -> dict[str, float]:
    """The JSON of a run."""
    told, _ = run.communicate()
    if run.returncode:
        raise SystemExit("a run failed")
    measured: dict[str, float] = json.loads(told.splitlines()[-1])
    return measured


def scaling(workers: int, rows: int, side: int, turns: int) -> dict[str, object]:
    """N workers on N times the rows, and N runs of one worker at once: rows a second of each."""
    together, apart = [], []
    for _ in range(turns):
        together.append(answer(fresh(rows * workers, side, workers))["rows_per_s"])
        alone = [fresh(rows, side, 1) for _ in range(workers)]
        apart.append(sum(answer(run)["rows_per_s"] for run in alone))
        print(f"{workers} workers {together[-1]:,.1f} rows/s, apart {apart[-1]:,.1f}", flush=True)
    ratio = median(together) / median(apart)
    print(f"scaling: {ratio:.2f} of {workers} independent runs")
    return {
        "scaling": {"workers": workers, "together": together, "apart": apart},
        "scaling_ratio": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scaling", type=int, default=0, help="workers to compare with runs")
    parser.add_argument("--repeat", type=int, default=1, help="turns of --scaling")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(args.one, args.side, args.workers, Path(folder) / "out")))
        return
    told: dict[str, object] = {"side": args.side, "runs": []}
    runs = []
    for rows in args.rows:
        one = answer(fresh(rows, args.side, args.workers))
        runs.append(one)
        print("  ".join(f"{name} {value:,.1f}" for name, value in one.items()), flush=True)
    told["runs"] = runs
    told["cpu_last_over_first_size"] = runs[-1]["cpu_ms_per_row"] / runs[0]["cpu_ms_per_row"]
    told["peak_within_limit"] = all(run["peak_mib"] <= PEAK_LIMIT_MIB for run in runs)
    if args.scaling:
        told |= scaling(args.scaling, args.rows[0], args.side, args.repeat)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
