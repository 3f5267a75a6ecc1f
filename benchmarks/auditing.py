"""How well `hilum.language.audit` finds translations that change the medicine.

    python -m benchmarks.auditing

1. Pairs of gold: recall and precision of "unfaithful". A pair counts as caught only where an
   error of the audit overlaps a named gold error: its words or its rendering.
2. Corruptions: one injected into each pair that raises no alarm as it is, kind by kind; the
   share seen in gold's faithful pairs (`caught`), in all that gold has not read (`unread`), and
   in made-up findings written in both languages (`written`: kinds that captions seldom have).
   `false_alarms`: the share of gold's faithful pairs that raise one. `alarms_written`: of the
   written pairs; a paraphrase is no translation, so not all of these are false.
3. Seconds for every pair of the caption set. Gold: HILUM_DEV_DATA. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.labeling import DATA, half, lines_of, read_captions, score
from hilum.findings import Bone, Finding, FindingName, Instance, Side, Stage, Status
from hilum.language import Audit, audit, write

N = FindingName

WRITTEN = 400
Corrupt = Callable[[str, random.Random], str | None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--half", choices=["a", "b", "both"], default="both")
    parser.add_argument("--errors", action="store_true", help="name the pairs judged wrongly")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no gold at {DATA}; set HILUM_DEV_DATA")
    texts = {lang: read_captions(lang) for lang in ("en", "zh")}
    pairs = [p for p in gold() if args.half in ("both", half(p["study"]))]
    figures = {**on_gold(pairs, texts, args.errors), **on_corruptions(pairs, texts, args.errors)}
    for name, s in figures.items():
        print(f"{name:28} {s['value']:.4f}  {s['low']:.3f} to {s['high']:.3f}  n {s['n']:.0f}")
    seconds, count = speed()
    print(f"{count} pairs in {seconds:.1f} s of one core")
    out = {name: s["value"] for name, s in figures.items()}
    print(json.dumps({**out, "pairs": count, "seconds": round(seconds, 1)}))


def gold() -> list[dict[str, Any]]:
    """Every pair once: the two files overlap in no study."""
    rows = []
    for name in ("findings", "fracture"):
        rows += list(lines_of(f"openi/{name}_gold_en_zh.jsonl"))
    return rows


def on_gold(
    pairs: list[dict[str, Any]], texts: dict[str, dict[str, str]], errors: bool
) -> dict[str, Any]:
    named = said = right = unfaithful = alarms = 0
    for row in pairs:
        source, target = texts["en"][row["study"]], texts["zh"][row["study"]]
        found = audit(source, target, "en", "zh")
        said += not found.faithful
        unfaithful += not row["translation_faithful"]
        if row["translation_faithful"]:
            alarms += not found.faithful
        elif not found.faithful:
            right += 1
            named += any(caught(e, found, source, target) for e in row["errors"])
        if errors and found.faithful != row["translation_faithful"]:
            print(f"  gold {row['study']}: faithful is {row['translation_faithful']}")
    return {
        "recall_of_named_errors": score(named, unfaithful),
        "recall_unfaithful": score(right, unfaithful),
        "precision_unfaithful": score(right, said),
        "false_alarms": score(alarms, len(pairs) - unfaithful),
    }


def caught(error: str, found: Audit, source: str, target: str) -> bool:
    """Whether an error of the audit is about the words a gold error names."""
    told, _, wrong = error.partition("->")
    told_words = set(re.findall(r"[a-z]{4,}", told.split("]")[-1].lower()))
    wrong_words = "".join(re.findall(r"[\u3400-\u9fff]", wrong.partition("(")[0]))
    for e in found.errors:
        words = (
            set(re.findall(r"[a-z]{4,}", source[slice(*e.source)].lower())) if e.source else set()
        )
        there = target[slice(*e.target)] if e.target else ""
        if len(words) <= 4 and words & told_words:
            return True
        if len(there) <= 12 and there and (there in wrong_words or wrong_words in there):
            return True
    return False


def swap(pattern: str, *into: str, plain: bool = False) -> Corrupt:
    """Replaces one match of the pattern with one of ``into``.

    ``plain``: only where its sentence asserts: "if there is a fracture" loses nothing, and what
    is only suggested is hedged already.
    """

    def corrupt(text: str, rng: random.Random) -> str | None:
        found = list(re.finditer(pattern, text))
        if plain:
            found = [m for m in found if not _UNSURE.search(_around(text, m.start(), m.end()))]
        if not found:
            return None
        chosen = rng.choice(found)
        return text[: chosen.start()] + chosen.expand(rng.choice(into)) + text[chosen.end() :]

    return corrupt


def _around(text: str, start: int, end: int) -> str:
    """The sentence up to ``start``, and its clause from ``end``."""
    return text[:start].split("。")[-1] + re.split("[。，]", text[end:])[0]


_UNSURE = re.compile("可能|如果|疑|没有证据|没有发现|看不|不能|提示|表明|说明|未见")
_FINDING = "气胸|胸腔积液|骨折|肺炎|水肿|结节|肿块|肺不张|固结|浸润|实变"


def turned(text: str, rng: random.Random) -> str | None:
    found = list(re.finditer("[左右]", text))
    if not found:
        return None
    at = rng.choice(found).start()
    return text[:at] + ("右" if text[at] == "左" else "左") + text[at + 1 :]


def shifted(text: str, rng: random.Random) -> str | None:
    found = list(re.finditer(r"第(\d{1,2})(?=[^。，]{0,8}肋)", text))
    if not found:
        return None
    m = rng.choice(found)
    return text[: m.start(1)] + str(int(m[1]) % 12 + 1) + text[m.end(1) :]


def dropped(text: str, rng: random.Random) -> str | None:
    """Leaves out a sentence that alone names a finding."""
    parts = text.split("。")
    for k in rng.sample(range(len(parts)), len(parts)):
        names = set(re.findall(_FINDING, parts[k]))
        rest = "。".join(parts[:k] + parts[k + 1 :])
        if any(name not in rest for name in names):
            return rest
    return None


def added(text: str, rng: random.Random) -> str | None:
    """Says something more; a second mention of what is there already would add nothing."""
    more = {"气胸": "右侧可见气胸。", "肿块": "左肺有肿块。", "锁骨": "可见锁骨骨折。"}
    new = [said for word, said in more.items() if not _asserted(word, text)]
    return text + rng.choice(new) if new else None


def _asserted(word: str, text: str) -> bool:
    """Whether a sentence names it without denying or hedging it."""
    said = [s for s in text.split("。") if word in s]
    return any(not re.search("无|没|未|排除|除外|" + _UNSURE.pattern, s) for s in said)


CORRUPTIONS: dict[str, Corrupt] = {
    "negation": swap(rf"没有(?=[^。，有]{{0,6}}(?:{_FINDING}))|未见(?={_FINDING})", "有"),
    "negation_added": swap(
        r"(?<![没未])有(?=[^。，没]{0,8}(?:骨折|结节|肉芽肿))", "没有", plain=True
    ),
    "certainty": swap(
        rf"可能(?:是|代表|有|提示|存在|有)?(?=[^。，看]{{0,8}}(?:{_FINDING}))", "确定有"
    ),
    "certainty_added": swap(rf"(?<!没)有(?=[^。，没]{{0,6}}(?:{_FINDING}))", "可能有", plain=True),
    "certainty_behind": swap(r"(?<=[炎胸液张肿节])(?:可能|待排|不除外)(?=。)", ""),
    "certainty_added_behind": swap(rf"(?<=。)([左右]侧(?:{_FINDING}))(?=。)", r"\1可能"),
    "side": turned,
    "anatomy": swap("肺门|肺尖|锁骨|肱骨|纵[隔膈]|主动脉|膈肌|胸椎", "肝脏", "肾脏", "膀胱"),
    "organ": swap("心脏|肺部", "肝脏", "肾脏"),
    "rib_number": shifted,
    "stage": swap("陈旧性|陈旧|旧的?(?=[^。]{0,4}骨折)|愈合的", "急性"),
    "severity": swap("轻度|轻微|轻中度", "重度"),
    "device": swap("导管|起搏器|夹子?|胸管", "气管"),
    "finding": swap("气胸|胸腔积液|肺不张|固结|骨折", "囊肿", "支气管扩张"),
    "omission": dropped,
    "addition": added,
    "chat_residue": lambda text, rng: text + "如果您有任何问题，请随时联系我们。",
}


def on_corruptions(
    pairs: list[dict[str, Any]], texts: dict[str, dict[str, str]], errors: bool
) -> dict[str, Any]:
    """Corruptions of pairs that raise no alarm: gold's faithful ones, unread and written ones."""
    faithful = [row["study"] for row in pairs if row["translation_faithful"]]
    others = sorted(set(texts["en"]) - {row["study"] for row in pairs})
    made = dict(written())
    alarms = sum(not audit(source, target, "en", "zh").faithful for source, target in made.values())
    return {
        "alarms_written": score(alarms, len(made)),
        **corrupted({s: (texts["en"][s], texts["zh"][s]) for s in faithful}, "caught", errors),
        **corrupted({s: (texts["en"][s], texts["zh"][s]) for s in others}, "unread", errors),
        **corrupted(made, "written", errors),
    }


