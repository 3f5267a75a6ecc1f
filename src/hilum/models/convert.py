"""A published ChexFract checkpoint (layout ``phi3_dino``) into transformers' LLaVA classes.

The release opens only with its own program code, one prompt at a time, and stops at the wrong
token. Here nothing of that code is run: its tensors are found by shape and by the names inside each
part, renamed and written shard by shard, so that memory holds one shard at a time. What the
release calls by another name than ours is the prefix of each part, not the part itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.models.compose import IMAGE_TOKEN, template
from hilum.models.layout import Parts
from hilum.models.libraries import need_torch
from hilum.models.licence import strictest
from hilum.models.presets import Geometry, Preset, find
from hilum.models.processing import image_processor, quiet
from hilum.models.safety import header, weight_files

LAYOUT = "phi3_dino"
STOPS = ("<|end|>", "<|endoftext|>")


@dataclass
class Conversion:
    """What was done: written beside the weights as ``conversion.json``."""

    layout: str
    encoder: str
    side: int
    patch: int
    tokens: int
    fit: str
    stop_ids_before: list[int]
    stop_ids: list[int]
    image_token_id: int
    tensors: int
    dropped: list[str] = field(default_factory=list)


def convert(
    source: Path,
    target: Path,
    fit: Literal["crop", "pad", "stretch"] | None = None,
    heads: int | None = None,
) -> Conversion:
    """Convert the checkpoint in ``source`` into ``target``.

    ``fit``: the published geometry where it is None; pad keeps the whole film, but the published
    numbers do not hold for it. ``heads``: attention heads of the encoder, width / 64 where None.
    Raises ``model_invalid`` with the tensor that does not fit, ``model_incomplete``,
    ``pickle_refused``, ``output_unwritable`` where ``target`` holds something.
    """
    need_torch()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HilumError(Code.OUTPUT_UNWRITABLE, target, "not an empty folder")
    quiet()
    settings = _settings(source)
    files = weight_files(source)
    shapes = {n: e["shape"] for path in files for n, e in header(path).items()}
    parts = Parts.find(source, shapes)
    names, dropped = parts.renames(source, shapes)
    vision = parts.encoder_config(shapes, settings, heads)
    side, patch = vision["image_size"], vision["patch_size"]
    image = _geometry(source, parts.encoder, side, patch, fit)
    words = _tokenizer(source)
    rows = shapes[parts.language + "embed_tokens.weight"][0]
    image_id = words.convert_tokens_to_ids(IMAGE_TOKEN)
    if image_id >= rows:
        raise HilumError(Code.MODEL_INVALID, source, f"no row is free for {IMAGE_TOKEN}")
    stops = [words.convert_tokens_to_ids(s) for s in STOPS if s in words.get_vocab()]
    config = _config(settings, vision, image_id, parts, shapes)
    config.text_config.eos_token_id = stops or [words.eos_token_id]
    config.text_config.pad_token_id = words.pad_token_id
    _check(source, config, {new: shapes[old] for old, new in names.items()})
    done = Conversion(
        layout=LAYOUT,
        encoder=parts.encoder,
        side=side,
        patch=patch,
        tokens=(side // patch) ** 2,
        fit=image.fit,
        stop_ids_before=_as_list(settings.get("eos_token_id")),
        stop_ids=stops or [words.eos_token_id],
        image_token_id=image_id,
        tensors=len(names),
        dropped=dropped,
    )
    _write(target, files, names, config, words, image, parts, done)
    return done


def _settings(source: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
        kind = settings.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise HilumError(
            Code.MODEL_INVALID, source / "config.json", type(error).__name__
        ) from error
    if kind != LAYOUT:
        raise HilumError(Code.MODEL_INVALID, source, f"model_type {kind}, not {LAYOUT}")
    return settings


def _tokenizer(source: Path) -> Any:
    """The release's tokenizer with an image token, padding on the left."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    try:
        words = PreTrainedTokenizerFast.from_pretrained(source, local_files_only=True)
    except Exception as error:  # whatever the library makes of files that anyone may write
        raise HilumError(Code.MODEL_INVALID, source, "tokenizer.json") from error
    words.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    words.padding_side = "left"
    if words.pad_token_id is None:
        words.pad_token = words.eos_token
    return words


def _preset(encoder: str) -> Preset:
    return find("chexfract-maira2" if encoder == "dinov2" else "chexfract-chexagent")


