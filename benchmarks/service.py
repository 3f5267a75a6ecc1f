"""The service beside the article's, under load: studies a second, latency, and what is lost.

    python -m benchmarks.service [--clients 16] [--requests 64] [--soak 600] [--json FILE]

Three servers answer the same films, with the same weights (the 177 M shape of Qwen2.5-VL, random),
the same threads and the same number of tokens, one after the other in one run:

- seed: the FastAPI example of the article, `async def` with one fp32 transformers.generate inside;
- batched: FastAPI with bf16 transformers, requests that wait gathered into one batch;
- hilum: `hilum serve`, its jobs, database, audit log and guards on, by POST /analyze-fracture.

hilum's reader is the model by bf16 batches in a worker, unless --reader names a folder, as of an
OpenVINO export of the same model (--make FOLDER writes the model to be exported). Then, with hilum
alone: 10x overload (--overload), where what was accepted must be done and how long it took is
bounded by the queue; and a soak (--soak SECONDS) with 1 % of bad files, where memory must stay
flat and accepted = done + failed. Last line: JSON.
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
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PATIENCE = 600.0
BAD = (b"", b"no film at all", b"\x89PNG\r\n\x1a\ncut", b"PK\x03\x04 cut")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=64, help="to each server; the seed: 1/4")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--shape", choices=("qwen-177m", "tiny"), default="qwen-177m")
    parser.add_argument("--reader", default="", help="a reader's folder for hilum serve")
    parser.add_argument("--make", type=Path, help="only write the model into this folder")
    parser.add_argument("--overload", type=int, default=10, help="times the clients; 0: not")
    parser.add_argument("--soak", type=float, default=600.0, help="seconds; 0: not")
    parser.add_argument("--json", type=Path, help="write every figure there")
    args = parser.parse_args()
    if args.make:
        make_model(args.shape, args.make)
        return
    with tempfile.TemporaryDirectory(prefix="hilum-bench-") as folder:
        figures = measure(args, Path(folder))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    hilum = figures["hilum"]
    last = {
        "throughput_ratio": round(hilum["per_s"] / figures["seed"]["per_s"], 2),
        "p99_s": hilum["p99_s"],
        "errors": hilum["errors"] + figures.get("soak", {}).get("unexpected", 0),
        "lost": sum(figures.get(part, {}).get("lost", 0) for part in ("hilum", "overload", "soak")),
    }
    print(json.dumps(last | {"figures": figures}))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model = folder / "model"
    make_model(args.shape, model)
    films = make_films(args.requests, folder)
    figures: dict[str, Any] = {
        "shape": args.shape,
        "threads": args.threads,
        "tokens": args.tokens,
        "clients": args.clients,
        "reader": args.reader or "transformers bf16, batched",
    }
    for name in ("seed", "batched"):
        some = films[: max(args.clients, len(films) // 4)] if name == "seed" else films
        with simple_server(name, model, args) as url:
            warm(url, films, args.clients)
            figures[name] = load(url, some, args.clients)
            say(name, figures[name])
    with hilum_server(model, folder / "data", args) as (url, process):
        warm(url, films, args.clients)
        figures["hilum"] = load(url, films, args.clients) | {"lost": lost(url, [])}
        say("hilum", figures["hilum"])
        if args.overload:
            figures["overload"] = overload(url, args, films)
            print(f"overload: {figures['overload']}", flush=True)
        if args.soak:
            figures["soak"] = soak(url, process, args, films)
            print(f"soak: {figures['soak']}", flush=True)
    return figures


def make_model(shape: str, folder: Path) -> None:
    """Random weights of a shape, with the tokenizer and processor of the family's twin."""
    from hilum.models import twins

    if shape == "tiny":
        twins.make_twin("qwen2.5-vl", folder)
        return
    import copy

    import torch

    sizes = copy.deepcopy(twins._sizes()["qwen2.5-vl"])
    sizes["image_settings"] = {"min_pixels": 224 * 224, "max_pixels": 224 * 224}
    sizes["config"]["vision_config"] |= {
        "depth": 7,
        "hidden_size": 512,
        "intermediate_size": 1368,
        "num_heads": 8,
        "out_hidden_size": 896,
        "window_size": 112,
        "fullatt_block_indexes": [2, 6],
    }
    sizes["config"]["text_config"] |= {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 8,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [8, 12, 12],
        },
    }
    sizes["config"]["tie_word_embeddings"] = True
    torch.manual_seed(0)
    made = twins._native(sizes)
    made.model.resize_token_embeddings(32064)
    count = sum(p.numel() for p in made.model.parameters())
    print(f"model: {count / 1e6:.0f} M parameters", flush=True)
    made.save(folder)


