"""A trained reader in fewer bits: its size, memory, speed, and whether it still finds fractures.

    python -m benchmarks.quantised MODEL DATASET [--to 8bit nf4 gptq awq openvino-int8 ...]

MODEL is a folder of `hilum merge`, DATASET one of `hilum prepare` whose test split it has not seen;
gptq and awq calibrate on its training split. Every format reads the same studies of the test split
in a process of its own; its calibration is fitted again on the validation split. A format has
failed where the AUC of fracture falls by more than 0.005; the interval is of the paired difference.
gptq and awq are unpacked here: their memory and speed are to be had from a server such as vLLM.
They are made in --env, exports of OpenVINO in --exporter. Last line: JSON.
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

import numpy as np

from hilum.evaluation.metrics import auc, bootstrap, calibration_error

MOST = 0.005
WEIGHTS = ("*.safetensors", "*.bin")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--to", nargs="*", default=["8bit", "nf4"])
    parser.add_argument("--env", type=Path, default=Path(".venv-compressor"))
    parser.add_argument("--exporter", type=Path, default=Path(".venv-openvino"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(read(args.model, args.dataset)))
        return
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as made:
        rows["original"] = child(args, args.model)
        for to in args.to:
            rows[to] = child(args, shrunk(args, to, Path(made) / to))
    base = rows["original"]
    for row in rows.values():
        judge(row, base)
    show(rows)
    print(
        json.dumps({name: {k: v for k, v in r.items() if k in SHOWN} for name, r in rows.items()})
    )


def shrunk(args: argparse.Namespace, to: str, out: Path) -> Path:
    from benchmarks import film_tower
    from hilum.training import bits, compress, openvino

    if to in bits.METHODS:
        bits.quantize(args.model, to, out)
    elif to in openvino.FORMATS:
        export = film_tower if film_tower.is_one(args.model) else openvino
        export.quantize(args.model, to, out, args.exporter)
    else:
        compress.quantize(args.model, to, out, args.env, args.dataset)
    return out


def child(args: argparse.Namespace, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.quantised", str(model), str(args.dataset), "--one"]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def read(model: Path, dataset: Path) -> dict[str, Any]:
    """Answers on the test split, and calibrated ones by a fit on the validation split."""
    from hilum.data.rows import open_dataset
    from hilum.evaluation.run import run
    from hilum.evaluation.site import calibrate
    from hilum.findings import FindingName, Status
    from hilum.reading.reader import Reader

    fracture = FindingName.FRACTURE
    reader = Reader.load(model)
    answers, truth = {}, {}
    with tempfile.TemporaryDirectory() as made:
        for split in ("validation", "test"):
            opened = open_dataset(dataset, split)
            references = opened.references()
            begun = time.perf_counter()
            system = run(reader, split, opened, references, Path(made), allow_outside_domain=True)
            seconds = time.perf_counter() - begun
            answers[split] = np.array([p.likelihoods[fracture] for p in system.predictions])
            truth[split] = np.array([_present(r.findings, fracture) for r in references])
            if split == "validation":
                fitted = calibrate(reader, opened, references, system, "benchmark").calibration
    said = [sorted(f.name for f in some if f.status is Status.PRESENT) for some in system.said()]
    return {
        "bytes": sum(p.stat().st_size for kind in WEIGHTS for p in model.glob(kind)),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "films_per_s": round(len(references) / seconds, 2),
        "truth": truth["test"].tolist(),
        "p": answers["test"].tolist(),
        "refitted": [fitted.probability(fracture, float(p)) for p in answers["test"]],
        "said": said,
        "precision": reader.engine.versions["precision"],
    }


def _present(findings: Any, name: Any) -> bool:
    return any(f.name is name and f.present for f in findings)


SHOWN = ("bytes", "peak_bytes", "films_per_s", "auc", "difference", "agreement", "ece", "failed")


def judge(row: dict[str, Any], base: dict[str, Any]) -> None:
    """Add the figures that compare a row with the original."""
    y, p, q = (np.array(part) for part in (base["truth"], base["p"], row["p"]))
    low, high = bootstrap(_difference, y, p, q)
    row["auc"] = round(auc(y, q), 4)
    row["difference"] = [round(_difference(y, p, q), 4), round(low, 4), round(high, 4)]
    same = [a == b for a, b in zip(base["said"], row["said"], strict=True)]
    row["agreement"] = round(float(np.mean(same)), 4)
    row["ece"] = [round(calibration_error(y, x), 4) for x in (q, np.array(row["refitted"]))]
    row["failed"] = bool(_difference(y, p, q) < -MOST)


def _difference(y: Any, p: Any, q: Any) -> float:
    return auc(y, q) - auc(y, p)


def show(rows: dict[str, dict[str, Any]]) -> None:
    print("| weights | MB | peak GB | films/s | fracture AUC | difference | same findings | ECE |")
    print("|---|---|---|---|---|---|---|---|")
    for name, r in rows.items():
        mean, low, high = r["difference"]
        failed = ", **failed**" if r["failed"] else ""
        print(
            f"| {name} | {r['bytes'] / 1e6:.1f} | {r['peak_bytes'] / 1e9:.2f} "
            f"| {r['films_per_s']:.1f} | {r['auc']:.3f} "
            f"| {mean:+.4f} ({low:+.4f} to {high:+.4f}){failed} | {r['agreement']:.1%} "
            f"| {r['ece'][0]:.3f}, refitted {r['ece'][1]:.3f} |"
        )


if __name__ == "__main__":
    main()
