"""Whether a model's folder is whole, allowed, small enough, loads and answers."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.models.hub import changed_files, read_record
from hilum.models.licence import named, require_commercial, strictest
from hilum.models.presets import Part, need_torch
from hilum.models.processing import open_processor, quiet, torchvision_state
from hilum.models.safety import header, read_json, refuse_remote_code, weight_files

Verdict = Literal["ok", "failed", "skipped"]
# Bytes a parameter. Four bits have scales beside them: 4.5 bits (nf4, blocks of 64).
PRECISIONS = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5625}
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
        ("program code", lambda: refuse_remote_code(folder, trust_remote_code) or "none"),
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


def _memory(folder: Path) -> str:
    """Weights in each precision, and what a thousand tokens of context add in bfloat16."""
    shapes = [entry["shape"] for path in weight_files(folder) for entry in header(path).values()]
    parameters = sum(math.prod(shape) for shape in shapes)
    weights = ", ".join(f"{name} {size(parameters * b)}" for name, b in PRECISIONS.items())
    context = cache_bytes(read_json(folder / "config.json"))
    tail = f"; {size(context * 1000)} for 1,000 tokens" if context else ""
    return f"{parameters:,} parameters: {weights}{tail}"


def size(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def cache_bytes(config: dict[str, Any]) -> int:
    """Bytes of keys and values that one token leaves in bfloat16; 0 where it cannot be told."""
    text = config.get("text_config") or config
    layers, heads = text.get("num_hidden_layers"), text.get("num_attention_heads")
    if not isinstance(layers, int) or not isinstance(heads, int) or not heads:
        return 0
    width = text.get("head_dim") or text.get("hidden_size", 0) // heads
    return 2 * 2 * layers * int(text.get("num_key_value_heads") or heads) * int(width)


def _torchvision() -> str:
    state = torchvision_state()
    if state == "broken":
        raise HilumError(Code.TORCHVISION_BROKEN, "torchvision", "pip uninstall torchvision")
    return {"works": "works", "absent": "absent, and not needed: films are no videos"}[state]


def free_memory() -> int:
    """Bytes of memory that are free now."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _loads(folder: Path, loaded: dict[str, Any], trust_remote_code: bool) -> str | Item:
    torch = need_torch()
    from transformers import AutoModelForImageTextToText

    import hilum.models.embedded
    import hilum.models.maira2  # noqa: F401

    needed, free = sum(p.stat().st_size for p in weight_files(folder)), free_memory()
    if needed > free:
        why = f"needs {size(needed)}, {size(free)} are free"
        return Item("loads", "skipped", why)
    quiet()
    try:
        opened: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            dtype="auto",
            output_loading_info=True,
        )
    except Exception as error:  # whatever the libraries make of files that anyone may write
        wrong = f"{type(error).__name__}; a phi3_dino folder is for hilum models convert"
        raise HilumError(Code.MODEL_INVALID, folder, wrong) from error
    model, problems = opened
    if unfit := [
        f"{kind}: {sorted(map(str, names))[0]}" for kind, names in problems.items() if names
    ]:
        raise HilumError(Code.MODEL_INVALID, folder, "; ".join(unfit))
    loaded["model"] = model.eval()
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
