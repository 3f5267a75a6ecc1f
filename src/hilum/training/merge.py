"""A run becomes a model: what was trained goes into the full-precision base, and it is proven.

The saved folder is opened again and every tensor compared with what was in memory; the logits of
adapters beside the base and of the merged model are compared in float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training import checkpoint, parts
from hilum.training.build import open_chat
from hilum.training.collate import Chat, Collator
from hilum.training.corpus import Corpus, Sample
from hilum.training.recipe import Recipe, load
from hilum.training.sft import RECIPE, read_run

MERGE = "merge.json"
# Of the largest logit: what float32 sums in another order may differ by.
TOLERANCE = 1e-4
# Encoders whose tensors vLLM's native LLaVA and Gemma 3 classes look for under vision_model;
# transformers 5.19 to 5.23 writes them without, and opens both.
NESTED = ("clip_vision_model", "siglip_vision_model")
BARE, FULL = "vision_tower.", "vision_tower.vision_model."
SAMPLES = 2


@dataclass
class Merged:
    """What was merged and how exactly.

    ``logits``: the largest difference between adapters and merged model over the largest logit,
    in float32; ``rounded``: the same after saving in ``dtype``; ``renamed``: tensors named as
    vLLM's classes want them.
    """

    folder: str
    base: str
    checkpoint: str
    tensors: int
    adapted: int
    full: int
    tied: bool
    dtype: str
    logits: float
    rounded: float
    renamed: int
    parts: dict[str, str] = field(default_factory=dict)


def merge(
    run: Path,
    target: Path,
    which: str = "best",
    dtype: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Merged:
    """Merge a run's checkpoint into its base and write a whole model into ``target``.

    ``which``: best, last, or checkpoint-N. ``dtype``: of the saved weights; the base's own where
    it is None. Raises ``run_not_found``, ``output_exists``, ``merge_differs`` (with the tensors
    that are missing or differ; nothing is left in ``target`` then), ``model_invalid``.
    """
    from hilum.models.processing import quiet

    quiet()
    recipe = load(run / RECIPE) if (run / RECIPE).is_file() else None
    if recipe is None:
        raise HilumError(Code.RUN_NOT_FOUND, run, f"no {RECIPE}")
    chosen = _chosen(run, which)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HilumError(Code.OUTPUT_EXISTS, target, "not an empty folder")
    base = Path(recipe.model.path)
    model, kind = _open(base, recipe)
    checkpoint.load_trained(model, chosen)
    chat = open_chat(recipe, model)
    batch = _probe(recipe, chat)
    before = _logits(model, batch)
    counted = _count(model)
    plain = _merged(model)
    after = _logits(plain, batch)
    exact = _apart(before, after)
    if not exact <= TOLERANCE:  # what is no number is no agreement
        raise HilumError(Code.MERGE_DIFFERS, run, f"logits differ by {exact:.1e} of the largest")
    say(f"adapters and merged model agree to {exact:.1e} of the largest logit")
    try:
        done = _write(plain, chat, target, dtype or kind)
        rounded = _reopened(plain, target, batch, before)
        merged = Merged(
            folder=str(target),
            base=str(base),
            checkpoint=chosen.name,
            tensors=len(plain.state_dict()),
            adapted=counted[0],
            full=counted[1],
            tied=bool(plain.config.tie_word_embeddings),
            dtype=dtype or kind,
            logits=exact,
            rounded=rounded,
            renamed=done,
            parts={name: part.train for name, part in recipe.parts.items()},
        )
        _finish(recipe, run, target, chat, merged)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return merged


def _chosen(run: Path, which: str) -> Path:
    whole = checkpoint.checkpoints(run)
    if not whole:
        raise HilumError(Code.RUN_NOT_FOUND, run, "no whole checkpoint")
    if which == "last":
        return whole[-1]
    wanted = str(read_run(run).get("best") or whole[-1].name) if which == "best" else which
    found = [p for p in whole if p.name == wanted]
    if not found:
        there = ", ".join(p.name for p in whole)
        raise HilumError(Code.RUN_NOT_FOUND, run / wanted, f"there are {there}")
    return found[0]


def _open(base: Path, recipe: Recipe) -> tuple[Any, str]:
    """The base in float32 with the run's adapters and parts, and the type of its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    import hilum.models.maira2  # registers MAIRA-2's architecture, and the tower
    import hilum.models.tower  # noqa: F401
    from hilum.models.safety import weight_files

    weight_files(base)
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            base, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(Code.MODEL_INVALID, base, type(error).__name__) from error
    kind = str(config.dtype or torch.float32).removeprefix("torch.")
    return parts.prepare(model, recipe).eval(), kind


