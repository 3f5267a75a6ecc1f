"""Composition: ChexFract's geometry, any language model, whole films and cropped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hilum.codes import Code, HilumError
from hilum.models.compose import IMAGE_TOKEN, Composed, compose, template
from hilum.models.presets import Geometry, find
from hilum.models.processing import image_processor, kept
from hilum.models.twins import make_tokenizer


def tokenizer() -> Any:
    return make_tokenizer("<|endoftext|>", "<|end|>", "<s>", ["<|user|>", "<|assistant|>"])


def geometry(fit: str = "crop", side: int | None = 56, patch: int | None = 14) -> Geometry:
    mean, std = [0.5307] * 3, [0.2583] * 3
    return Geometry(fit=fit, side=side, patch=patch, tokens=None, mean=mean, std=std, source="test")  # type: ignore[arg-type]


def dinov2(side: int = 56) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=side, patch_size=14
    )
    return Dinov2Model(config).eval()


def language(kind: str = "phi3", vocab: int = 400, tied: bool = False) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": tied,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    }
    if kind == "phi3":
        sizes["original_max_position_embeddings"] = 2048
    if kind == "gemma3_text":
        sizes["head_dim"] = 8
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


def film(rows: int, columns: int) -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (rows, columns), dtype=np.uint8)
    return Image.fromarray(levels).convert("RGB")


def ask(composed: Composed, image: Image.Image) -> Any:
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    prompt = composed.processor.apply_chat_template(turn, add_generation_prompt=True)
    return composed.processor(text=[prompt], images=[image], return_tensors="pt")


def test_chexfract_takes_1369_tokens_of_the_last_but_one_layer_without_the_class_token() -> None:
    torch.manual_seed(0)
    card = find("chexfract-maira2")
    encoder = dinov2(518)
    composed = compose(encoder, language(), tokenizer(), card.image, chat_template="phi3")
    inputs = ask(composed, film(600, 700))
    assert inputs["pixel_values"].shape == (1, 3, 518, 518)
    image_id = composed.model.config.image_token_id
    assert (inputs["input_ids"] == image_id).sum() == card.image.tokens == 1369
    with torch.inference_mode():
        layers = encoder(inputs["pixel_values"], output_hidden_states=True).hidden_states
        assert len(layers) == 4  # the embeddings and three layers
        want = composed.model.model.multi_modal_projector(layers[2][:, 1:])
        features = composed.model.get_image_features(inputs["pixel_values"]).pooler_output[0]
    assert features.shape == (1369, 32)
    assert torch.equal(features, want[0])


@pytest.mark.parametrize("kind", ["phi3", "llama", "qwen2", "gemma3_text"])
@pytest.mark.parametrize("tied", [False, True])
def test_any_language_model_is_saved_and_read_back(kind: str, tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    torch.manual_seed(0)
    composed = compose(
        dinov2(), language(kind, tied=tied), tokenizer(), geometry(), chat_template="phi3"
    )
    inputs = ask(composed, film(60, 70))
    composed.save(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert AutoProcessor.from_pretrained(tmp_path).image_token == IMAGE_TOKEN
    with torch.inference_mode():
        assert torch.equal(again(**inputs).logits, composed.model(**inputs).logits)
    shared = again.lm_head.weight is again.model.language_model.embed_tokens.weight
    assert shared is tied


def test_the_embeddings_grow_where_the_image_token_has_no_row() -> None:
    words = tokenizer()
    model = language(vocab=len(words))
    composed = compose(dinov2(), model, words, geometry(), chat_template="phi3")
    assert composed.model.config.image_token_id == len(words) - 1
    assert composed.model.config.text_config.vocab_size == len(words)
    assert composed.model.lm_head.weight.shape[0] == len(words)
    assert torch.isfinite(composed.model(**ask(composed, film(60, 70))).logits).all()


def test_a_spare_row_is_used_before_the_embeddings_grow() -> None:
    composed = compose(dinov2(), language(vocab=500), tokenizer(), geometry(), chat_template="phi3")
    assert composed.model.lm_head.weight.shape[0] == 500


def test_stop_ids_and_left_padding_are_written_down() -> None:
    composed = compose(
        dinov2(), language(), tokenizer(), geometry(), chat_template="phi3", stop_ids=[1, 3]
    )
    assert composed.model.generation_config.eos_token_id == [1, 3]
    assert composed.processor.tokenizer.padding_side == "left"


@pytest.mark.parametrize(
    ("side", "patch"), [(50, 14), (70, 7), (None, 14), (56, None), (0, 14), (56, 28)]
)
def test_a_geometry_that_is_not_the_encoders_is_refused(side: int, patch: int) -> None:
    with pytest.raises(HilumError) as caught:
        compose(
            dinov2(), language(), tokenizer(), geometry("crop", side, patch), chat_template="phi3"
        )
    assert caught.value.code is Code.OPTION_INVALID


def test_an_encoder_with_register_tokens_is_refused() -> None:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    with pytest.raises(HilumError) as caught:
        compose(
            Dinov2WithRegistersModel(config),
            language(),
            tokenizer(),
            geometry(),
            chat_template="phi3",
        )
    assert caught.value.code is Code.OPTION_INVALID
    assert "class token" in caught.value.detail


@pytest.mark.parametrize("name", ["", "chatml", "../twins", "phi3.jinja"])
def test_a_template_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(HilumError) as caught:
        template(name)
    assert caught.value.code is Code.OPTION_INVALID


@pytest.mark.parametrize("fit", ["native", "tiles"])
def test_a_geometry_a_llava_cannot_take_is_named(fit: str) -> None:
    with pytest.raises(HilumError) as caught:
        image_processor(geometry(fit))
    assert caught.value.code is Code.OPTION_INVALID


@pytest.mark.parametrize(("rows", "columns"), [(80, 100), (100, 80)])
def test_padding_keeps_the_margins_that_a_centre_crop_loses(rows: int, columns: int) -> None:
    """A bright stripe at either end of the longer side: where the lateral ribs are."""
    levels = np.full((rows, columns), 100, np.uint8)
    stripe = (slice(None), slice(0, 6)) if columns > rows else (slice(0, 6), slice(None))
    levels[stripe] = 255
    image = Image.fromarray(levels).convert("RGB")
    brightest = {
        fit: float(image_processor(geometry(fit))(image)["pixel_values"][0].max())
        for fit in ("crop", "pad", "stretch")
    }
    plain = (100 / 255 - 0.5307) / 0.2583
    bright = (255 / 255 - 0.5307) / 0.2583
    assert brightest["crop"] == pytest.approx(plain, abs=0.02)
    assert brightest["pad"] == pytest.approx(bright, abs=0.1)
    assert brightest["stretch"] == pytest.approx(bright, abs=0.1)
    assert kept(geometry("crop"), rows, columns) == 0.8
    assert kept(geometry("pad"), rows, columns) == 1.0


def test_a_square_film_is_the_same_padded_or_cropped() -> None:
    image = film(90, 90)
    crop, pad = (
        image_processor(geometry(fit))(image)["pixel_values"][0] for fit in ("crop", "pad")
    )
    assert np.allclose(crop, pad, atol=1e-6)


def test_a_padded_margin_is_grey_after_normalisation() -> None:
    image = film(50, 100)
    padded = np.asarray(image_processor(geometry("pad"))(image)["pixel_values"][0])
    assert np.abs(padded[:, :10]).max() < 0.02  # the mean's grey, to a level of 255