def make_films(n: int, folder: Path) -> list[bytes]:
    from hilum.phantom.corpus import make_corpus

    make_corpus(folder / "films", n, seed=40260, size=256, format="png")
    return [path.read_bytes() for path in sorted((folder / "films").glob("*.png"))]


# -- load ---------------------------------------------------------------------------------------


def warm(url: str, films: list[bytes], clients: int) -> None:
    """A request a client that does not count: memory is taken, kernels are chosen."""
    load(url, [film + b"warm" for film in films[:clients]], clients)


def load(url: str, films: list[bytes], clients: int) -> dict[str, Any]:
    """Each film once, by so many clients, each of which sends its next when it has its answer."""
    waits: list[float] = []
    failed: list[bool] = []
    with httpx.Client(
        timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False
    ) as client:

        def ask(film: bytes) -> None:
            begun = time.perf_counter()
            answer = client.post(f"{url}/analyze-fracture", files={"file": ("film.png", film)})
            waits.append(time.perf_counter() - begun)
            good = answer.status_code == 200 and answer.json()["status"] == "success"
            failed.append(not good)

        begun = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(ask, films))
        seconds = time.perf_counter() - begun
    return {
        "requests": len(films),
        "per_s": round(len(films) / seconds, 3),
        "p50_s": round(statistics.median(waits), 2),
        "p99_s": round(sorted(waits)[int(0.99 * (len(waits) - 1))], 2),
        "errors": sum(failed),
    }


def overload(url: str, args: argparse.Namespace, films: list[bytes]) -> dict[str, Any]:
    """Many times the clients, new films all of them; what is refused is refused with a reason."""
    waits: list[float] = []
    statuses: Counter[int] = Counter()
    accepted: list[str] = []

    def ask(number: int) -> None:
        film = films[number % len(films)] + number.to_bytes(4, "big")  # after its end: other bytes
        begun = time.perf_counter()
        answer = httpx.post(
            f"{url}/v1/studies", files={"files": film}, timeout=PATIENCE, trust_env=False
        )
        statuses[answer.status_code] += 1
        if answer.status_code != 202:
            return
        name = answer.json()["studies"][0]["id"]
        accepted.append(name)
        ended(url, name)
        waits.append(time.perf_counter() - begun)

    clients = args.clients * args.overload
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(10_000, 10_000 + 2 * clients)))
    return {
        "clients": clients,
        "statuses": dict(statuses),
        "accepted": len(accepted),
        "p99_accepted_s": round(sorted(waits)[int(0.99 * (len(waits) - 1))], 2) if waits else None,
        "lost": lost(url, accepted),
        "alive": httpx.get(f"{url}/healthz", timeout=30).status_code == 200,
    }


def ended(url: str, name: str) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        answer = httpx.get(f"{url}/v1/studies/{name}?wait=30", timeout=PATIENCE, trust_env=False)
        if answer.status_code == 200 and answer.json()["state"] not in ("queued", "running"):
            return str(answer.json()["state"])
        time.sleep(0.2)
    return "lost"


def lost(url: str, accepted: list[str]) -> int:
    """Accepted studies that have not ended, once the queue is empty."""
    until = time.monotonic() + PATIENCE
    jobs = states(url)
    while jobs["queued"] + jobs["running"] and time.monotonic() < until:
        time.sleep(0.5)
        jobs = states(url)
    return jobs["queued"] + jobs["running"] + sum(ended(url, n) == "lost" for n in accepted)


def states(url: str) -> dict[str, int]:
    page = httpx.get(f"{url}/metrics", timeout=PATIENCE, trust_env=False).text
    names = ("queued", "running", "done", "failed", "quarantined")
    return {n: int(float(page.split(f'hilum_jobs{{state="{n}"}} ')[1].split()[0])) for n in names}


