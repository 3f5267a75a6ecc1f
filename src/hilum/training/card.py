"""What a merged model says of itself: its reader's card and its model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hilum.codes import HilumError
from hilum.models.check import parts_of
from hilum.models.licence import named, strictest
from hilum.models.presets import Part
from hilum.reading.reader import CARD, Card
from hilum.training.corpus import Corpus
from hilum.training.recipe import Recipe
from hilum.training.sft import read_run

if TYPE_CHECKING:
    from hilum.training.merge import Merged


def licence(recipe: Recipe) -> str:
    """The licence that binds the model: the strictest of the base's parts and the data's."""
    return strictest([*parts_of(Path(recipe.model.path)), *_data_parts(recipe)]).id


def _data_parts(recipe: Recipe) -> list[Part]:
    try:
        rows = Corpus(recipe.data, "train").rows
    except HilumError:
        return [Part(part="data", source=Path(recipe.data.path).name, licence="unknown")]
    words = sorted(set(rows["licence"]))
    return [Part(part="data", source=Path(recipe.data.path).name, licence=named(w)) for w in words]


def domain(recipe: Recipe) -> str:
    """phantom where every film learnt from was simulated; what was seen is not known: phantom."""
    try:
        views = Corpus(recipe.data, "train").rows["views"]
    except HilumError:
        return "phantom"
    return "phantom" if all(v["simulated"] for some in views for v in some) else "chest"


def write_reader(recipe: Recipe, run: Path, target: Path) -> None:
    """``reader.json``: prompts, questions, licence and domain, as the run had them."""
    kind = json.loads((target / "config.json").read_text(encoding="utf-8"))["model_type"]
    data = recipe.data
    first = data.languages[0]
    card = Card(
        name=recipe.name,
        architecture=kind,
        licence=licence(recipe),
        prompts={language: data.prompts[language] for language in data.languages},
        questions={name: asked[first] for name, asked in data.questions.items()},
        answers=data.answers[first],
        domain=domain(recipe),
        max_new_tokens=recipe.evaluation.max_new_tokens,
    )
    (target / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")


def write_card(recipe: Recipe, run: Path, target: Path, merged: Merged) -> None:
    """``README.md``: recipe, data, metrics beside the all-normal baseline, licence, hashes."""
    noted = read_run(run)
    front = {
        "license": "other",
        "license_name": licence(recipe),
        "base_model": Path(merged.base).name,
        "pipeline_tag": "image-text-to-text",
        "library_name": "transformers",
        "language": list(recipe.data.languages),
        "tags": ["radiology", "chest-x-ray", "hilum"],
    }
    trained = ", ".join(f"{name} {how}" for name, how in merged.parts.items())
    made = (
        f"Made by Hilum from {Path(merged.base).name}, {merged.checkpoint}: {trained}. "
        f"{merged.tensors} tensors, {merged.adapted} with adapters merged in, {merged.full} "
        f"trained in full; weights in {merged.dtype}. The logits of adapters and merged model "
        f"differ by {merged.logits:.1e} of the largest, saved ones by {merged.rounded:.1e}."
    )
    pieces = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {recipe.name}",
        "Research use only. Drafts for a radiologist to check, never a diagnosis on their own."
        + (" Trained on simulated chests alone." if domain(recipe) == "phantom" else ""),
        made,
        "## Validation\n\n" + _metrics(noted),
        "## Data\n\n" + _data(recipe, noted),
        "## Recipe\n\n```yaml\n" + _recipe(recipe) + "```",
        "## Files\n\n" + _hashes(target),
    ]
    (target / "README.md").write_text("\n\n".join(pieces) + "\n", encoding="utf-8")


def _metrics(noted: dict[str, Any]) -> str:
    numbers = {
        k.removeprefix("eval_"): v
        for k, v in (noted.get("numbers") or {}).items()
        if k.startswith("eval_")
    }
    if not numbers:
        return "None was measured."
    rows = "\n".join(f"| {k} | {v:.4g} |" for k, v in numbers.items())
    return (
        f"Of {noted.get('best')}; `all_normal` is a report that says nothing is wrong.\n\n"
        f"| metric | value |\n|---|---|\n{rows}"
    )


def _data(recipe: Recipe, noted: dict[str, Any]) -> str:
    path = Path(recipe.data.path) / "card.json"
    told = f"`{Path(recipe.data.path).name}`, fingerprint {noted.get('data')}."
    if not path.is_file():
        return told
    facts = json.loads(path.read_text(encoding="utf-8")).get("facts", {})
    rows = ", ".join(f"{split} {n}" for split, n in facts.get("rows", {}).items())
    return f"{told} Studies: {rows}. No patient is in two splits."


def _recipe(recipe: Recipe) -> str:
    """The recipe without the folders of the machine it ran on."""
    plain = recipe.model_dump(mode="json")
    plain["model"]["path"] = Path(recipe.model.path).name
    plain["data"]["path"] = Path(recipe.data.path).name
    if recipe.model.processor:
        plain["model"]["processor"] = Path(recipe.model.processor).name
    plain["output"] = ""
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _hashes(target: Path) -> str:
    lines = []
    for path in sorted(p for p in target.iterdir() if p.is_file() and p.name != "README.md"):
        with path.open("rb") as file:
            lines.append(f"- {path.name}: sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return "\n".join(lines)
