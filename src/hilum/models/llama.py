"""A Phi-3 decoder as the Llama that it is: exporters and runtimes know Llama better.

Phi-3 (Abdin et al. 2024, arXiv 2404.14219) differs from Llama 2 in how weights are filed: query,
key and value are the rows of one ``qkv_proj``, gate and up those of one ``gate_up_proj``. The split
is exact: a weight file keeps its bytes, only its header is written anew. Its long rope has two sets
of factors, by length; the Llama has the first, so its context ends where that does.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.models.safety import header

# What a configuration leaves out: transformers' Phi3Config, which is Phi-3-mini-4k.
DEFAULTS: dict[str, Any] = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": 32000,
}
# Only in training, or said in other words below.
DROPPED = ("embd_pdrop", "resid_pdrop", "original_max_position_embeddings", "sliding_window")
LONG = ("longrope", "su", "yarn")  # old names of the same, as transformers reads Phi-3's


def llama_config(phi3: dict[str, Any]) -> dict[str, Any]:
    """A Phi-3's settings as a Llama's, both in transformers 4.57's words (``rope_scaling``).

    ``max_position_embeddings`` becomes the context in which both are the same: the first range of
    a long rope, the sliding window where that is shorter. Raises ``model_unsupported`` for a rope
    that turns a part of a head (Phi-4-mini) or is of another kind.
    """
    phi3 = {**DEFAULTS, **phi3}
    rope = dict(phi3.get("rope_scaling") or {})
    part = rope.get("partial_rotary_factor", phi3.get("partial_rotary_factor", 1.0))
    if part != 1:
        _refuse("partial_rotary_factor", f"{part}: a Llama's rope turns whole heads")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", *LONG):
        _refuse("rope_type", f"{kind}: default and longrope are known")
    first = phi3["max_position_embeddings"]
    scaling = None
    if kind in LONG:
        if not rope.get("short_factor"):
            _refuse("short_factor", "missing from the rope's settings")
        first = rope.get("original_max_position_embeddings")
        first = first or phi3["original_max_position_embeddings"]
        scaling = _first_range(rope, first, phi3["max_position_embeddings"])
    heads, _, width = _heads(phi3)
    return {k: v for k, v in phi3.items() if k not in DROPPED} | {
        "model_type": "llama",
        "num_key_value_heads": phi3.get("num_key_value_heads") or heads,
        "head_dim": width,
        "attention_bias": False,
        "mlp_bias": False,
        "rope_scaling": scaling,
        "max_position_embeddings": min(first, phi3.get("sliding_window") or first),
    }


def _first_range(rope: dict[str, Any], first: int, whole: int) -> dict[str, Any]:
    """A long rope that stays in its first range: which one it is in would hang on the whole batch.

    The attention factor is that of LongRoPE (Ding et al. 2024, arXiv 2402.13753) for the ratio of
    both lengths, as transformers computes it.
    """
    factor = rope.get("factor") or whole / first
    scale = math.sqrt(1 + math.log(factor) / math.log(first)) if factor > 1 else 1.0
    if rope.get("attention_factor") is not None:
        scale = rope["attention_factor"]
    short = rope["short_factor"]
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": short,
        "original_max_position_embeddings": first,
        "attention_factor": scale,
    }


def split_weights(source: Path, target: Path, phi3: dict[str, Any]) -> None:
    """Copy a safetensors file of a vision-language model with Phi-3's matrices as Llama's.

    Raises ``model_invalid`` for a file that is not whole, and for matrices that the settings do
    not fit.
    """
    header(source)  # is it whole?
    with source.open("rb") as file, target.open("xb") as out:
        raw = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        split: dict[str, Any] = {}
        for name, entry in raw.items():
            split |= _split(name, entry, phi3, source)
        words = json.dumps(split).encode()
        words += b" " * (-len(words) % 8)  # the format wants tensors at multiples of eight
        out.write(len(words).to_bytes(8, "little") + words)
        shutil.copyfileobj(file, out, 1 << 24)


def split_names(name: str, phi3: dict[str, Any]) -> list[str]:
    """The Llama's tensors that a tensor of this name becomes; itself where it is not fused."""
    rows = _rows(name, phi3)
    before, _, kind = name.rpartition(".")
    stem = before.rpartition(".")[0]
    return [f"{stem}.{part}.{kind}" for part in rows] or [name]


def _split(name: str, entry: dict[str, Any], phi3: dict[str, Any], file: Path) -> dict[str, Any]:
    rows = _rows(name, phi3)
    if not rows:
        return {name: entry}
    if entry["shape"][0] != sum(rows.values()):
        wrong = f"{name} has {entry['shape'][0]} rows, its settings say {sum(rows.values())}"
        raise HilumError(Code.MODEL_INVALID, file, wrong)
    begin, end = entry["data_offsets"]
    row = (end - begin) // entry["shape"][0]
    parts: dict[str, Any] = {}
    for part, count in zip(split_names(name, phi3), rows.values(), strict=True):
        shape = [count, *entry["shape"][1:]]
        parts[part] = {**entry, "shape": shape, "data_offsets": [begin, begin + count * row]}
        begin += count * row
    return parts


def _rows(name: str, phi3: dict[str, Any]) -> dict[str, int]:
    """What a fused tensor of the language model is made of: names and rows; empty for others."""
    steps = name.split(".")
    if "language_model" not in steps:
        return {}
    heads, groups, width = _heads(phi3)
    inner = int({**DEFAULTS, **phi3}["intermediate_size"])
    fused = {
        "qkv_proj": {"q_proj": heads * width, "k_proj": groups * width, "v_proj": groups * width},
        "gate_up_proj": {"gate_proj": inner, "up_proj": inner},
    }
    return fused.get(steps[-2], {})


def _heads(phi3: dict[str, Any]) -> tuple[int, int, int]:
    """Heads, heads of keys and values, and a head's width."""
    phi3 = {**DEFAULTS, **phi3}
    heads = int(phi3["num_attention_heads"])
    groups = int(phi3.get("num_key_value_heads") or heads)
    return heads, groups, int(phi3.get("head_dim") or phi3["hidden_size"] // heads)


def _refuse(setting: str, why: str) -> None:
    raise HilumError(Code.MODEL_UNSUPPORTED, f"phi3 {setting}", why)
