"""The proof of `hilum models convert`: logits of the converted model against the released layout.

    python -m benchmarks.conversion

Synthetic checkpoints of the phi3_dino layout (random weights, either encoder, one film, none, two)
are converted and opened with transformers' LLaVA classes; the same checkpoints run through a
forward pass written here with plain functions, which shares no code with either. Ends with 1 where
a logit differs by 1e-4 or a prompt's ids are not the release's.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm, linear, silu, softmax

from hilum.models.convert import convert
from hilum.models.processing import open_processor, quiet
from hilum.models.twins import make_tokenizer

LIMIT = 1e-4
ENCODERS = ("dinov2", "siglip")
WIDTH, LAYERS, PATCH, SIDE = 128, 3, 14, 56
TEXT, HEADS, DEPTH, INNER, ROWS, LONG = 64, 4, 2, 96, 400, 64
IMAGES = (SIDE // PATCH) ** 2
V, P = "model.vision_embed_tokens.img_processor.", "model.vision_embed_tokens.img_projection."
PROMPT = "<|user|>\n<|image_1|>\nDescribe bones on this chest X-ray<|end|>\n<|assistant|>\n"


def tensors(encoder: str) -> dict[str, Tensor]:
    """Random weights under the names of the release."""
    make = torch.Generator().manual_seed(1)

    def r(*shape: int, std: float = 0.15) -> Tensor:
        return torch.randn(*shape, generator=make) * std

    t = {
        "model.embed_tokens.weight": r(ROWS, TEXT, std=1.0),
        "model.norm.weight": 1 + r(TEXT),
        "lm_head.weight": r(ROWS, TEXT),
        P + "0.weight": r(TEXT, WIDTH),
        P + "0.bias": r(TEXT),
        P + "2.weight": r(TEXT, TEXT),
        P + "2.bias": r(TEXT),
        "model.vision_embed_tokens.glb_GN": r(1, 1, TEXT),
        "model.vision_embed_tokens.sub_GN": r(1, 1, 1, TEXT),
    }
    for i in range(DEPTH):
        layer = f"model.layers.{i}."
        t[layer + "input_layernorm.weight"] = 1 + r(TEXT)
        t[layer + "post_attention_layernorm.weight"] = 1 + r(TEXT)
        t[layer + "self_attn.qkv_proj.weight"] = r(3 * TEXT, TEXT)
        t[layer + "self_attn.o_proj.weight"] = r(TEXT, TEXT)
        t[layer + "mlp.gate_up_proj.weight"] = r(2 * INNER, TEXT)
        t[layer + "mlp.down_proj.weight"] = r(TEXT, INNER)
    return t | (dinov2(r) if encoder == "dinov2" else siglip(r))


def dinov2(r: Any) -> dict[str, Tensor]:
    t = {
        V + "embeddings.cls_token": r(1, 1, WIDTH),
        V + "embeddings.mask_token": r(1, WIDTH),
        V + "embeddings.position_embeddings": r(1, IMAGES + 1, WIDTH),
        V + "embeddings.patch_embeddings.projection.weight": r(WIDTH, 3, PATCH, PATCH),
        V + "embeddings.patch_embeddings.projection.bias": r(WIDTH),
        V + "layernorm.weight": 1 + r(WIDTH),
        V + "layernorm.bias": r(WIDTH),
    }
    for i in range(LAYERS):
        layer = f"{V}encoder.layer.{i}."
        for name in ("query", "key", "value"):
            t[f"{layer}attention.attention.{name}.weight"] = r(WIDTH, WIDTH)
            t[f"{layer}attention.attention.{name}.bias"] = r(WIDTH)
        t[layer + "attention.output.dense.weight"] = r(WIDTH, WIDTH)
        t[layer + "attention.output.dense.bias"] = r(WIDTH)
        for k in (1, 2):
            t[f"{layer}norm{k}.weight"] = 1 + r(WIDTH)
            t[f"{layer}norm{k}.bias"] = r(WIDTH)
            t[f"{layer}layer_scale{k}.lambda1"] = 1 + r(WIDTH)
        t[layer + "mlp.fc1.weight"], t[layer + "mlp.fc1.bias"] = r(4 * WIDTH, WIDTH), r(4 * WIDTH)
        t[layer + "mlp.fc2.weight"], t[layer + "mlp.fc2.bias"] = r(WIDTH, 4 * WIDTH), r(WIDTH)
    return t


def siglip(r: Any) -> dict[str, Tensor]:
    v = V + "vision_model."
    t = {
        v + "embeddings.patch_embedding.weight": r(WIDTH, 3, PATCH, PATCH),
        v + "embeddings.patch_embedding.bias": r(WIDTH),
        v + "embeddings.position_embedding.weight": r(IMAGES, WIDTH),
        v + "post_layernorm.weight": 1 + r(WIDTH),
        v + "post_layernorm.bias": r(WIDTH),
        v + "head.probe": r(1, 1, WIDTH),
    }
    for i in range(LAYERS):
        layer = f"{v}encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            t[f"{layer}self_attn.{name}.weight"] = r(WIDTH, WIDTH)
            t[f"{layer}self_attn.{name}.bias"] = r(WIDTH)
        for k in (1, 2):
            t[f"{layer}layer_norm{k}.weight"] = 1 + r(WIDTH)
            t[f"{layer}layer_norm{k}.bias"] = r(WIDTH)
        t[layer + "mlp.fc1.weight"], t[layer + "mlp.fc1.bias"] = r(4 * WIDTH, WIDTH), r(4 * WIDTH)
        t[layer + "mlp.fc2.weight"], t[layer + "mlp.fc2.bias"] = r(WIDTH, 4 * WIDTH), r(WIDTH)
    return t


SETTINGS: dict[str, Any] = {
    "model_type": "phi3_dino",
    "architectures": ["Phi3VForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_chexbones.ChexBones"},
    "hidden_size": TEXT,
    "intermediate_size": INNER,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "vocab_size": ROWS,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1024,
    "original_max_position_embeddings": LONG,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "type": "su",
        "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
        "long_factor": [2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5],
    },
    "eos_token_id": 2,
    "bos_token_id": 2,
    "pad_token_id": 0,
    "img_processor": {"layer_idx": -2, "num_img_tokens": IMAGES},
    "embd_layer": {"use_hd_transform": True, "projection_cls": "mlp"},
}


def checkpoint(folder: Path, encoder: str = "dinov2", shards: int = 1) -> Path:
    """A folder as the release's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    mean = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(mean))
    words = make_tokenizer("<|endoftext|>", "</s>", "<s>", ["<|user|>", "<|assistant|>", "<|end|>"])
    words.save_pretrained(folder)
    every = tensors(encoder)
    if shards == 1:
        save_file(every, folder / "model.safetensors")
        return folder
    names = [list(every)[i::shards] for i in range(shards)]
    files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    for some, file in zip(names, files, strict=True):
        save_file({n: every[n] for n in some}, folder / file)
    where = {n: file for some, file in zip(names, files, strict=True) for n in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


# -- the independent forward pass: the released layout, plain functions, one row, no padding


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    n, width = q.shape
    q, k, v = (x.view(n, heads, width // heads).transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) / math.sqrt(width // heads)
    if causal:
        scores = scores + torch.full((n, n), -torch.inf).triu(1)
    return (softmax(scores, -1) @ v).transpose(0, 1).reshape(n, width)


def see(t: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """Features after the last but one of ``LAYERS`` layers, without the class token."""
    part = V + "embeddings.patch_embeddings.projection."
    dino = part + "weight" in t
    part = part if dino else V + "vision_model.embeddings.patch_embedding."
    grid = conv2d(pixels[None], t[part + "weight"], t[part + "bias"], stride=PATCH)
    x = grid[0].flatten(1).T
    if dino:
        x = torch.cat([t[V + "embeddings.cls_token"][0], x])
        x = x + t[V + "embeddings.position_embeddings"][0]
    else:
        x = x + t[V + "vision_model.embeddings.position_embedding.weight"]
    for i in range(LAYERS - 1):
        x = block_dino(t, f"{V}encoder.layer.{i}.", x) if dino else block_siglip(t, i, x)
    return x[1:] if dino else x


def dense(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return linear(x, t[name + ".weight"], t[name + ".bias"])


def block_dino(t: dict[str, Tensor], layer: str, x: Tensor) -> Tensor:
    def norm(k: int, y: Tensor) -> Tensor:
        return layer_norm(y, (WIDTH,), t[f"{layer}norm{k}.weight"], t[f"{layer}norm{k}.bias"], 1e-6)

    y = norm(1, x)
    a = f"{layer}attention."
    q, k, v = (dense(t, f"{a}attention.{n}", y) for n in ("query", "key", "value"))
    y = dense(t, a + "output.dense", attend(q, k, v, WIDTH // 64))
    x = x + t[layer + "layer_scale1.lambda1"] * y
    y = dense(t, layer + "mlp.fc2", gelu(dense(t, layer + "mlp.fc1", norm(2, x))))
    return x + t[layer + "layer_scale2.lambda1"] * y


def block_siglip(t: dict[str, Tensor], i: int, x: Tensor) -> Tensor:
    layer = f"{V}vision_model.encoder.layers.{i}."

    def norm(k: int, y: Tensor) -> Tensor:
        name = f"{layer}layer_norm{k}"
        return layer_norm(y, (WIDTH,), t[name + ".weight"], t[name + ".bias"], 1e-6)

    y = norm(1, x)
    q, k, v = (dense(t, f"{layer}self_attn.{n}_proj", y) for n in "qkv")
    x = x + dense(t, layer + "self_attn.out_proj", attend(q, k, v, WIDTH // 64))
    y = dense(t, layer + "mlp.fc1", norm(2, x))
    return x + dense(t, layer + "mlp.fc2", gelu(y, approximate="tanh"))


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def rotate(x: Tensor) -> Tensor:
    """Phi-3's "su" rope: short factors up to the original length, long ones beyond."""
    n, head = x.shape[0], TEXT // HEADS
    kind = "short_factor" if n <= LONG else "long_factor"
    factors = torch.tensor(SETTINGS["rope_scaling"][kind])
    inverse = 1.0 / (factors * 10000.0 ** (torch.arange(0, head, 2) / head))
    scale = SETTINGS["max_position_embeddings"] / LONG
    stretch = math.sqrt(1 + math.log(scale) / math.log(LONG))
    angles = torch.outer(torch.arange(n).float(), inverse).repeat(1, 2)[:, None]
    x = x.view(n, HEADS, head)
    left, right = x.chunk(2, -1)
    turned = x * angles.cos() + torch.cat([-right, left], -1) * angles.sin()
    return (turned * stretch).reshape(n, TEXT)


def released(t: dict[str, Tensor], ids: list[int], pixels: list[Tensor]) -> Tensor:
    """Logits (length, vocabulary); runs of negative ids are where the images go, in order."""
    x = t["model.embed_tokens.weight"][[max(i, 0) for i in ids]].clone()
    places = [i for i, token in enumerate(ids) if token < 0]
    if places:
        seen = torch.cat([see(t, p) for p in pixels])
        seen = linear(gelu(linear(seen, t[P + "0.weight"], t[P + "0.bias"])), t[P + "2.weight"])
        x[places] = seen + t[P + "2.bias"]
    for i in range(DEPTH):
        layer = f"model.layers.{i}."
        y = rms(x, t[layer + "input_layernorm.weight"])
        q, k, v = linear(y, t[layer + "self_attn.qkv_proj.weight"]).chunk(3, -1)
        y = attend(rotate(q), rotate(k), v, HEADS, causal=True)
        x = x + linear(y, t[layer + "self_attn.o_proj.weight"])
        gate, up = linear(
            rms(x, t[layer + "post_attention_layernorm.weight"]),
            t[layer + "mlp.gate_up_proj.weight"],
        ).chunk(2, -1)
        x = x + linear(silu(gate) * up, t[layer + "mlp.down_proj.weight"])
    return linear(rms(x, t["model.norm.weight"]), t["lm_head.weight"])


def released_ids(words: Any, prompt: str) -> list[int]:
    """The release's own way: the pieces around <|image_1|>, with -1 for each image token."""
    before, *rest = prompt.split("<|image_1|>")
    ids = words.encode(before, add_special_tokens=False)
    for piece in rest:
        ids += [-1] * IMAGES + words.encode(piece, add_special_tokens=False)
    return list(ids)


def film(seed: int, rows: int = SIDE, columns: int = SIDE) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    return Image.fromarray(levels).convert("RGB")


def open_model(folder: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()


def chat(processor: Any, text: str, images: int = 1) -> str:
    content = [*[{"type": "image"}] * images, {"type": "text", "text": text}]
    turn = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(turn, add_generation_prompt=True))


QUESTION = "Describe bones on this chest X-ray"
# Text and images: one film as published, none, and two beyond the length of the short rope factors.
PROMPTS = ((QUESTION, 1), (QUESTION, 0), ("No acute fracture is seen. " * 20, 2))


def compare(
    encoder: str, text: str, images: int, folder: Path
) -> tuple[list[int], list[int], Tensor, Tensor]:
    """Ids and logits (length, vocabulary) of one prompt: converted, released."""
    source = checkpoint(folder / "source", encoder)
    convert(source, folder / "target", fit="crop")
    model, processor = open_model(folder / "target"), open_processor(folder / "target")
    films = [film(i) for i in range(images)]
    prompt = chat(processor, text, images)
    inputs = processor(text=[prompt], images=films or None, return_tensors="pt")
    image_id = model.config.image_token_id
    ids = [-1 if i == image_id else i for i in inputs["input_ids"][0].tolist()]
    said = "<|user|>\n" + "<|image_1|>\n" * images + f"{text}<|end|>\n<|assistant|>\n"
    wanted = released_ids(processor.tokenizer, said)
    with torch.inference_mode():
        got = model(**inputs).logits[0]
        pixels = list(inputs["pixel_values"]) if images else []
        want = released(load_file(source / "model.safetensors"), wanted, pixels)
    return ids, wanted, got, want


def main() -> int:
    quiet()
    wrong = 0
    print("encoder  films  tokens  spread of logits  largest difference  same next word  same ids")
    for encoder in ENCODERS:
        for text, images in PROMPTS:
            with tempfile.TemporaryDirectory() as folder:
                ids, wanted, got, want = compare(encoder, text, images, Path(folder))
            far = float((got - want).abs().max())
            same = float((got.argmax(-1) == want.argmax(-1)).float().mean())
            wrong += far >= LIMIT or ids != wanted
            print(
                f"{encoder:7}  {images:5}  {len(ids):6}  {float(want.std()):16.2f}  {far:18.1e}  "
                f"{same:14.1%}  {'yes' if ids == wanted else 'NO'}"
            )
    print(f"every logit within {LIMIT:.0e}" if not wrong else f"{wrong} of 6 differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
