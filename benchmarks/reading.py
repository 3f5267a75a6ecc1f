"""How long a film takes: cold, by processes side by side, batched in one, and one at a time.

    python -m benchmarks.reading

Cold: a fresh process of `hilum read` on one DICOM film, imports and weights included. Films a
second: phantoms of 512 px from disk to report, by the processes that `hilum read` would take (their
start included), by one process in batches, and by the same one film at a time on the first hundred;
the same reader, films and processors each, with the share of equal reports. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hilum import imaging
from hilum.phantom.corpus import make_corpus
from hilum.processes import processors
from hilum.reading.archive import Reading
from hilum.reading.reader import Reader
from hilum.reading.workers import read_in_processes, suggested
from hilum.report import Report

ONE_BY_ONE = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--reader", default="embedded")
    parser.add_argument("--films", type=Path, default=Path("runs/benchmark-films"))
    args = parser.parse_args()
    folder = args.films / f"reading-{args.n}"
    if not (folder / "truth.jsonl").exists():
        make_corpus(folder, args.n, seed=30260, size=512)
    films = sorted(folder.glob("*.dcm"))
    cold = min(cold_read(films[k], args.reader) for k in range(3))
    print(f"cold read of one film: {cold:.2f} s (best of 3)")

    import torch

    count = suggested(args.reader, len(films))
    beside, fast = timed(lambda: side_by_side(args.reader, films, count))
    torch.set_num_threads(processors())
    reader = Reader.load(args.reader)
    one_by_one(reader, films[:2])  # warm-up
    batched, seconds = timed(lambda: stream(reader, films))
    reader.engine.forget()
    few = films[:ONE_BY_ONE]
    single, slow = timed(lambda: one_by_one(reader, few))
    rates = {
        "films_per_s": len(films) / fast,
        "films_per_s_one_process": len(films) / seconds,
        "films_per_s_one_at_a_time": len(few) / slow,
    }
    figures = {
        "cold_s": round(cold, 2),
        **{name: round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["films_per_s"] / rates["films_per_s_one_at_a_time"], 2),
        "texts_equal": round(min(equal(beside, batched), equal(batched, single)), 4),
        "largest_probability_difference": round(
            max(apart(beside, batched), apart(batched, single)), 4
        ),
        "films": len(films),
        "processes": count,
        "cores": processors(),
    }
    print(f"{figures['films_per_s']} films/s by {count} processes, their start included")
    print(f"{figures['films_per_s_one_process']} films/s by one, batched")
    print(f"{figures['films_per_s_one_at_a_time']} films/s by one, one at a time")
    print(json.dumps(figures))


def cold_read(film: Path, reader: str) -> float:
    command = [
        sys.executable,
        "-m",
        "hilum.cli.main",
        "read",
        str(film),
        "--reader",
        reader,
        "--json",
    ]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def side_by_side(reader: str, films: list[Path], count: int) -> list[Report]:
    read = read_in_processes(imaging.scan(films), Reading(reader), count)
    return [said for _, said, _ in read if isinstance(said, Report)]


def stream(reader: Reader, films: list[Path]) -> list[Report]:
    return list(reader.read_stream(imaging.load_study([f]) for f in films))


def one_by_one(reader: Reader, films: list[Path]) -> list[Report]:
    return [reader.read(f) for f in films]


def timed(work: Callable[[], list[Report]]) -> tuple[list[Report], float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun


def equal(some: list[Report], others: list[Report]) -> float:
    """Share of equal texts, as far as both go."""
    same = [a.text == b.text for a, b in zip(some, others, strict=False)]
    return sum(same) / len(same)


def apart(some: list[Report], others: list[Report]) -> float:
    """The largest difference of a probability."""
    return max(
        abs((f.probability or 0) - (g.probability or 0))
        for a, b in zip(some, others, strict=False)
        for f, g in zip(a.findings, b.findings, strict=False)
    )


if __name__ == "__main__":
    main()