def soak(
    url: str, process: subprocess.Popen[str], args: argparse.Namespace, films: list[bytes]
) -> dict[str, Any]:
    """Steady load with 1 % of bad files; memory at a quarter of the time against the end."""
    statuses: Counter[int] = Counter()
    accepted: list[str] = []
    before = states(url)
    ends = time.monotonic() + args.soak

    def client(number: int) -> None:
        k = 0
        while time.monotonic() < ends:
            k += 1
            bad = (number * 7919 + k) % 100 == 0
            mark = (number << 32 | k).to_bytes(8, "big")
            film = BAD[k % len(BAD)] if bad else films[k % len(films)] + mark
            answer = httpx.post(
                f"{url}/v1/studies", files={"files": film}, timeout=PATIENCE, trust_env=False
            )
            statuses[answer.status_code] += 1
            if answer.status_code == 202:
                name = answer.json()["studies"][0]["id"]
                accepted.append(name)
                ended(url, name)
            elif answer.status_code == 503:
                time.sleep(float(answer.headers["retry-after"]))

    sizes: list[float] = []
    with ThreadPoolExecutor(args.clients) as pool:
        running = [pool.submit(client, number) for number in range(args.clients)]
        while not all(one.done() for one in running):
            sizes.append(memory(process.pid))
            time.sleep(max(0.5, args.soak / 100))
        for one in running:
            one.result()
    missing = lost(url, [])
    after = states(url)
    done = {n: after[n] - before[n] for n in ("done", "failed", "quarantined")}
    quarter = statistics.median(sizes[len(sizes) // 4 : len(sizes) // 4 + 5])
    return {
        "seconds": args.soak,
        "accepted": len(set(accepted)),
        "ended": done,
        "lost": missing + len(set(accepted)) - sum(done.values()),
        "refused": {str(s): n for s, n in statuses.items() if s not in (200, 202)},
        "unexpected": sum(n for s, n in statuses.items() if s >= 500 and s != 503),
        "memory_mib_at_a_quarter": round(quarter),
        "memory_mib_at_the_end": round(statistics.median(sizes[-5:])),
    }


def memory(pid: int) -> float:
    """MiB of a process and all its children, each its own share of what it shares (PSS)."""
    total = 0
    for process in tree(pid):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(rollup.split("\nPss:")[1].split()[0])
    return total / 1024


def tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from tree(int(child))


# -- servers ------------------------------------------------------------------------------------


@contextmanager
def simple_server(name: str, model: Path, args: argparse.Namespace) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.others", name, str(model), str(args.tokens)]
    process = subprocess.Popen(
        command, env=environment(args.threads), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def hilum_server(
    model: Path, data: Path, args: argparse.Namespace
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    from hilum.service.settings import Limits, Settings

    worker = [sys.executable, "-m", "benchmarks.others", "worker", str(args.tokens)]
    worker += ["load"] if args.reader else []
    settings = Settings(
        data=data,
        port=0,
        workers=1,
        threads=args.threads,
        reader=args.reader or str(model),
        allow_outside_domain=True,
        batch=args.clients,
        limits=Limits(wait_seconds=PATIENCE, queue=4 * args.clients, requests_per_minute=10**6),
        worker_command=tuple(worker),
    )
    code = (
        "import sys; from hilum.service.serve import serve;"
        "from hilum.service.settings import Settings;"
        "serve(Settings.model_validate_json(sys.argv[1]))"
    )
    with (data.parent / "hilum.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, settings.model_dump_json()],
            env=environment(1),
            stderr=log,
            text=True,
        )
        try:
            port = told(log, "listening")["port"]
            told(log, "worker_ready")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            process.wait()


def told(log: Any, event: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for line in Path(log.name).read_text().splitlines():
            if f'"event": "{event}"' in line:
                return dict(json.loads(line))
        time.sleep(0.1)
    raise SystemExit(f"no {event}: {Path(log.name).read_text()[-2000:]}")


def environment(threads: int) -> dict[str, str]:
    home = str(HERE.parent)
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([f"{home}/src", home]),
    }


def say(name: str, figures: dict[str, Any]) -> None:
    print(f"{name:8} {figures}", flush=True)


if __name__ == "__main__":
    main()
