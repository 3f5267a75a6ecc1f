"""The embedded reader's table on phantoms of unseen seeds, with 95 % intervals.

    python -m benchmarks.embedded --n 1000

Every figure is over whole readings, as `hilum read` gives them: films of 512 px, read by the
packaged weights. Baselines beside them: a reader that answers the prevalence (AUC 0.5), and the
all-normal text. The last line is one line of JSON with every figure.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import wrong
from hilum.evaluation.metrics import auc, bootstrap, calibration_error, wilson
from hilum.findings import Bone, Displacement, Finding, FindingName, Instance, Stage, Status
from hilum.language import label, write
from hilum.phantom.corpus import make_corpus
from hilum.phantom.film import SIMULATED
from hilum.reading.reader import Reader
from hilum.report import LANGUAGES, Report

NEAR_MM = 15.0
KINDS = ("displaced", "nondisplaced", "healing", "old")
# seen from the front a rib's side runs along the beam, and a gap across it closes
HARDEST = tuple(f"nondisplaced_{region}" for region in ("posterior", "lateral", "anterior"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--reader", default="embedded")
    parser.add_argument("--films", type=Path, default=Path("runs/benchmark-films"))
    parser.add_argument("--wrong", type=Path, help="folder for pictures of wrong readings")
    args = parser.parse_args()
    folder = args.films / f"seed{args.seed}-n{args.n}-{args.size}px"
    truth = folder / "truth.jsonl"
    if not truth.exists():
        make_corpus(folder, args.n, args.seed, args.size, "png")
    rows = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()]
    reader = Reader.load(args.reader)
    reports = {lang: read_all(reader, folder, rows, lang) for lang in LANGUAGES}
    figures: dict[str, Any] = {"n": len(rows), "seed": args.seed, "size": args.size}
    # a phantom that the gate refuses is counted, and is in no other figure
    kept = [i for i, r in enumerate(reports["en"]) if not r.abstained]
    figures["abstained"] = share(len(rows) - len(kept), len(rows))
    rows = [rows[i] for i in kept]
    reports = {lang: [given[i] for i in kept] for lang, given in reports.items()}
    figures |= ranking(rows, reports["en"]) | instances(rows, reports["en"]) | words(rows, reports)
    figures |= erasing(rows, reports["en"], folder, reader)
    show(figures)
    if args.wrong:
        read = zip(rows, reports["en"], strict=True)
        cases = [(folder / row["path"], findings_of(row), report) for row, report in read]
        wrong.picture(cases, SIMULATED, args.wrong)
    print(json.dumps(figures))


def read_all(
    reader: Reader, folder: Path, rows: list[dict[str, Any]], language: Any
) -> list[Report]:
    from hilum import imaging

    studies = (imaging.load_study([folder / row["path"]]) for row in rows)
    reports = list(reader.read_stream(studies, language))
    return reports


def findings_of(row: dict[str, Any]) -> dict[str, Finding]:
    return {f["name"]: Finding.model_validate(f) for f in row["findings"]}


def kind_of(instance: Instance) -> str:
    if instance.stage in (Stage.HEALING, Stage.OLD):
        return str(instance.stage)
    return "displaced" if instance.displacement is Displacement.DISPLACED else "nondisplaced"


def ranking(rows: list[dict[str, Any]], reports: list[Report]) -> dict[str, Any]:
    """AUC, calibration and the operating point at specificity 0.90.

    Each group of fractures stands against the films without any: broken ribs (with an unbroken
    collar bone), one broken rib of each kind, those hardest to see by their place along the rib,
    broken collar bones (with unbroken ribs).
    """
    out: dict[str, Any] = {}
    for name in SIMULATED:
        y = np.array([findings_of(r)[name].present for r in rows])
        p = np.array([report.finding(name).probability for report in reports])  # type: ignore[union-attr]
        out[f"auc_{name}"] = with_interval(auc, y, p)
        out[f"ece_{name}"] = round(calibration_error(y, p), 4)
        if name is FindingName.FRACTURE:
            groups = [group(findings_of(r)[name].instances) for r in rows]
            for wanted in ("rib", "rib_single", *KINDS, *HARDEST, "clavicle"):
                keep = np.array([not g or wanted in g for g in groups])
                out[f"auc_fracture_{wanted}"] = with_interval(auc, y[keep], p[keep])
            cut = float(np.quantile(p[~y], 0.90))
            hits = int((p[y] > cut).sum())
            out["fracture_sensitivity_at_specificity_90"] = share(hits, int(y.sum()))
            out["fracture_specificity_as_called"] = share(
                sum(
                    report.finding(name).status is Status.ABSENT  # type: ignore[union-attr]
                    for report, broken in zip(reports, y, strict=True)
                    if not broken
                ),
                int((~y).sum()),
            )
            out["fracture_accuracy_all_normal"] = round(float((~y).mean()), 4)
    return out


def group(fractures: list[Instance]) -> set[str]:
    """The groups that a film belongs to; none without a fracture."""
    bones = {i.bone for i in fractures}
    if bones == {Bone.CLAVICLE}:
        return {"clavicle"}
    if bones != {Bone.RIB}:
        return {"both"} if bones else set()
    if len(fractures) > 1:
        return {"rib"}
    kind = kind_of(fractures[0])
    return {"rib", "rib_single", kind, f"{kind}_{fractures[0].region}"}


def instances(rows: list[dict[str, Any]], reports: list[Report]) -> dict[str, Any]:
    """Of all films with a broken rib: is the likeliest place where, and what, a true one is?

    A finding in doubt (from a specificity of 0.90 on) counts as called. Where several are broken,
    the true one that lies nearest to it counts.
    """
    names = ("called", "side", "rib", "rib_within_1", "region", "kind", "near_15mm")
    counts = dict.fromkeys(names, 0)
    total = 0
    for row, report in zip(rows, reports, strict=True):
        true = [i for i in findings_of(row)[FindingName.FRACTURE].instances if i.bone is Bone.RIB]
        if not true:
            continue
        total += 1
        finding = report.finding(FindingName.FRACTURE)
        said = [i for i in finding.instances if i.bone is not Bone.CLAVICLE] if finding else []
        if finding is None or finding.status is Status.ABSENT or not said:
            continue
        s = max(said, key=lambda i: i.probability or 0)
        distance, t = min(
            ((apart(s, t) * row["mm_per_pixel"], t) for t in true), key=lambda pair: pair[0]
        )
        rib = s.ribs[0] if s.ribs else None
        counts["called"] += 1
        counts["side"] += s.side == t.side
        counts["rib"] += rib == t.ribs[0]
        counts["rib_within_1"] += rib is not None and abs(rib - t.ribs[0]) <= 1
        counts["region"] += s.region == t.region
        counts["kind"] += (s.displacement, s.stage) == (t.displacement, t.stage)
        counts["near_15mm"] += distance <= NEAR_MM
    return {f"fracture_{k}": share(n, total) for k, n in counts.items()}


def apart(one: Instance, other: Instance) -> float:
    return math.dist(one.box.centre, other.box.centre) if one.box and other.box else math.inf


def erasing(
    rows: list[dict[str, Any]], reports: list[Report], folder: Path, reader: Reader, most: int = 120
) -> dict[str, Any]:
    """Mean probability of a fracture with its box blurred away, and with its mirror image's.

    On films with one broken rib that was called; what is blurred is as large and lies as high.
    """
    from hilum import imaging

    films, before = [], []
    for row, report in zip(rows, reports, strict=True):
        broken = findings_of(row)[FindingName.FRACTURE].instances
        finding = report.finding(FindingName.FRACTURE)
        if len(broken) != 1 or not broken[0].box or not finding or not finding.present:
            continue
        study = imaging.load_study([folder / row["path"]])
        x0, y0, x1, y1 = (round(v) for v in broken[0].box.xyxy)
        size = study.views[0].pixels.shape[1]
        for left, right in ((x0, x1), (size - 1 - x1, size - 1 - x0)):
            view = study.views[0]
            pixels = blurred(view.pixels, (left, y0, right, y1))
            erased = view.model_copy(update={"pixels": pixels})
            films.append(study.model_copy(update={"views": [erased]}))
        before.append(finding.probability or 0)
        if len(before) == most:
            break
    after = [r.finding(FindingName.FRACTURE) for r in reader.read_stream(films)]
    p = np.array([f.probability if f else 0.0 for f in after], float).reshape(-1, 2)
    return {
        "erasing_films": len(before),
        "erasing_before": round(float(np.mean(before)), 4),
        "erasing_its_box": round(float(p[:, 0].mean()), 4),
        "erasing_elsewhere": round(float(p[:, 1].mean()), 4),
    }


def blurred(pixels: Any, box: tuple[int, int, int, int]) -> Any:
    """The film with a box blurred beyond recognition, its rim blended in."""
    import cv2

    x0, y0, x1, y1 = box
    mask = np.zeros(pixels.shape, np.float32)
    mask[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), 3)
    film = pixels.astype(np.float32)
    return (film * (1 - mask) + cv2.GaussianBlur(film, (0, 0), 9) * mask).astype(pixels.dtype)


def words(rows: list[dict[str, Any]], reports: dict[Any, list[Report]]) -> dict[str, Any]:
    """Sentences right (finding, status and every attribute), and how often text and p disagree."""
    out: dict[str, Any] = {}
    for language, drafts in reports.items():
        right = all_normal = total = exact = 0
        for row, report in zip(rows, drafts, strict=True):
            true = [findings_of(row)[n] for n in SIMULATED]
            said = {f.name: f for f in label(report.text or "", language)}
            exact += report.text == row["report"][language]
            for finding in true:
                total += 1
                right += same(finding, said.get(finding.name))
                all_normal += not finding.present
        out[f"sentences_{language}"] = share(right, total)
        out[f"reports_exact_{language}"] = share(exact, len(rows))
        out[f"sentences_all_normal_{language}"] = round(all_normal / total, 4)
        flagged = sum("text_disagrees" in r.flags for r in drafts)
        out[f"text_disagrees_{language}"] = share(flagged, len(rows))
        normal = write([Finding(name=n, status=Status.ABSENT) for n in SIMULATED], language)
        out[f"reports_all_normal_{language}"] = share(
            sum(row["report"][language] == normal for row in rows), len(rows)
        )
    return out


def same(true: Finding, said: Finding | None) -> bool:
    def attributes(finding: Finding) -> list[str]:
        # a side is not said of an enlarged heart
        keys = ("bone", "side", "ribs", "region", "displacement", "stage")
        return sorted(str([getattr(i, k) for k in keys]) for i in finding.instances)

    return said is not None and said.status is true.status and attributes(said) == attributes(true)


def with_interval(metric: Any, y: Any, p: Any) -> list[float]:
    low, high = bootstrap(metric, y, p, rounds=500)
    return [round(metric(y, p), 4), round(low, 4), round(high, 4)]


def share(hits: int, n: int) -> list[float]:
    low, high = wilson(hits, n)
    return [round(hits / max(n, 1), 4), round(low, 4), round(high, 4)]


def show(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if isinstance(value, list):
            print(f"{name:42s} {value[0]:.4f}  ({value[1]:.4f} to {value[2]:.4f})")
        else:
            print(f"{name:42s} {value}")


if __name__ == "__main__":
    main()
