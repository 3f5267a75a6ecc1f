"""How long a film takes: cold, batched on all cores, and one at a time.

    python -m benchmarks.reading

Cold: a fresh process of `hilum read` on one DICOM film, imports and weights included. Films a
second: 200 phantoms of 512 px from disk to report, batched, and beside it the same reader, the
same films and threads one film at a time, with the share of equal reports. Last line: JSON.
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
from hilum.phantom.corpus import make_corpus, workers
from hilum.reading.reader import Reader
from hilum.report import Report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=200)
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

    torch.set_num_threads(workers())
    reader = Reader.load(args.reader)
    one_by_one(reader, films[:2])  # warm-up
    batched, seconds = timed(lambda: stream(reader, films))
    reader.engine.forget()
    single, slow = timed(lambda: one_by_one(reader, films))
    agree = sum(a.text == b.text for a, b in zip(batched, single, strict=True)) / len(films)
    apart = max(
        abs((f.probability or 0) - (g.probability or 0))
        for a, b in zip(batched, single, strict=True)
        for f, g in zip(a.findings, b.findings, strict=False)
    )
    figures = {
        "cold_s": round(cold, 2),
        "films_per_s": round(len(films) / seconds, 2),
        "films_per_s_one_at_a_time": round(len(films) / slow, 2),
        "ratio": round(slow / seconds, 2),
        "texts_equal": round(agree, 4),
        "largest_probability_difference": round(apart, 4),
        "films": len(films),
        "cores": workers(),
    }
    print(f"{figures['films_per_s']} films/s batched")
    print(f"{figures['films_per_s_one_at_a_time']} films/s one at a time")
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


def stream(reader: Reader, films: list[Path]) -> list[Report]:
    return list(reader.read_stream(imaging.load_study([f]) for f in films))


def one_by_one(reader: Reader, films: list[Path]) -> list[Report]:
    return [reader.read(f) for f in films]


def timed(work: Callable[[], list[Report]]) -> tuple[list[Report], float]:
    begun = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun


if __name__ == "__main__":
    main()
