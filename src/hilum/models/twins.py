"""Twins: a family's real classes, processor and chat template with tiny random weights.

They are what can be tried of a model whose weights are not at hand: loading, batches, padding,
several images, saving. ``twins.yaml`` holds the sizes. A twin's answers mean nothing.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.models.compose import Composed, compose, template
from hilum.models.libraries import need_torch
from hilum.models.presets import Geometry, read_yaml
from hilum.models.processing import image_half, quiet

SIZES = Path(__file__).parent / "twins.yaml"
SHAPES = Path(__file__).parent / "shapes.yaml"
# What the tokenizer is trained on: enough for words of both languages to be more than bytes.
WORDS = (
    "Describe bones on this chest X-ray. No acute fracture is seen. The lungs are clear.",
    "Displaced fracture of the left sixth rib. The heart is enlarged. No pleural effusion.",
    "请描述这张胸部X光片的所见。未见急性骨折。左侧第六肋骨骨折。双肺清晰。心影增大。",
)
# Wide enough for every answer to hang on the film and the words; narrow in the embeddings, or a
# head tied to them would say the last word again.
STD, STD_WORDS = 0.25, 0.05
# Of a seeing twin's language model where nothing else is asked.
WIDTH = 64
# Of a twin that is to learn: adapters cannot make a frozen head's words longer. At that width; a
# wider one's layers are narrower in spread, so that sums stay as large.
LEARNING = (0.125, 0.2)
SEEING = ("gemma3", "llava-dinov2")


def families() -> list[str]:
    """The families that a twin can be made of."""
    return list(_sizes())


def make_twin(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a twin of the family into ``folder``, in the Hugging Face layout.

    The same seed gives the same weights. Raises ``preset_unknown`` for a family that has none:
    the embedded reader needs no twin, its weights are in the package.
    """
    if family not in _sizes():
        raise HilumError(Code.PRESET_UNKNOWN, family, f"twins: {', '.join(families())}")
    return _make(_sizes()[family], folder, seed, scatter=True)


def make_seeing_twin(
    family: str, folder: Path, seed: int = 0, reader: Path | None = None, width: int = WIDTH
) -> Path:
    """Write a twin whose vision tower is an embedded reader's encoder: it knows phantoms.

    ``family``: gemma3 or llava-dinov2 (whose tower is then no Dinov2); ``reader``: the packaged one
    where it is None; ``width``: of the language model, a multiple of 64. Projector and language are
    random. Raises ``preset_unknown``, ``model_invalid``, ``option_invalid``.
    """
    need_torch()
    from hilum.models import embedded, tower

    if family not in SEEING:
        raise HilumError(Code.PRESET_UNKNOWN, family, f"with a tower: {', '.join(SEEING)}")
    if width < WIDTH or width % WIDTH:
        raise HilumError(Code.OPTION_INVALID, f"--width {width}", f"take a multiple of {WIDTH}")
    encoder = tower.open_encoder(reader or embedded.WEIGHTS)
    shape: Any = encoder.config
    sizes = tower.sizes_around(_sizes()[family], tower.FilmTowerConfig.around(shape), width)
    return _make(sizes, folder, seed, scatter=True, encoder=encoder)


def shapes() -> list[str]:
    """The shapes that speed is measured with; see ``shapes.yaml``."""
    return list(read_yaml(SHAPES))


