"""Whether a model's folder is whole, allowed, small enough, loads and answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.models.hub import changed_files, read_record
from hilum.models.libraries import need_torch
from hilum.models.licence import named, require_commercial, strictest
from hilum.models.load import load_model
from hilum.models.memory import PRECISIONS, cache_bytes, free_memory, size
from hilum.models.presets import Part
from hilum.models.processing import OUR_CODE, open_processor, torchvision_state
from hilum.models.safety import header, read_json, refuse_remote_code, weight_files

Verdict = Literal["ok", "failed", "skipped"]
NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Item:
    """One thing that was checked."""

    name: str
    verdict: Verdict
    detail: str
    code: Code | None = None


def check(
    folder: Path, commercial: bool = False, load: bool = True, trust_remote_code: bool = False
) -> list[Item]:
    """Check a model's folder; every item is checked whatever came of the others.

    ``load``: also open the model and let it answer on a grey square. Raises ``file_not_found``
    where there is no such folder.
    """
    if not folder.is_dir():
        raise HilumError(Code.FILE_NOT_FOUND, folder, "hilum models fetch gets a model")
    steps: list[tuple[str, Any]] = [
        ("files", lambda: _files(folder)),
        ("hashes", lambda: _hashes(folder)),
        ("licence", lambda: _licence(folder, commercial)),
        ("program code", lambda: _program_code(folder, trust_remote_code)),
        ("memory", lambda: _memory(folder)),
        ("torchvision", _torchvision),
    ]
    items = [_item(name, step) for name, step in steps]
    failed = [item.name for item in items if item.verdict == "failed" and item.name != "licence"]
    if not load or failed:
        why = "not asked for" if not load else f"after {failed[0]}"
        return [*items, Item("loads", "skipped", why), Item("answers", "skipped", why)]
    loaded: dict[str, Any] = {}
    items.append(_item("loads", lambda: _loads(folder, loaded, trust_remote_code)))
    if "model" not in loaded:
        return [*items, Item("answers", "skipped", "not loaded")]
    if loaded["model"].config.model_type == "vision-encoder-decoder":
        return [*items, Item("answers", "skipped", "hilum read asks the embedded reader")]
    return [*items, _item("answers", lambda: _answers(folder, loaded, trust_remote_code))]


def _item(name: str, step: Any) -> Item:
    try:
        said = step()
    except HilumError as error:
        return Item(name, "failed", error.line(), error.code)
    return said if isinstance(said, Item) else Item(name, "ok", said)


def _files(folder: Path) -> str:
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise HilumError(Code.MODEL_INCOMPLETE, folder, ", ".join(missing))
    sizes = [len(header(path)) for path in weight_files(folder)]
    return f"{sum(sizes)} tensors in {len(sizes)} files"


def _hashes(folder: Path) -> str | Item:
    record = read_record(folder)
    if record is None:
        return Item("hashes", "skipped", "not fetched by Hilum, so there is nothing to compare")
    if changed := changed_files(folder, record):
        raise HilumError(Code.MODEL_INVALID, folder, f"not as fetched: {', '.join(changed[:3])}")
    return f"{len(record.files)} files as fetched, revision {record.revision[:12]}"


def _licence(folder: Path, commercial: bool) -> str:
    parts = parts_of(folder)
    if commercial:
        require_commercial(folder.name, parts)
    bound = strictest(parts)
    uses = {"yes": "commercial use allowed", "terms": "commercial use on its terms"}
    return f"{bound.name}: {uses.get(bound.commercial, 'not for commercial use')}"


def parts_of(folder: Path) -> list[Part]:
    """The parts of a folder's model: its fetch record, or the licence its card names."""
    record = read_record(folder)
    if record is not None and record.parts:
        return record.parts
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8").splitlines()[:40] if card.is_file() else []
    said = dict(line.split(":", 1) for line in lines if line.startswith("license") and ":" in line)
    word = said.get("license_name") or said.get("license") or "unknown"
    return [Part(part="whole", source=folder.name, licence=named(word))]


def _program_code(folder: Path, allowed: bool) -> str:
    kind = read_json(folder / "config.json").get("model_type")
    if kind in OUR_CODE and not allowed:
        return "not run: Hilum has the architecture"
    return refuse_remote_code(folder, allowed) or "none"


def _memory(folder: Path) -> str:
    """Weights in each precision, and what a thousand tokens of context add in bfloat16."""
    shapes = [entry["shape"] for path in weight_files(folder) for entry in header(path).values()]
    parameters = sum(math.prod(shape) for shape in shapes)
    weights = ", ".join(f"{name} {size(parameters * b)}" for name, b in PRECISIONS.items())
    context = cache_bytes(read_json(folder / "config.json"))
    tail = f"; {size(context * 1000)} for 1,000 tokens" if context else ""
    return f"{parameters:,} parameters: {weights}{tail}"


def _torchvision() -> str:
    state = torchvision_state()
    if state == "broken":
        raise HilumError(Code.TORCHVISION_BROKEN, "torchvision", "pip uninstall torchvision")
    return {"works": "works", "absent": "absent, and not needed: films are no videos"}[state]


def _loads(folder: Path, loaded: dict[str, Any], trust_remote_code: bool) -> str | Item:
    torch = need_torch()
    needed, free = sum(p.stat().st_size for p in weight_files(folder)), free_memory()
    if needed > free:
        why = f"needs {size(needed)}, {size(free)} are free"
        return Item("loads", "skipped", why)
    model = load_model(folder, "auto", trust_remote_code)
    loaded["model"] = model
    kind = str(model.dtype).removeprefix("torch.")
    return f"{type(model).__name__} in {kind}, torch {torch.__version__}"


def _answers(folder: Path, loaded: dict[str, Any], trust_remote_code: bool) -> str:
    """Eight tokens on a grey square: that it runs, not what it says."""
    import torch
    from PIL import Image

    processor = open_processor(folder, trust_remote_code)
    square = Image.new("RGB", (224, 224), (128, 128, 128))
    content = [{"type": "image"}, {"type": "text", "text": "Describe this chest X-ray."}]
    try:
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = processor(text=[prompt], images=[square], return_tensors="pt")
        inputs = inputs.to(loaded["model"].dtype)
        with torch.inference_mode():
            written = loaded["model"].generate(**inputs, max_new_tokens=8, do_sample=False)
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(Code.MODEL_INVALID, folder, f"answer: {type(error).__name__}") from error
    new = written.shape[1] - inputs["input_ids"].shape[1]
    return f"{new} tokens after a prompt of {inputs['input_ids'].shape[1]}"