def written() -> Iterator[tuple[str, tuple[str, str]]]:
    """Made-up fractures and findings, in English by the template, in Chinese paraphrased."""
    rng = random.Random(11)
    for k in range(WRITTEN):
        findings = [_fracture(rng)]
        for name in rng.sample(OTHERS, 4):
            status = rng.choice(list(Status))
            hurt = status is not Status.ABSENT
            places = [Instance(side=rng.choice([Side.LEFT, Side.RIGHT]))] if hurt else []
            findings.append(Finding(name=name, status=status, instances=places))
        told = "".join(write([f], "zh", "paraphrase", seed=k) for f in findings)
        yield f"written {k}", (write(findings, "en"), told)


OTHERS = [N.PNEUMOTHORAX, N.PLEURAL_EFFUSION, N.PNEUMONIA, N.ATELECTASIS, N.NODULE, N.EDEMA]


def _fracture(rng: random.Random) -> Finding:
    first = rng.randint(1, 11)
    place = Instance(
        bone=Bone.RIB,
        side=rng.choice([Side.LEFT, Side.RIGHT]),
        ribs=[first] if rng.random() < 0.5 else [first, first + 1],
        stage=rng.choice(list(Stage)),
    )
    return Finding(name=N.FRACTURE, status=Status.PRESENT, instances=[place])


