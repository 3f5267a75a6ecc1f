"""The card: what is in a dataset, counted while it was made, and a page that says so.

The page is the README.md that ``datasets.load_dataset`` finds the splits by; card.json holds the
same in numbers. Neither holds a time or a machine's name: the same data give the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hilum.codes import Code
from hilum.data.licences import strictest
from hilum.data.pair import join
from hilum.data.schema import SPLITS
from hilum.findings import FINDINGS, FindingName, Status

_QUANTILES = (0.05, 0.5, 0.95)
_NOT_ABNORMAL = (FindingName.NO_FINDING.value, FindingName.SUPPORT_DEVICES.value)
_STATUSES = tuple(status.value for status in Status)


def tally(values: dict[str, Any], into: Counter[str]) -> None:
    """Count one row. A key is the kind of thing and its value, with ``|`` between."""
    split, report = values["split"], values["report"]
    into["rows|" + split] += 1
    into["images|" + split] += len(values["images"])
    abnormal = False
    for finding in values["findings"]:
        name, status = finding["name"], finding["status"]
        into[f"finding|{split}|{name}|{status}"] += 1
        abnormal |= status != Status.ABSENT.value and name not in _NOT_ABNORMAL
        if name == FindingName.FRACTURE.value and status == Status.PRESENT.value:
            _tally_fractures(finding["instances"], into)
    into[f"normal|{split}"] += bool(values["findings_source"]) and not abnormal
    for view in values["views"]:
        into[f"view|{view['position'] or 'unknown'}"] += 1
    for kind in ("licence", "source", "findings_source"):
        into[f"{kind}|{values[kind] or 'none'}"] += 1
    into[f"language|{report['language']}"] += 1
    into[f"length|{len(join(report['findings'], report['impression']))}"] += 1
    for flag in values["flags"]:
        into[f"flag|{flag}"] += 1


def _tally_fractures(instances: list[dict[str, Any]], into: Counter[str]) -> None:
    for instance in instances or [{}]:
        for kind in ("bone", "side", "stage"):
            into[f"fracture|{kind}|{instance.get(kind) or 'unknown'}"] += 1


def facts(
    counts: Counter[str],
    quarantined: Counter[str],
    patients: Counter[str],
    errors: Counter[str] | None = None,
) -> dict[str, Any]:
    """The card in numbers, from the counts of rows, refusals by code and patients by split.

    ``errors``: refused translations by the kind of error; one may have several.
    """
    rows = _of("rows", counts)
    return {
        "rows": rows,
        "patients": {split: patients[split] for split in SPLITS if patients[split]},
        "images": _of("images", counts),
        "normal": _of("normal", counts),
        "findings": {
            name.value: {status: _status(counts, name, status) for status in _STATUSES}
            for name in FindingName
            if any(_status(counts, name, status) for status in _STATUSES)
        },
        "present_by_split": {
            name.value: {
                split: counts[f"finding|{split}|{name.value}|{Status.PRESENT.value}"]
                for split in rows
            }
            for name in FindingName
        },
        "findings_source": _of("findings_source", counts),
        "fractures": {kind: _of(f"fracture|{kind}", counts) for kind in ("bone", "side", "stage")},
        "languages": _of("language", counts),
        "views": _of("view", counts),
        "characters": quantiles(_of("length", counts)),
        "sources": _of("source", counts),
        "licences": _of("licence", counts),
        "licence": strictest(list(_of("licence", counts))),
        "flags": _of("flag", counts),
        "quarantined": dict(sorted(quarantined.items())),
        "translation_errors": dict((errors or Counter()).most_common()),
    }


def _status(counts: Counter[str], name: FindingName, status: str) -> int:
    return sum(counts[f"finding|{split}|{name.value}|{status}"] for split in SPLITS)


def _of(kind: str, counts: Counter[str]) -> dict[str, int]:
    """The counts of one kind, by value; splits in their order, the rest most frequent first."""
    start = kind + "|"
    found = {key.removeprefix(start): n for key, n in counts.items() if key.startswith(start)}
    if set(found) <= set(SPLITS):
        return {split: found[split] for split in SPLITS if found.get(split)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def quantiles(lengths: dict[str, int]) -> dict[str, int]:
    """5th, 50th and 95th percentile (nearest rank) of lengths with their counts."""
    total = sum(lengths.values())
    ordered = sorted((int(length), n) for length, n in lengths.items())
    found: dict[str, int] = {}
    for quantile in _QUANTILES if total else ():
        left = quantile * total
        for length, n in ordered:
            left -= n
            if left <= 1e-9:
                found[f"p{round(100 * quantile)}"] = length
                break
    return found


# -- the page -------------------------------------------------------------------------------------


_TOP = """# {title}