def make_shape(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a model of a shape for measuring speed: as a twin, but of a size that matters.

    Raises ``preset_unknown`` for an unknown name.
    """
    if name not in shapes():
        raise HilumError(Code.PRESET_UNKNOWN, name, f"shapes: {', '.join(shapes())}")
    shape = read_yaml(SHAPES)[name]
    sizes = _merged(_sizes()[shape.pop("twin")], shape)
    return _make(sizes, folder, seed, scatter=False)


def _merged(base: Any, over: Any) -> Any:
    """``over`` laid on ``base``, mapping by mapping."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _make(
    sizes: dict[str, Any], folder: Path, seed: int, scatter: bool, encoder: Any = None
) -> Path:
    torch = need_torch()
    quiet()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = _composed(sizes) if "compose" in sizes else _native(sizes)
        if scatter:
            _scatter(twin.model, *((STD, STD_WORDS) if encoder is None else _learning(sizes)))
        if encoder is not None:
            twin.model.model.vision_tower.encoder.load_state_dict(encoder.state_dict())
    twin.save(folder)
    if video := sizes.get("video"):  # published folders have this file; torchvision reads it
        settings = {"video_processor_type": video, **sizes["image_settings"]}
        (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def make_tokenizer(pad: str, eos: str, bos: str | None, special: list[str], **named: str) -> Any:
    """A byte-level BPE trained on the spot, with the special tokens first; pads on the left."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokens = dict.fromkeys([pad, eos, *([bos] if bos else []), *special, *named.values()])
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=360,
            special_tokens=list(tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=pad,
        eos_token=eos,
        bos_token=bos,
        padding_side="left",
        extra_special_tokens=named,
    )


def _composed(sizes: dict[str, Any]) -> Composed:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    tokenizer = _tokenizer(sizes)
    text = dict(
        sizes["text"], vocab_size=_vocabulary(sizes, len(tokenizer) + 1), **_specials(tokenizer)
    )
    encoder = AutoModel.from_config(_config(AutoConfig, sizes["vision"]))
    language = AutoModelForCausalLM.from_config(_config(AutoConfig, text))
    image = Geometry(tokens=None, mean=[0.5] * 3, std=[0.25] * 3, source="twin", **sizes["compose"])
    return compose(encoder, language, tokenizer, image, chat_template=sizes["template"])


def _native(sizes: dict[str, Any]) -> Composed:
    import transformers

    import hilum.models.maira2  # noqa: F401 - registers MAIRA-2's architecture

    tokenizer = _tokenizer(sizes)
    token = tokenizer.convert_tokens_to_ids
    settings = dict(sizes["config"], **{key: token(t) for key, t in sizes["ids"].items()})
    specials = _specials(tokenizer)
    vocabulary = _vocabulary(sizes, len(tokenizer))
    settings["text_config"] = dict(settings["text_config"], vocab_size=vocabulary, **specials)
    config = _config(transformers.AutoConfig, settings)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    stops = token(sizes.get("stops", [sizes["tokens"]["eos"]]))
    model.generation_config = transformers.GenerationConfig(**{**specials, "eos_token_id": stops})
    kind = getattr(transformers, sizes["processor"])
    processor = (image_half(kind) if "video" in sizes else kind)(
        getattr(transformers, sizes["images"])(**sizes["image_settings"]),
        tokenizer,
        chat_template=template(sizes["template"]),
        **sizes.get("settings", {}),
    )
    return Composed(model.eval(), processor)


def _tokenizer(sizes: dict[str, Any]) -> Any:
    tokens = sizes["tokens"]
    named = tokens.get("named", {})
    made = make_tokenizer(tokens["pad"], tokens["eos"], tokens["bos"], tokens["other"], **named)
    if "vocabulary" in sizes:
        _fill(made, sizes["vocabulary"] - 1)  # an image token may be added yet
    return made


def _fill(tokenizer: Any, count: int) -> None:
    """Words for all ids below ``count``, so that every id that a model says has its own text."""
    from tokenizers import Tokenizer

    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    words = raw["model"]["vocab"]
    words |= {f"w{i}.": i for i in range(len(words), count)}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(raw))


def _vocabulary(sizes: dict[str, Any], least: int) -> int:
    return int(sizes.get("vocabulary", least))


def _specials(tokenizer: Any) -> dict[str, int | None]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }


def _config(auto: Any, settings: dict[str, Any]) -> Any:
    rest = dict(settings)
    return auto.for_model(rest.pop("model_type"), **rest)


def _learning(sizes: dict[str, Any]) -> tuple[float, float]:
    """The spreads of a twin that is to learn."""
    text = sizes["text"] if "compose" in sizes else sizes["config"]["text_config"]
    std, words = LEARNING
    return std * (WIDTH / text["hidden_size"]) ** 0.5, words


def _scatter(model: Any, std: float, words: float) -> None:
    """Random weights wide enough to matter; a zero projector would hide the film."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                parameter.normal_(0, words if "embed_tokens" in name else std)


@cache
def _sizes() -> dict[str, dict[str, Any]]:
    sizes: dict[str, dict[str, Any]] = read_yaml(SIZES)
    return sizes
