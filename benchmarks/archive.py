"""What a film of an archive costs as the archive grows: processor time, memory, one line each.

    python -m benchmarks.archive --films 1000 10000 [--ray local] [--reader embedded]

Archives are links to 600 phantoms of 512 px. Each is read by `hilum read --json --journal`, killed
once by signal 9 when half is done, and read on. Printed: processor seconds a film of all of it (the
machine's, so let nothing else run), films a second, the most memory of the command's processes
together, and whether each film has exactly one line. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hilum.phantom.corpus import make_corpus

# more than a process meets before the same film comes again: a reader knows its last 64
PHANTOMS = 600
EVERY = 0.5  # seconds between two looks


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
    peak = max(run(command, journal, kill_at=count // 2), run(command, journal))
    seconds = time.perf_counter() - begun
    processor = busy() - before
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    return {
        "ms_a_film": round(1000 * processor / count, 2),
        "films_per_s": round(count / seconds, 2),
        "peak_mib": peak // 2**20,
        "each_once": len(keys) == len(set(keys)) == count,
    }


def run(command: list[str], journal: Path, kill_at: int | None = None) -> int:
    """Run, to the end or until the journal has so many lines; the most bytes held on the way."""
    peak, lines, offset = 0, 0, 0
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        while process.poll() is None:
            peak = max(peak, held(process.pid))
            if kill_at is not None and journal.exists():
                with journal.open("rb") as file:
                    file.seek(offset)
                    more = file.read()
                lines, offset = lines + more.count(b"\n"), offset + len(more)
                if lines > kill_at:
                    process.kill()
            time.sleep(EVERY)
    return peak


def held(pid: int) -> int:
    """Bytes of a process and those it began; what they share counts once (proc_pid_smaps)."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0  # it has ended
    own = sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))
    return own + sum(held(int(child)) for child in children)


def busy() -> float:
    """Seconds that this machine's processors have worked, for whomever (proc_stat(5))."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
