"""Any vision encoder, a two-layer projector and any causal language model as one LLaVA.

The result is made of transformers' own classes: its folder opens anywhere, without Hilum. The
recipe is LLaVA-1.5's (Liu et al. 2023, arXiv 2310.03744); ChexFract's geometry is 518 px, patch 14,
``hidden_states[-2]``, class token dropped, 1369 tokens, no pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.models.libraries import need_torch
from hilum.models.presets import Geometry
from hilum.models.processing import image_processor, quiet

TEMPLATES = Path(__file__).parent / "templates"
IMAGE_TOKEN = "<image>"


@dataclass(frozen=True)
class Composed:
    """A model and the processor that goes with it."""

    model: Any
    processor: Any

    def save(self, folder: Path) -> Path:
        """Write both in the Hugging Face layout, weights as safetensors under published names."""
        self.model.save_pretrained(folder, state_dict=_published(self.model))
        self.processor.save_pretrained(folder)
        return folder


# transformers 5 left a step of these encoders' names out; published checkpoints, transformers 4 and
# vLLM have it, and transformers 5 reads both.
_LONGER = ("clip_vision_model", "siglip_vision_model")


def _published(model: Any) -> dict[str, Any]:
    """The model's tensors, named so that older readers find the encoder's too."""
    tower = "model.vision_tower."
    vision = getattr(model.config, "vision_config", None)
    longer = tower + ("vision_model." if getattr(vision, "model_type", "") in _LONGER else "")
    return {
        longer + name.removeprefix(tower) if name.startswith(tower) else name: tensor
        for name, tensor in model.state_dict().items()
    }


def template(name: str) -> str:
    """A chat template of ``templates/``; raises ``option_invalid`` for one that is not there."""
    path = TEMPLATES / f"{name}.jinja"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in TEMPLATES.glob("*.jinja")))
        raise HilumError(Code.OPTION_INVALID, "template", f"{name}: take one of {known}")
    return path.read_text(encoding="utf-8")


def compose(
    encoder: Any,
    language: Any,
    tokenizer: Any,
    image: Geometry,
    *,
    chat_template: str,
    stop_ids: list[int] | None = None,
    feature_layer: int = -2,
) -> Composed:
    """One LLaVA of an encoder, a language model (both transformers models) and its tokenizer.

    The parts' weights are taken over, not copied, in the language model's precision; the projector
    is new and random. The tokenizer
    gets an image token where it has none, and pads on the left. ``stop_ids`` end a text;
    the tokenizer's end of sequence where they are None. ``image.side`` and ``image.patch`` must be
    the encoder's.

    Raises ``option_invalid`` where the geometry does not fit the encoder, or the encoder has more
    than one token that is no patch.
    """
    torch = need_torch()
    from transformers import (
        GenerationConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    quiet()
    patches, extra = _tokens(encoder, image)
    strategy: Literal["default", "full"] = "default" if extra else "full"
    image_id = _image_token(tokenizer, language)
    config = LlavaConfig(
        vision_config=encoder.config,
        text_config=language.config,
        image_token_index=image_id,
        image_seq_length=patches,
        vision_feature_layer=feature_layer,
        vision_feature_select_strategy=strategy,
        tie_word_embeddings=bool(language.config.tie_word_embeddings),
    )
    with torch.device("meta"):  # the parts are there already: nothing is allocated twice
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = encoder.to(language.dtype)
    model.model.language_model = language.base_model
    model.lm_head = language.get_output_embeddings()
    model.model.multi_modal_projector = LlavaMultiModalProjector(config).to(language.dtype)
    stops = stop_ids or [tokenizer.eos_token_id]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stops[0]
    tokenizer.pad_token_id, tokenizer.padding_side = pad, "left"
    model.generation_config = GenerationConfig(
        eos_token_id=stops, pad_token_id=pad, bos_token_id=tokenizer.bos_token_id
    )
    processor = LlavaProcessor(
        image_processor(image),
        tokenizer,
        patch_size=image.patch,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=extra,
        chat_template=template(chat_template),
        image_token=IMAGE_TOKEN,
    )
    return Composed(model.eval(), processor)


def _tokens(encoder: Any, image: Geometry) -> tuple[int, int]:
    """Patches an image, and tokens before them (a class token), found by encoding a blank one."""
    import torch

    if not image.side or not image.patch or image.side % image.patch:
        raise HilumError(Code.OPTION_INVALID, "geometry", f"{image.side} px in {image.patch} px")
    patches = (image.side // image.patch) ** 2
    blank = torch.zeros(1, 3, image.side, image.side, dtype=encoder.dtype, device=encoder.device)
    try:
        with torch.inference_mode():
            length = encoder.eval()(pixel_values=blank).last_hidden_state.shape[1]
    except (ValueError, RuntimeError) as error:
        raise HilumError(
            Code.OPTION_INVALID, "geometry", f"the encoder does not take {image.side} px"
        ) from error
    if length - patches not in (0, 1):
        wrong = f"{length} tokens for {patches} patches; LLaVA drops one class token at most"
        raise HilumError(Code.OPTION_INVALID, "encoder", wrong)
    return patches, length - patches


def _image_token(tokenizer: Any, language: Any) -> int:
    """The image token's id; the embeddings grow where they have no row for it."""
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        from tokenizers import AddedToken

        tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    if len(tokenizer) > language.config.vocab_size:
        language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
