"""The bootstrap of an evaluation: how long, against one resample at a time, with agreement.

    python -m benchmarks.evaluation --studies 5000 --rounds 1000

Made-up references and answers: 14 findings with probabilities, and reports in English. Ours works
out every metric of `hilum evaluate` for one system (each finding, micro and macro over 14 and 5,
subgroups, sides, texts) over all resamples. Beside it stands the usual way, scikit-learn and
sacrebleu called once a resample, on a few of the same resamples and for fewer metrics (AUC, average
precision, F1, precision, recall and Brier score of each finding, micro AUC and F1, BLEU); its time
is scaled up to all of them. The figures of both on those resamples must agree. The last line is one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sacrebleu
from sklearn import metrics as sk

from hilum.data.rows import Reference
from hilum.evaluation.bootstrap import draws
from hilum.evaluation.case import CHEXPERT14, Prediction, System, columns_of
from hilum.evaluation.judge import Settings, judge
from hilum.evaluation.texts import word_figures
from hilum.evaluation.weighted import calibration, counts, ranking, rates
from hilum.findings import Bone, Finding, FindingName, Instance, Side, Status
from hilum.language import write

BOTH = (Status.ABSENT, Status.PRESENT)


def made(studies: int, seed: int = 0) -> tuple[list[Reference], System]:
    """References with every finding, and a fair reader's answers."""
    rng = np.random.default_rng(seed)
    references, predictions = [], []
    for k in range(studies):
        truth, answer = [], []
        for name in CHEXPERT14[1:]:
            ill = bool(rng.random() < 0.15)
            p = round(float(np.clip(rng.normal(0.25 + 0.4 * ill, 0.2), 0, 1)), 4)
            places = []
            if name is FindingName.FRACTURE:
                side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
                places = [Instance(bone=Bone.RIB, side=side, ribs=[int(rng.integers(3, 11))])]
            truth.append(Finding(name=name, status=BOTH[ill], instances=places if ill else []))
            called = p >= 0.5
            answer.append(
                Finding(
                    name=name,
                    status=BOTH[called],
                    probability=p,
                    instances=places if called else [],
                )
            )
        references.append(Reference(f"s{k}", f"p{k}", truth, "truth", write(truth[:6], "en"), "en"))
        predictions.append(
            Prediction(
                study_id=f"s{k}", findings=answer, text=write(answer[:6], "en"), language="en"
            )
        )
    return references, System("made up", "predictions", predictions)


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Processor seconds, seconds, and the result: others may be at work on the machine."""
    cpu, start = time.process_time(), time.perf_counter()
    result = call()
    return time.process_time() - cpu, time.perf_counter() - start, result


def theirs(
    columns: dict[Any, Any], pairs: list[tuple[str, str]], w: np.ndarray
) -> dict[str, float]:
    """One resample by scikit-learn and sacrebleu; the rows that were drawn, as often as drawn."""
    rows = np.repeat(np.arange(len(w)), w.astype(int))
    out: dict[str, float] = {}
    truths, scores, called = [], [], []
    for name, c in columns.items():
        y, p, s = c.truth[rows], c.positive[rows], c.score[rows]
        out[f"f1|{name}"] = sk.f1_score(y, p, zero_division=np.nan)
        out[f"precision|{name}"] = sk.precision_score(y, p, zero_division=np.nan)
        out[f"recall|{name}"] = sk.recall_score(y, p, zero_division=np.nan)
        if np.isfinite(s).all():
            out[f"auc|{name}"] = sk.roc_auc_score(y, s)
            out[f"average_precision|{name}"] = sk.average_precision_score(y, s)
            out[f"brier|{name}"] = sk.brier_score_loss(y, s)
            scores.append(s)
            truths.append(y)
        called.append((y, p))
    out["auc|micro"] = sk.roc_auc_score(np.stack(truths, 1), np.stack(scores, 1), average="micro")
    true, said = (np.stack(parts, 1) for parts in zip(*called, strict=True))
    out["f1|micro"] = sk.f1_score(true, said, average="micro")
    drafts, references = [pairs[k][1] for k in rows], [pairs[k][0] for k in rows]
    out["bleu"] = sacrebleu.corpus_bleu(drafts, [references]).score
    return out


def ours(columns: dict[Any, Any], pairs: list[tuple[str, str]], weights: np.ndarray) -> Any:
    """The same metrics of all resamples at once."""
    hard = rates(counts(list(columns.values()), weights), 0.5)
    out = {
        f"{m}|{name}": hard[m][:, k]
        for k, name in enumerate(columns)
        for m in ("f1", "precision", "recall")
    }
    scored = [name for name, c in columns.items() if c.scored]
    for name in scored:
        soft = ranking([columns[name]], weights) | calibration(columns[name], weights)
        out |= {f"{m}|{name}": soft[m] for m in ("auc", "average_precision", "brier")}
    out["auc|micro"] = ranking([columns[n] for n in scored], weights)["auc"]
    summed = {m: v.sum(1) for m, v in counts(list(columns.values()), weights).items()}
    out["f1|micro"] = rates(summed, 0.5)["f1"]
    out["bleu"] = word_figures(pairs, "en", weights)["bleu"]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--loops", type=int, default=5, help="resamples of the usual way")
    args = parser.parse_args()
    references, system = made(args.studies)
    patients = [r.patient_id for r in references]
    once, _, _ = timed(lambda: judge(references, [system], Settings(rounds=1)))
    whole, wall, _ = timed(lambda: judge(references, [system], Settings(rounds=args.rounds)))
    columns = columns_of(references, system, CHEXPERT14, "likelihood", "present")
    pairs = [(r.text, p.text or "") for r, p in zip(references, system.predictions, strict=True)]
    weights = draws(patients, args.rounds)
    fast, _, found = timed(lambda: ours(columns, pairs, weights))
    slow, _, looped = timed(
        lambda: [theirs(columns, pairs, weights[k]) for k in range(1, args.loops + 1)]
    )
    apart = max(
        abs(one[name] - found[name][k]) / (100 if name == "bleu" else 1)
        for k, one in enumerate(looped, 1)
        for name in one
    )
    told = {
        "studies": args.studies,
        "rounds": args.rounds,
        "every_metric_cpu_s": round(whole, 2),
        "every_metric_wall_s": round(wall, 2),
        "of_which_resamples_cpu_s": round(whole - once, 2),
        "some_metrics_at_once_cpu_s": round(fast, 2),
        "some_metrics_usual_way_cpu_s": round(slow / args.loops * args.rounds, 1),
        "usual_way_measured_rounds": args.loops,
        "ratio": round(slow / args.loops * args.rounds / fast, 1),
        "largest_difference": float(f"{apart:.2e}"),
    }
    for name, value in told.items():
        print(f"{name:28s} {value}")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
