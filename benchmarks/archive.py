"""What a film of an archive costs as the archive grows: processor time, memory, one line each.

    python -m benchmarks.archive --films 1000 10000 [--ray local] [--reader embedded]

Archives are links to 200 phantoms of 512 px. Each is read by `hilum read --json --journal`, killed
once by signal 9 when half is done, and read on. Printed: processor seconds a film of all of it (the
machine's, so let nothing else run), films a second, the peak of the command's memory, and whether
each film has exactly one line. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hilum.phantom.corpus import make_corpus

PHANTOMS = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--films", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--reader", default="embedded")
    parser.add_argument("--ray", help="auto, local, or host:port")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        make_corpus(Path(made) / "phantoms", PHANTOMS, 11, 512, "png")
        for count in args.films:
            figures[str(count)] = row = read(linked(Path(made), count), args)
            print(f"{count:7d} films: {row['ms_a_film']:.1f} ms of a processor a film, ", end="")
            print(f"{row['films_per_s']:.1f} films/s, peak {row['peak_mib']} MiB, ", end="")
            print("each once" if row["each_once"] else "NOT each once", flush=True)
    first, last = (figures[str(n)]["ms_a_film"] for n in (args.films[0], args.films[-1]))
    print(json.dumps({"films": figures, "cost_ratio": round(last / first, 3)}))


def linked(folder: Path, count: int) -> Path:
    """An archive of so many links, a thousand a folder."""
    films = sorted((folder / "phantoms").glob("*.png"))
    out = folder / f"archive-{count}"
    for i in range(count):
        part = out / f"{i // 1000:04d}"
        part.mkdir(parents=True, exist_ok=True)
        os.link(films[i % len(films)], part / f"{i:07d}.png")
    return out


def read(archive: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Read an archive, killed once in the middle."""
    journal = archive.with_suffix(".jsonl")
    command = [sys.executable, "-m", "hilum.cli.main", "read", str(archive), "--json"]
    command += ["--journal", str(journal), "--reader", args.reader]
    command += ["--ray", args.ray] if args.ray else []
    count = sum(1 for _ in archive.rglob("*.png"))
    begun, before = time.perf_counter(), busy()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while lines(journal) < count / 2 and process.poll() is None:
        time.sleep(0.2)
    process.kill()
    process.wait()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - begun
    processor = busy() - before
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    return {
        "ms_a_film": round(1000 * processor / count, 2),
        "films_per_s": round(count / seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "each_once": len(keys) == len(set(keys)) == count,
    }


def busy() -> float:
    """Seconds that this machine's processors have worked, for whomever (proc_stat(5))."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


if __name__ == "__main__":
    main()