def corrupted(pairs: dict[str, tuple[str, str]], prefix: str, errors: bool) -> dict[str, Any]:
    """The share of corruptions seen, kind by kind."""
    rng = random.Random(5)
    figures = {}
    known = {name: audit(*pair, "en", "zh") for name, pair in pairs.items()}
    for kind, corrupt in CORRUPTIONS.items():
        tried = seen = 0
        for name, (source, target) in pairs.items():
            wrong = corrupt(target, rng) if known[name].faithful else None
            if wrong is None or wrong == target:
                continue
            after = audit(source, wrong, "en", "zh")
            hit = not after.faithful or len(after.errors) > len(known[name].errors)
            tried += 1
            seen += hit
            if errors and not hit:
                print(f"  {prefix} {kind} {name}: not seen")
        if tried:
            figures[f"{prefix}_{kind}"] = score(seen, tried)
    return figures


def speed() -> tuple[float, int]:
    rows = {}
    for lang in ("en", "zh"):
        text = (DATA / f"openi/xrayglm_openi_{lang}.json").read_text(encoding="utf-8")
        rows[lang] = [row["caption"] for row in json.loads(text)["annotations"]]
    begun = time.process_time()
    for source, target in zip(rows["en"], rows["zh"], strict=True):
        audit(source, target, "en", "zh")
    return time.process_time() - begun, len(rows["en"])


if __name__ == "__main__":
    main()
