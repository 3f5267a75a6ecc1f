"""Conversion of the phi3_dino layout, proven against a forward pass that shares no code with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.conversion import (
    ENCODERS,
    IMAGES,
    LONG,
    PATCH,
    PROMPT,
    PROMPTS,
    QUESTION,
    SIDE,
    TEXT,
    P,
    V,
    chat,
    checkpoint,
    compare,
    film,
    open_model,
)
from hilum.codes import Code, HilumError
from hilum.models.check import parts_of
from hilum.models.convert import convert
from hilum.models.processing import open_processor
from hilum.models.safety import header


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("text", "images"), PROMPTS)
def test_logits_are_those_of_the_released_layout(
    encoder: str, text: str, images: int, tmp_path: Path
) -> None:
    ids, want_ids, got, want = compare(encoder, text, images, tmp_path)
    assert ids == want_ids
    assert (len(ids) > LONG) == (images == 2)  # the long rope factors are reached as well
    assert want.std() > 0.1
    assert (got - want).abs().max() < 1e-4


def test_the_published_prompt_comes_out_of_the_template(tmp_path: Path) -> None:
    convert(checkpoint(tmp_path / "a"), tmp_path / "b")
    processor = open_processor(tmp_path / "b")
    assert chat(processor, QUESTION).replace("<image>", "<|image_1|>") == PROMPT


def test_shards_give_the_same_model_and_a_batch_answers_as_one_at_a_time(tmp_path: Path) -> None:
    convert(checkpoint(tmp_path / "a"), tmp_path / "one")
    done = convert(checkpoint(tmp_path / "b", shards=3), tmp_path / "three")
    assert (tmp_path / "three" / "model.safetensors.index.json").is_file()
    one, three = open_model(tmp_path / "one"), open_model(tmp_path / "three")
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), three.state_dict().values(), strict=True)
    )
    assert done.tensors == len(three.state_dict())
    processor = open_processor(tmp_path / "three")
    # all within LONG tokens: beyond it Phi-3 turns every row of a batch by its long rope factors
    rows = [("Hi", [film(1)]), ("No fracture", [film(2), film(3)]), (QUESTION, [])]

    def answer(some: list[Any]) -> list[list[int]]:
        inputs = processor(
            text=[chat(processor, text, len(films)) for text, films in some],
            images=[films for _, films in some] if any(f for _, f in some) else None,
            padding=True,
            return_tensors="pt",
        )
        assert inputs["input_ids"].shape[1] + 5 <= LONG
        written = three.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
        return [list(t) for t in written[:, inputs["input_ids"].shape[1] :].tolist()]

    assert answer(rows) == [answer([row])[0] for row in rows]


def test_stop_ids_are_mended_and_no_program_code_is_left(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    done = convert(source, tmp_path / "b")
    words = open_processor(tmp_path / "b").tokenizer
    ends = words.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    assert done.stop_ids_before == [2]
    assert done.stop_ids == ends
    model = open_model(tmp_path / "b")
    assert model.generation_config.eos_token_id == ends
    assert model.config.text_config.eos_token_id == ends
    assert "auto_map" not in (tmp_path / "b" / "config.json").read_text()
    assert not list((tmp_path / "b").glob("*.py"))
    assert sorted(done.dropped) == [f"model.vision_embed_tokens.{n}" for n in ("glb_GN", "sub_GN")]


@pytest.mark.parametrize(("fit", "kind"), [("crop", "Bit"), ("pad", "Llava"), (None, "Bit")])
def test_the_film_is_cropped_as_published_or_kept_whole(
    fit: Any, kind: str, tmp_path: Path
) -> None:
    done = convert(checkpoint(tmp_path / "a"), tmp_path / "b", fit=fit)
    images = open_processor(tmp_path / "b").image_processor
    assert type(images).__name__.startswith(kind)
    assert done.fit == (fit or "crop")
    assert list(images.image_mean) == [0.5307] * 3
    assert (done.side, done.patch, done.tokens) == (SIDE, PATCH, IMAGES)


def test_other_prefixes_and_projector_names_are_found(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    renamed = {
        n.replace(V, "vision_model.")
        .replace(P + "0", "projector.up")
        .replace(P + "2", "projector.out"): v
        for n, v in load_file(source / "model.safetensors").items()
        if not n.endswith(("_GN", "mask_token"))
    }
    other = checkpoint(tmp_path / "b")
    save_file(renamed, other / "model.safetensors")
    convert(source, tmp_path / "c")
    convert(other, tmp_path / "d")
    one, two = open_model(tmp_path / "c").state_dict(), open_model(tmp_path / "d").state_dict()
    assert all(torch.equal(one[n], two[n]) for n in one if not n.endswith("mask_token"))


def spoil(source: Path, change: str) -> None:
    every = load_file(source / "model.safetensors")
    if change == "stranger":
        every["stranger.weight"] = torch.zeros(3)
    elif change == "no encoder":
        every = {n: v for n, v in every.items() if not n.startswith(V)}
    elif change == "no projector":
        every = {n: v for n, v in every.items() if not n.startswith(P)}
    elif change == "a layer short":
        every = {n: v for n, v in every.items() if "layers.1.mlp" not in n}
    elif change == "another shape":
        every[P + "0.bias"] = torch.zeros(TEXT + 1)
    elif change == "two projectors":
        every["again.weight"] = every[P + "0.weight"].clone()
    save_file(every, source / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("stranger", "stranger.weight"),
        ("no encoder", "vision encoder: none"),
        ("no projector", "projector: none"),
        ("a layer short", "layers.1.mlp"),
        ("another shape", "linear_1.bias"),
        ("two projectors", "projector: 2 of them"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(
    change: str, named: str, tmp_path: Path
) -> None:
    source = checkpoint(tmp_path / "a")
    spoil(source, change)
    with pytest.raises(HilumError) as caught:
        convert(source, tmp_path / "b")
    assert caught.value.code is Code.MODEL_INVALID
    assert named in caught.value.detail
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("config", [None, "{", "[]", "{}", '{"model_type": "phi3_v"}'])
def test_another_layout_is_refused(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(HilumError) as caught:
        convert(tmp_path, tmp_path / "b")
    assert caught.value.code is Code.MODEL_INVALID


def test_a_full_vocabulary_has_no_row_for_the_image_token(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    every = load_file(source / "model.safetensors")
    words = open_tokens(source)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        every[name] = every[name][:words].clone()
    save_file(every, source / "model.safetensors")
    with pytest.raises(HilumError) as caught:
        convert(source, tmp_path / "b")
    assert "no row" in caught.value.detail


def open_tokens(source: Path) -> int:
    from transformers import PreTrainedTokenizerFast

    return len(PreTrainedTokenizerFast.from_pretrained(source))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    before = (source / "model.safetensors").read_bytes()
    with pytest.raises(HilumError) as caught:
        convert(source, source)
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert (source / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("encoder", "licence"), [("dinov2", "msrla"), ("siglip", "cc-by-nc-4.0")])
def test_the_licence_is_carried_on(encoder: str, licence: str, tmp_path: Path) -> None:
    convert(checkpoint(tmp_path / "a", encoder), tmp_path / "b")
    assert parts_of(tmp_path / "b")[0].licence == licence


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(HilumError) as caught:
        convert(source, tmp_path / "b")
    assert caught.value.code is Code.PICKLE_REFUSED


def test_half_precision_stays_half_precision(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "a")
    every = {n: v.bfloat16() for n, v in load_file(source / "model.safetensors").items()}
    save_file(every, source / "model.safetensors")
    convert(source, tmp_path / "b")
    kinds = {e["dtype"] for e in header(tmp_path / "b" / "model.safetensors").values()}
    assert kinds == {"BF16"}
    assert json.loads((tmp_path / "b" / "config.json").read_text())["dtype"] == "bfloat16"