def _probe(recipe: Recipe, chat: Chat) -> dict[str, Any]:
    """Some samples of the data to compare answers on; a grey film where the data are gone."""
    try:
        corpus = Corpus(recipe.data, "train", recipe.seed)
        samples = [corpus.sample(t) for t in corpus.tasks[:SAMPLES]]
    except HilumError:
        samples = [_grey(recipe)]
    return Collator(chat)(samples)


def _grey(recipe: Recipe) -> Sample:
    import io

    from PIL import Image

    film = io.BytesIO()
    Image.linear_gradient("L").save(film, "PNG")
    language = recipe.data.languages[0]
    prompt = recipe.data.prompts[language]
    return Sample("probe", language, prompt, recipe.data.answers[language][0], (film.getvalue(),))


def _logits(model: Any, batch: dict[str, Any]) -> Any:
    import torch

    given = {k: v for k, v in batch.items() if k != "labels"}
    with torch.inference_mode():
        return model(**given).logits[batch["labels"] != -100]


def _apart(one: Any, other: Any) -> float:
    return float((one.float() - other.float()).abs().max() / one.float().abs().max())


def _count(model: Any) -> tuple[int, int]:
    names = [name for name, _ in parts.trainable(model)]
    return sum("lora_A" in n for n in names), sum("lora_" not in n for n in names)


def _merged(model: Any) -> Any:
    """The plain model with the adapters in its weights."""
    if not hasattr(model, "peft_config"):
        return model
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:  # what safe_merge says of weights that are no numbers
        wrong = "an adapter holds values that are no numbers"
        raise HilumError(Code.MERGE_DIFFERS, "", wrong) from error


def _write(model: Any, chat: Chat, target: Path, dtype: str) -> int:
    """Weights, configuration and processor; answers how many tensors were renamed."""
    import torch

    model.to(getattr(torch, dtype))
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target, state_dict=_untied(model), max_shard_size="4GB")
    chat.processor.save_pretrained(target)
    vision = getattr(model.config, "vision_config", None)
    nested = getattr(vision, "model_type", "") in NESTED
    return _rename(target) if nested else 0


def _untied(model: Any) -> dict[str, Any]:
    """Every tensor once: what is tied to another is left to the one it is tied to."""
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    return {n: t for n, t in model.state_dict().items() if n not in tied}


def _rename(folder: Path) -> int:
    """Vision tensors under the names that vLLM's native classes load."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    renamed = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as shard:
            tensors = {n: shard.get_tensor(n) for n in shard.keys()}  # noqa: SIM118
        fresh = {_nested(n): t for n, t in tensors.items()}
        renamed += sum(n not in tensors for n in fresh)
        part = path.with_suffix(".part")
        save_file(fresh, part, {"format": "pt"})
        part.replace(path)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        whole = json.loads(index.read_text(encoding="utf-8"))
        whole["weight_map"] = {_nested(n): f for n, f in whole["weight_map"].items()}
        index.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return renamed


def _nested(name: str) -> str:
    return FULL + name[len(BARE) :] if name.startswith(BARE) and not name.startswith(FULL) else name


def _reopened(model: Any, target: Path, batch: dict[str, Any], before: Any) -> float:
    """Open what was saved and compare every tensor; answers the logits' rounding error."""
    import torch
    from transformers import AutoModelForImageTextToText

    opened: Any = AutoModelForImageTextToText.from_pretrained(
        target, local_files_only=True, use_safetensors=True, dtype="auto", output_loading_info=True
    )
    saved, problems = opened
    if unfit := [f"{kind} {sorted(map(str, n))[:3]}" for kind, n in problems.items() if n]:
        raise HilumError(Code.MERGE_DIFFERS, target, "; ".join(unfit))
    have, want = saved.state_dict(), model.state_dict()
    wrong = [
        n
        for n in sorted(want | have)
        if n not in have
        or n not in want
        or have[n].dtype != want[n].dtype
        or not torch.equal(have[n], want[n])
    ]
    if wrong:
        detail = f"{len(wrong)} tensors missing or not as merged: {', '.join(wrong[:5])}"
        raise HilumError(Code.MERGE_DIFFERS, target, detail)
    head, words = saved.get_output_embeddings(), saved.get_input_embeddings()
    if saved.config.tie_word_embeddings and head.weight.data_ptr() != words.weight.data_ptr():
        raise HilumError(Code.MERGE_DIFFERS, target, "the embeddings are no longer tied")
    return _apart(before, _logits(saved.float().eval(), batch))


def _finish(recipe: Recipe, run: Path, target: Path, chat: Chat, merged: Merged) -> None:
    from hilum.training.card import write_card, write_reader

    write_reader(recipe, run, target)
    text = json.dumps(asdict(merged), indent=1, ensure_ascii=False)
    (target / MERGE).write_text(text, encoding="utf-8")
    write_card(recipe, run, target, merged)
