"""How fast films are loaded, against plain pydicom, for each transfer syntax.

    python -m benchmarks.imaging

A batch of films a syntax, from disk to 8 bits as they are looked at: scan, load, display. The
baseline does less: dcmread, pixel_array and apply_voi_lut, without inversion and 8 bits, in one
process; where pydicom has no free decoder of its own (JPEG Extended and Lossless) it is lent
Hilum's. One core: both are held to the same one, Hilum's child beside its parent. All cores:
Hilum's threads and children against as many independent baseline processes. Every figure is the
median of the runs of this process, baseline and Hilum in turn. Last line: JSON; both ratios are
the geometric mean of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_voi_lut
from pydicom.uid import UID

from benchmarks import films
from hilum import imaging
from hilum.imaging import children, jpeg
from hilum.imaging.decode import DECODERS

SKIPPED = ("HTJ2KLosslessRPCL", "HTJ2K")  # the same codestream as HTJ2KLossless


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100, help="films a syntax")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=1700)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", help="keywords of syntaxes")
    parser.add_argument("--baseline", nargs="+", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.baseline:
        return serve_baseline(args.baseline)
    every = sorted(os.sched_getaffinity(0))[: args.cores]
    ratios: dict[str, list[float]] = {"one": [], "all": []}
    print(f"{args.n} films of {args.rows} x {args.columns}, median of {args.repeats}, films/s")
    print(f"{'syntax':32}{'one core':>24}{f'{len(every)} cores':>34}")
    for syntax in DECODERS:
        if syntax.keyword in SKIPPED or (args.only and syntax.keyword not in args.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            paths = make(Path(folder), syntax, args.n, args.rows, args.columns)
            check(paths[0])
            one = compare(one_thread, baseline, paths, every[:1], args.repeats)
            many = compare(threads, processes, paths, every, args.repeats)
        ratios["one"].append(one[0] / one[1])
        ratios["all"].append(many[0] / many[1])
        shown = [f"{a:7.1f} / {b:7.1f} = {a / b:4.2f}" for a, b in (one, many)]
        print(f"{syntax.keyword:32}{shown[0]:>24}{shown[1]:>34}", flush=True)
    figures = {
        "load_ratio_one_core": round(statistics.geometric_mean(ratios["one"]), 2),
        "load_scaling": round(statistics.geometric_mean(ratios["all"]), 2),
        "lowest_ratio_one_core": round(min(ratios["one"]), 2),
        "lowest_scaling": round(min(ratios["all"]), 2),
        "cores": len(every),
        "films": args.n,
    }
    print(json.dumps(figures))


def make(folder: Path, syntax: UID, n: int, rows: int, columns: int) -> list[Path]:
    """``n`` files of one 12-bit film (8-bit where the syntax has no more), each its own study."""
    bits = films.DEPTHS.get(syntax, (12,))[-1]
    ds = films.dataset(
        films.levels(bits, rows=rows, columns=columns),
        syntax,
        bits,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=str(2 ** (bits - 1)),
        WindowWidth=str(2**bits * 3 // 4),
    )
    paths = []
    for index in range(n):
        ds.StudyInstanceUID = ds.SOPInstanceUID = f"1.2.{index + 1}"
        paths.append(folder / f"IM{index:04}")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def check(path: Path) -> None:
    """Both ways show the same film, but for the inversion and 8 bits that the baseline lacks."""
    jpeg.register()
    shown = plain(path)
    top = 2.0 ** (8 if shown.max() < 256 else 12) - 1
    apart = np.abs(ours(path) - (255 - shown / top * 255)).max()
    assert apart <= 1, f"{path.name}: {apart} levels apart"


def ours(path: Path) -> np.ndarray:
    (files,) = imaging.scan([path])
    return imaging.load(files).views[0].display()


def plain(path: Path) -> np.ndarray:
    ds = pydicom.dcmread(path)
    return apply_voi_lut(ds.pixel_array, ds)


def one_thread(paths: list[Path], cores: list[int]) -> float:
    """Hilum in this thread and one child, both on the cores given; films a second."""
    os.sched_setaffinity(0, cores)
    let_go()
    ours(paths[0])  # the child starts, on these cores
    begun = time.perf_counter()
    for path in paths:
        ours(path)
    seconds = time.perf_counter() - begun
    let_go()
    return len(paths) / seconds


def threads(paths: list[Path], cores: list[int]) -> float:
    """Hilum as a batch is read: a thread and a child for each core."""
    os.sched_setaffinity(0, cores)
    let_go()
    with ThreadPoolExecutor(len(cores)) as workers:
        list(workers.map(ours, paths[: 2 * len(cores)]))
        begun = time.perf_counter()
        for _ in workers.map(ours, paths):
            pass
        seconds = time.perf_counter() - begun
    let_go()
    return len(paths) / seconds


def let_go() -> None:
    """End the children of an earlier set of cores; the next film starts new ones."""
    if children._pool is not None:
        children._pool.close()
        children._pool = None


def baseline(paths: list[Path], cores: list[int]) -> float:
    return processes(paths, cores)


def processes(paths: list[Path], cores: list[int]) -> float:
    """As many plain scripts as cores, each with its share of the films; from start to last end."""
    os.sched_setaffinity(0, cores)
    command = [sys.executable, "-m", "benchmarks.imaging", "--baseline"]
    one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [*command, *map(str, paths[k :: len(cores)])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=one,
        )
        for k in range(len(cores))
    ]  # fmt: skip
    for process in running:  # imports and the first film are not counted, as ours are not
        assert process.stdout is not None
        process.stdout.readline()
    begun = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    seconds = time.perf_counter() - begun
    for process in running:
        process.communicate()
    return len(paths) / seconds


def serve_baseline(paths: list[Path]) -> None:
    jpeg.register()
    plain(paths[0])
    print(flush=True)
    sys.stdin.readline()
    for path in paths:
        plain(path)
    print(flush=True)


Runner = Callable[[list[Path], list[int]], float]


def compare(
    mine: Runner, theirs: Runner, paths: list[Path], cores: list[int], repeats: int
) -> tuple[float, float]:
    """Films a second of both, taken in turn."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        rates[0].append(mine(paths, cores))
        rates[1].append(theirs(paths, cores))
    return statistics.median(rates[0]), statistics.median(rates[1])


if __name__ == "__main__":
    main()
