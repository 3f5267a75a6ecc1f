"""Every architecture by its twin: real classes, real processor, tiny random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hilum.codes import Code, HilumError
from hilum.models import processing
from hilum.models.presets import presets, read_index
from hilum.models.processing import open_processor
from hilum.models.twins import families, make_twin

NEW = 6


@dataclass
class Twin:
    """A twin as a user opens it."""

    folder: Path
    model: Any
    processor: Any

    def inputs(self, rows: Sequence[tuple[str, list[Image.Image]]]) -> Any:
        prompts = [self.prompt(text, len(images)) for text, images in rows]
        images = [images for _, images in rows]
        given = images if any(images) else None
        return self.processor(text=prompts, images=given, padding=True, return_tensors="pt")

    def prompt(self, text: str, images: int) -> str:
        content = [*[{"type": "image"}] * images, {"type": "text", "text": text}]
        turn = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turn, add_generation_prompt=True))

    def answers(self, rows: Sequence[tuple[str, list[Image.Image]]]) -> list[list[int]]:
        inputs = self.inputs(rows)
        with torch.inference_mode():
            written = self.model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
        pad = self.processor.tokenizer.pad_token_id
        tails = written[:, inputs["input_ids"].shape[1] :].tolist()
        return [[*tail, *[pad] * (NEW - len(tail))] for tail in tails]

    def last_logits(self, *rows: tuple[str, list[Image.Image]]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = self.model(**self.inputs(rows)).logits[:, -1].double()
        return logits


def open_twin(folder: Path) -> Twin:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    return Twin(folder, model.eval(), open_processor(folder))


def film(seed: int, rows: int = 80, columns: int = 64) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    return Image.fromarray(levels).convert("RGB")


@pytest.fixture(scope="module", params=families())
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("twin")
    return open_twin(make_twin(request.param, folder))


ROWS = [
    ("Describe bones.", [film(0)]),
    ("No acute fracture is seen. 未见骨折。", [film(1), film(2)]),
    ("Hi", []),
]


def test_a_padded_batch_answers_as_one_at_a_time(twin: Twin) -> None:
    together = twin.answers(ROWS)
    alone = [twin.answers([row])[0] for row in ROWS]
    assert together == alone
    assert len({tuple(answer) for answer in alone}) == len(ROWS)


def test_padding_is_on_the_left_and_masked(twin: Twin) -> None:
    mask = twin.inputs(ROWS)["attention_mask"]
    assert (mask[:, -1] == 1).all()
    assert (mask[:, 0] == 0).any()


def test_every_image_of_several_counts(twin: Twin) -> None:
    before = twin.last_logits(("Hi", [film(3), film(4)]))
    for changed in ([film(5), film(4)], [film(3), film(5)], [film(4), film(3)]):
        assert (twin.last_logits(("Hi", changed)) - before).abs().max() > 1e-3


def test_text_without_an_image_is_answered(twin: Twin) -> None:
    logits = twin.last_logits(("Hi", []))
    assert torch.isfinite(logits).all()
    assert (logits - twin.last_logits(("Describe bones.", []))).abs().max() > 1e-3


def test_saving_and_reading_back_changes_nothing(twin: Twin, tmp_path: Path) -> None:
    twin.model.save_pretrained(tmp_path)
    twin.processor.save_pretrained(tmp_path)
    again = open_twin(tmp_path)
    assert torch.equal(again.last_logits(ROWS[1]), twin.last_logits(ROWS[1]))
    assert again.prompt("Hi", 1) == twin.prompt("Hi", 1)
    assert again.model.generation_config.eos_token_id == twin.model.generation_config.eos_token_id


def test_a_twin_is_small_and_holds_safetensors_only(twin: Twin) -> None:
    files = {path.name: path.stat().st_size for path in twin.folder.iterdir()}
    assert "model.safetensors" in files
    assert sum(files.values()) < 2_000_000
    assert not {Path(name).suffix for name in files} - {".json", ".jinja", ".safetensors"}


def test_the_stop_ends_a_text(twin: Twin) -> None:
    stops = twin.model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    assert set(stops) <= set(range(len(twin.processor.tokenizer)))
    first = twin.answers([ROWS[0]])[0][0]
    with torch.inference_mode():
        inputs = twin.inputs([ROWS[0]])
        written = twin.model.generate(
            **inputs, max_new_tokens=NEW, do_sample=False, eos_token_id=[*stops, first]
        )
    assert written.shape[1] == inputs["input_ids"].shape[1] + 1


def test_every_family_of_the_presets_has_a_twin() -> None:
    assert {p.family for p in presets().values()} - {"embedded"} == set(families())


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    folders = [make_twin("maira2", tmp_path / str(i), seed) for i, seed in enumerate((0, 0, 1))]
    files = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert files[0] == files[1] != files[2]


def test_a_family_without_a_twin_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        make_twin("embedded", tmp_path)
    assert caught.value.code is Code.PRESET_UNKNOWN


@pytest.mark.parametrize(
    ("family", "renames"),
    [
        ("gemma3", read_index("gemma3").renames),
        (
            "maira2",
            [
                ("language_model.model.", "model.language_model."),
                ("language_model.lm_head.", "lm_head."),
                ("vision_tower.", "model.vision_tower."),
                ("multi_modal_projector.", "model.multi_modal_projector."),
            ],
        ),
    ],
)
def test_tensors_under_their_published_names_are_read(
    family: str, renames: list[tuple[str, str]], tmp_path: Path
) -> None:
    whole = open_twin(make_twin(family, tmp_path))
    want = whole.last_logits(ROWS[0])
    published = {}
    for name, value in whole.model.state_dict().items():
        if name in whole.model.all_tied_weights_keys:
            continue
        old, new = next((o, n) for o, n in renames if name.startswith(n))
        published[old + name[len(new) :]] = value.clone()
    assert not set(published) & set(whole.model.state_dict())
    save_file(published, tmp_path / "model.safetensors", {"format": "pt"})
    assert set(load_file(tmp_path / "model.safetensors")) == set(published)
    assert torch.equal(open_twin(tmp_path).last_logits(ROWS[0]), want)


def test_a_broken_torchvision_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "torchvision_state", lambda: "broken")
    with pytest.raises(HilumError) as caught:
        open_processor(tmp_path)
    assert caught.value.code is Code.TORCHVISION_BROKEN
    assert "uninstall torchvision" in caught.value.detail


@pytest.mark.parametrize("error", [RuntimeError, OSError, ImportError])
def test_torchvision_that_does_not_import_is_broken(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise error("operator torchvision::nms does not exist")

    monkeypatch.setattr(processing.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(processing.importlib, "import_module", fail)
    processing.torchvision_state.cache_clear()
    assert processing.torchvision_state() == "broken"
    processing.torchvision_state.cache_clear()


@pytest.mark.parametrize("config", [None, "{", "{}", '{"model_type": "llava"}'])
def test_a_folder_without_a_whole_processor_is_named(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(HilumError) as caught:
        open_processor(tmp_path)
    assert caught.value.code is Code.MODEL_INVALID