{studies} studies, {images} images. Made by Hilum; research use only.

```python
from datasets import load_dataset

data = load_dataset("PATH")
```

## Splits

{splits}
Split {rule}; no patient is in two splits. *All normal* is the share of studies without a present or
uncertain finding other than support devices: a reader that always says normal scores it.

## Findings

{findings}
Who says so: {findings_source}.

{fractures}## Words and views

Languages: {languages}. Characters a report: {characters}.
Views: {views}.

## Cleaning

{flags}
{quarantined}
{errors}Every refused study is in quarantine.jsonl, with its place in the source.

## Licence

**{licence}**, the strictest of: {licences}. Sources: {sources}. {url}

## How it was made

```
{command}
```

```json
{settings}
```

The sha256 of every data file stands in card.json.
"""
_SHEET = "\n![some of the films](contact_sheet.png)\n"


def page(card: dict[str, Any]) -> str:
    """README.md of a dataset: the header that ``datasets`` reads, then tables."""
    told, rows = card["facts"], card["facts"]["rows"]
    total = sum(rows.values())
    heads = ("split", "studies", "patients", "images", "all normal")
    splits = [
        (s, n, told["patients"].get(s, 0), told["images"].get(s, 0), _share(told["normal"], s, n))
        for s, n in rows.items()
    ]
    how = {"settings": card["settings"], "versions": card["versions"]}
    lists = ("findings_source", "languages", "characters", "views", "licences", "sources")
    body = _TOP.format(
        title=card["title"],
        studies=total,
        images=sum(told["images"].values()),
        splits=_table(heads, splits),
        rule=card["split"]["rule"],
        findings=_findings_table(told, total),
        fractures=_fractures(told),
        flags=_codes_table(
            "remark on a study that stayed", "No study has a remark.", told["flags"]
        ),
        quarantined=_codes_table(
            "why a study was refused", "No study was refused.", told["quarantined"]
        ),
        errors=_errors(told),
        licence=told["licence"],
        url=card["url"],
        command=card["command"],
        settings=json.dumps(how),
        **{name: _listed(told[name]) for name in lists},
    )
    return _header(told, list(rows), total) + body + (_SHEET if card["sheet"] else "")


def _header(told: dict[str, Any], splits: list[str], total: int) -> str:
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    languages = [language for language in told["languages"] if language.isalpha()]
    lines += ["language:", *(f"- {language}" for language in languages)] if languages else []
    size = "n<1K" if total < 1000 else "1K<n<10K" if total < 10**4 else "10K<n<100K"
    lines += [f"size_categories:\n- {size if total < 10**5 else '100K<n<1M'}"]
    lines += ["license: other", f"license_name: {told['licence']}"]
    lines += ["tags:", "- radiology", "- chest-x-ray", "---", "", ""]
    return "\n".join(lines)


def _findings_table(told: dict[str, Any], total: int) -> str:
    splits = list(told["rows"])
    body = []
    for name, statuses in told["findings"].items():
        row = FINDINGS[FindingName(name)]
        present = [told["present_by_split"][name][split] for split in splits]
        mentioned = sum(statuses.values())
        counts = (*statuses.values(), total - mentioned)
        body.append((f"{row.en} {row.zh}", *counts, _share(statuses, "present", total), *present))
    heads = ("finding", *_STATUSES, "unmentioned", "prevalence")
    return _table((*heads, *(f"present in {split}" for split in splits)), body)


def _fractures(told: dict[str, Any]) -> str:
    counted = {kind: counts for kind, counts in told["fractures"].items() if counts}
    lines = [f"by {kind}: {_listed(counts)}" for kind, counts in counted.items()]
    return f"Fractures, each occurrence {'; '.join(lines)}.\n\n" if lines else ""


def _errors(told: dict[str, Any]) -> str:
    kinds = _listed(told["translation_errors"])
    return f"Refused translations by kind of error: {kinds}.\n\n" if kinds != "none" else ""


def _codes_table(title: str, none: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{none}\n"
    rows = [(f"`{code}`", Code(code).en, Code(code).zh, n) for code, n in counts.items()]
    return _table((title, "", "", "studies"), rows)


def _table(head: tuple[str, ...], body: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _share(counts: dict[str, int], of: str, whole: int) -> str:
    return f"{100 * counts.get(of, 0) / whole:.1f} %" if whole else "-"