def _geometry(source: Path, encoder: str, side: int, patch: int, fit: str | None) -> Geometry:
    """The preset's geometry with the checkpoint's own sizes, mean and deviation."""
    card = _preset(encoder).image
    path = source / "preprocessor_config.json"
    own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    changes = {
        "side": side,
        "patch": patch,
        "tokens": (side // patch) ** 2,
        "fit": fit or card.fit,
        "mean": own.get("image_mean", card.mean),
        "std": own.get("image_std", card.std),
    }
    return Geometry.model_validate({**card.model_dump(), **changes})


def _config(
    settings: dict[str, Any],
    vision: dict[str, Any],
    image_id: int,
    parts: Parts,
    shapes: dict[str, list[int]],
) -> Any:
    """LLaVA's configuration; the language model's keys are taken over as they are."""
    from transformers import LlavaConfig, Phi3Config

    foreign = {"model_type", "architectures", "auto_map", "dtype", "transformers_version"}
    text = {k: v for k, v in settings.items() if k in set(Phi3Config().to_dict()) - foreign}
    text["rope_parameters"] = _rope(settings)
    text["tie_word_embeddings"] = not parts.head
    text["vocab_size"] = shapes[parts.language + "embed_tokens.weight"][0]
    return LlavaConfig(
        vision_config=vision,
        text_config={"model_type": "phi3", **text},
        image_token_index=image_id,
        image_seq_length=(vision["image_size"] // vision["patch_size"]) ** 2,
        vision_feature_layer=(settings.get("img_processor") or {}).get("layer_idx", -2),
        vision_feature_select_strategy="default" if parts.encoder == "dinov2" else "full",
        tie_word_embeddings=not parts.head,
    )


def _rope(settings: dict[str, Any]) -> dict[str, Any]:
    """Rope in transformers 5's words: the release says "su" where it is "longrope" now."""
    rope = {"rope_type": "default", "rope_theta": settings.get("rope_theta", 10_000.0)}
    scaling = dict(settings.get("rope_scaling") or {})
    if (kind := scaling.pop("type", scaling.pop("rope_type", None))) in ("su", "longrope"):
        original = settings.get("original_max_position_embeddings", 4096)
        rope |= {"rope_type": "longrope", "original_max_position_embeddings": original}
    elif kind is not None:
        rope["rope_type"] = kind
    return {**rope, **scaling}


def _check(source: Path, config: Any, shapes: dict[str, list[int]]) -> None:
    """Every tensor of the new model is there in its shape, and no other."""
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    tied = set(model.all_tied_weights_keys)
    wanted = {n: list(p.shape) for n, p in model.state_dict().items() if n not in tied}
    have = {_native(name): shape for name, shape in shapes.items()}
    have.setdefault(
        "model.vision_tower.embeddings.mask_token", [1, config.vision_config.hidden_size]
    )
    if config.vision_config.model_type != "dinov2":
        have.pop("model.vision_tower.embeddings.mask_token")
    wrong = sorted(n for n in wanted | have if wanted.get(n) != have.get(n))
    if wrong:
        first = wrong[0]
        detail = f"{first}: {have.get(first)}, wanted {wanted.get(first)}"
        raise HilumError(Code.MODEL_INVALID, source, detail)


def _native(name: str) -> str:
    """A name of a LLaVA file as the model has it in memory (transformers 5)."""
    for old, new in (
        ("language_model.lm_head.", "lm_head."),
        ("language_model.model.", "model.language_model."),
        ("vision_tower.vision_model.", "model.vision_tower."),
        ("vision_tower.", "model.vision_tower."),
        ("multi_modal_projector.", "model.multi_modal_projector."),
    ):
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    for old, new in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        name = name.replace(f".attention.attention.{old}.", f".attention.{new}.")
    return name.replace(".attention.output.dense.", ".attention.o_proj.")


def _write(
    target: Path,
    files: list[Path],
    names: dict[str, str],
    config: Any,
    words: Any,
    image: Geometry,
    parts: Parts,
    done: Conversion,
) -> None:
    from transformers import GenerationConfig, LlavaProcessor

    target.mkdir(parents=True, exist_ok=True)
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = _write_weights(target, files, names, parts, config.vision_config.hidden_size)
    config.save_pretrained(target)
    GenerationConfig(
        eos_token_id=done.stop_ids,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
    ).save_pretrained(target)
    LlavaProcessor(
        image_processor(image),
        words,
        patch_size=done.patch,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(parts.encoder == "dinov2"),
        chat_template=template("phi3"),
        image_token=IMAGE_TOKEN,
    ).save_pretrained(target)
    text = json.dumps(asdict(done), indent=1)
    (target / "conversion.json").write_text(text, encoding="utf-8")
    (target / "README.md").write_text(_readme(parts.encoder, done), encoding="utf-8")


def _readme(encoder: str, done: Conversion) -> str:
    """A card that says what it is, and carries the licence on."""
    preset = _preset(encoder)
    named = "\n".join(f"- {p.part}: {p.source}, {p.licence}" for p in preset.parts)
    return (
        f"---\nlicense: other\nlicense_name: {strictest(preset.parts).id}\n---\n"
        f"# {preset.hub}, converted by Hilum\n\nParts and their licences:\n{named}\n\n"
        f"Films: {done.fit}, {done.side} px. Research use only; not for diagnosis.\n"
    )


def _write_weights(
    target: Path, files: list[Path], names: dict[str, str], parts: Parts, width: int
) -> str:
    """The shards under their new names, one in memory at a time; answers their type."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    mask = "vision_tower.embeddings.mask_token"
    where, total, kind = {}, 0, torch.float32
    for i, path in enumerate(files):
        with safe_open(path, "pt") as shard:
            tensors = {names[n]: shard.get_tensor(n) for n in shard.keys() if n in names}  # noqa: SIM118
        kind = next(iter(tensors.values())).dtype if tensors else kind
        if i == 0 and parts.encoder == "dinov2" and mask not in names.values():
            tensors[mask] = torch.zeros(1, width, dtype=kind)  # only training masks patches
        name = f"model-{i + 1:05d}-of-{len(files):05d}.safetensors"
        name = "model.safetensors" if len(files) == 1 else name
        save_file(tensors, target / name, {"format": "pt"})
        where.update(dict.fromkeys(tensors, name))
        total += sum(t.numel() * t.element_size() for t in tensors.values())
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        text = json.dumps(index, indent=1)
        (target / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return str(kind).removeprefix("torch.")


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]
