"""How well `hilum.language.label` reads reports, against gold labels, and how fast.

    python -m benchmarks.labeling [--errors]

Gold: the folder HILUM_DEV_DATA (../shared/data by default). Every share has its 95 % Wilson
interval; that of an F1 takes tp + (fp + fn) / 2 as the number of trials. --half halves every
set by a hash of the study's id (a, b); --errors names the studies read wrongly. Last line: JSON.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hilum.evaluation.metrics import wilson
from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status
from hilum.language import assertion, label

DATA = Path(os.environ.get("HILUM_DEV_DATA") or Path(__file__).parents[2] / "shared" / "data")
STATUS = {1: "present", 0: "absent", -1: "uncertain"}
CHILDREN = {name for name, row in FINDINGS.items() if row.parent}
# CheXpert's 14 names: the ones of the table's first part.
CHEXPERT = [str(n) for n in FindingName][:14]
NEGBIO = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural_effusion",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Pleural_Thickening": "pleural_thickening",
}
TARGETS = {
    "negbio_present": 0.92,
    "fracture_status_en": 0.97,
    "fracture_status_zh": 0.96,
    "fracture_status_csv": 0.93,
    "chexpert14_en": 0.92,
    "chexpert14_zh": 0.90,
    "native_findings": 0.95,
    "native_instances": 0.90,
    "negation": 0.93,
    "reports_per_s": 3000,
}
for _attribute in ("bone", "side", "stage"):
    for _language in ("en", "zh"):
        TARGETS[f"fracture_{_attribute}_{_language}"] = 0.90

Pair = tuple[str, Any, Any]  # study, gold, said
Score = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--half", choices=["a", "b", "both"], default="both")
    parser.add_argument("--errors", nargs="?", const="", help="name wrongly read studies (of SET)")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no gold at {DATA}; set HILUM_DEV_DATA")
    scores: dict[str, Score] = {}
    for name, pairs in sets():
        kept = [p for p in pairs if args.half in ("both", half(p[0]))]
        measure = accuracy if name in ACCURACY else f1
        scores[name] = measure(kept)
        if args.errors is not None and args.errors in name:
            for study, gold, said in kept:
                if gold != said:
                    missed, added = sorted(gold - said), sorted(said - gold)
                    print(f"  {name} {study}: missed {missed} added {added}")
    for name, value in speed().items():
        scores[name] = {"value": value}
    print(table(scores))
    print(json.dumps({name: score["value"] for name, score in scores.items()}))


ACCURACY = {"fracture_status_en", "fracture_status_zh", "fracture_status_csv", "negation"}


def half(study: str) -> str:
    return "ab"[hashlib.sha256(study.encode()).digest()[0] % 2]


def sets() -> Iterator[tuple[str, list[Pair]]]:
    """Every set of gold: its name, and (study, gold, said) with both as sets."""
    yield from negbio()
    captions = {lang: read_captions(lang) for lang in ("en", "zh")}
    yield from bilingual(captions)
    yield "fracture_status_csv", list(fracture_csv())
    for lang in ("en", "zh"):
        yield f"chexpert14_{lang}", list(chexpert(captions[lang], lang))
    yield from native()
    yield "negation", list(negation())


def negbio() -> Iterator[tuple[str, list[Pair]]]:
    texts = openi()
    pairs, bare = [], []
    for row in rows_of("openi/negbio_gold_14.csv"):
        study = row["filename"].removeprefix("CXR")
        gold = {name for column, name in NEGBIO.items() if row[column] == "1"}
        text = texts[study]
        said = {str(f.name) for f in label(text, "en") if f.present}
        wanted = set(NEGBIO.values())
        pairs.append((study, gold, said & wanted))
        bare.append((study, gold, keywords(text)))
    yield "negbio_present", pairs
    yield "negbio_bare_keywords", bare


def keywords(text: str) -> set[str]:
    """The bare baseline: one word a finding, denied by a "no" before it in the sentence."""
    words = {name: name.split("_")[-1] for name in NEGBIO.values()}
    found = set()
    for sentence in re.split(r"[.;]", text.lower()):
        for name, word in words.items():
            at = sentence.find(word)
            if at >= 0 and not re.search(
                r"\b(no|not|without|free|clear of|negative)\b", sentence[:at]
            ):
                found.add(name)
    return found


def bilingual(captions: dict[str, dict[str, str]]) -> Iterator[tuple[str, list[Pair]]]:
    rows = list(lines_of("openi/fracture_gold_en_zh.jsonl"))
    for lang in ("en", "zh"):
        status: list[Pair] = []
        attributes: dict[str, list[Pair]] = {"bone": [], "side": [], "stage": []}
        for row in rows:
            study = row["study"]
            finding = fracture_of(label(captions[lang][study], lang))  # type: ignore[arg-type]
            gold = row[lang]["status"].replace("not_mentioned", "unmentioned")
            status.append((study, {gold}, {finding.status if finding else "unmentioned"}))
            if gold != "present":
                continue
            for key, pairs in attributes.items():
                name = "age" if key == "stage" else key
                said = [str(getattr(i, key)) for i in finding.instances] if finding else []
                true = [str(f[name]).replace("unspecified", "None") for f in row[lang]["fractures"]]
                pairs.append((study, counted(true), counted(said)))
        yield f"fracture_status_{lang}", status
        for key, pairs in attributes.items():
            yield f"fracture_{key}_{lang}", pairs


def fracture_csv() -> Iterator[Pair]:
    texts = openi()
    for row in rows_of("openi/fracture_gold_en.csv"):
        gold = row["reader_label"]
        gold = gold if gold in STATUS.values() else "unmentioned"
        finding = fracture_of(label(texts[row["uid"]], "en"))
        yield row["uid"], {gold}, {finding.status if finding else "unmentioned"}


def chexpert(captions: dict[str, str], lang: str) -> Iterator[Pair]:
    for row in lines_of("openi/findings_gold_en_zh.jsonl"):
        gold = {f"{name} {STATUS[value]}" for name, value in row[lang].items()}
        found = label(captions[row["study"]], lang)  # type: ignore[arg-type]
        yield row["study"], gold, {f"{f.name} {f.status}" for f in found if f.name in CHEXPERT}


def native() -> Iterator[tuple[str, list[Pair]]]:
    findings, instances = [], []
    for row in lines_of("native_zh_gold.jsonl"):
        found = label(row["text"], "zh")
        gold = {f"{name} {STATUS[value]}" for name, value in row["labels"].items()}
        said = {f"{f.name} {f.status}" for f in found if f.name != "no_finding"}
        findings.append((row["id"], gold, said))
        fracture = fracture_of(found)
        told = [Instance.model_validate(f) for f in row["fractures"]]
        instances.append(
            (
                row["id"],
                counted(map(words, told)),
                counted(map(words, fracture.instances if fracture else [])),
            )
        )
    yield "native_findings", findings
    yield "native_instances", instances


def words(i: Instance) -> str:
    return " ".join(
        str(x) for x in (i.bone, i.side, sorted(i.ribs), i.region, i.displacement, i.stage)
    )


def counted(values: Iterable[str]) -> set[str]:
    """A multiset as a set: the second "rib" is "rib #2"."""
    seen: Counter[str] = Counter()
    out = set()
    for value in values:
        seen[value] += 1
        out.add(value if seen[value] == 1 else f"{value} #{seen[value]}")
    return out


def negation() -> Iterator[Pair]:
    for n, row in enumerate(rows_of("negex/negation_sentences.tsv", "\t")):
        number, condition, sentence, gold = list(row.values())[:4]
        pattern = r"\s+".join(map(re.escape, condition.split()))
        match = re.search(pattern, sentence, re.IGNORECASE)
        span = match.span() if match else (0, len(sentence))
        said = "Negated" if assertion(sentence, span, "en") is Status.ABSENT else "Affirmed"
        yield number or str(n), {gold}, {said}


def fracture_of(found: list[Finding]) -> Finding | None:
    return next((f for f in found if f.name == "fracture"), None)


def openi() -> dict[str, str]:
    return {
        row["uid"]: f"FINDINGS: {row['findings']}\nIMPRESSION: {row['impression']}"
        for row in rows_of("openi/indiana_reports.csv")
    }


def read_captions(lang: str) -> dict[str, str]:
    text = (DATA / f"openi/xrayglm_openi_{lang}.json").read_text(encoding="utf-8")
    captions: dict[str, str] = {}
    for row in json.loads(text)["annotations"]:
        captions.setdefault(row["image_id"].rsplit("_", 1)[0], row["caption"])
    return captions


def rows_of(path: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    with (DATA / path).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def lines_of(path: str) -> Iterator[dict[str, Any]]:
    with (DATA / path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def accuracy(pairs: list[Pair]) -> Score:
    right = sum(gold == said for _, gold, said in pairs)
    return score(right, len(pairs))


def f1(pairs: list[Pair]) -> Score:
    tp = sum(len(gold & said) for _, gold, said in pairs)
    wrong = sum(len(gold ^ said) for _, gold, said in pairs)
    return score(tp, tp + wrong / 2)


def score(right: float, total: float) -> Score:
    low, high = wilson(round(right), max(1, round(total)))
    return {
        "value": round(right / total, 4) if total else 0.0,
        "low": low,
        "high": high,
        "n": total,
    }


def speed() -> dict[str, float]:
    """Reports a second on one core: distinct texts, each read once, nothing remembered."""
    english = list(dict.fromkeys(openi().values()))
    captions = [list(dict.fromkeys(read_captions(lang).values())) for lang in ("en", "zh")]
    out = {}
    for name, texts in zip(
        ("openi", "captions_en", "captions_zh"), (english, *captions), strict=True
    ):
        label(texts[0])
        out[f"reports_per_s_{name}"] = round(len(texts) / seconds(label, texts))
    out["reports_per_s"] = min(out.values())
    return out


def seconds(work: Callable[[str], object], texts: list[str]) -> float:
    begun = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - begun


def table(scores: dict[str, Score]) -> str:
    rows = [f"{'set':28} {'value':>8}  {'95 % interval':16} {'n':>7}  target"]
    for name, s in scores.items():
        interval = f"{s['low']:.3f} to {s['high']:.3f}" if "low" in s else ""
        target = TARGETS.get(name)
        mark = "" if target is None else f"{target}  {'met' if s['value'] >= target else 'MISSED'}"
        rows.append(f"{name:28} {s['value']:>8}  {interval:16} {s.get('n', ''):>7}  {mark}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
