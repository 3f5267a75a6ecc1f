"""From training to a reader's folder, and the command that does it all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from hilum import Reader
from hilum.findings import FindingName
from hilum.models.embedded.configuration import CLASSES
from hilum.phantom.corpus import make_corpus
from hilum.reading.calibration import Calibration
from hilum.training.embedded import __main__ as command
from hilum.training.embedded import decoder_stage, encoder_stage, encodings, export, glimpse_stage
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import QUESTIONS

COUNTS = {"standard": 2, "crowded": 2, "single": 2, "held_out": 3}  # as in conftest.py


def run(out: Path, films: Path) -> None:
    command.main(
        out=out,
        encoder_steps=3,
        glimpse_steps=3,
        decoder_steps=3,
        size=64,
        seed=0,
        scale=1.0,
        threads=1,
        films=films,
    )


@pytest.fixture
def small(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command in seconds, with films that are there already."""
    monkeypatch.setattr(command, "SHARDS", COUNTS)


@pytest.fixture
def trained(small: None, films: Path, tmp_path: Path) -> Path:
    run(tmp_path / "run", films)
    return tmp_path / "run"


def test_the_command_leaves_a_reader(trained: Path, films: Path, tmp_path: Path) -> None:
    folder = trained / "reader"
    reader = Reader.load(folder)
    assert reader.card.name == "embedded"
    assert reader.card.domain == "phantom"
    assert [str(q) for q in reader.card.questions] == list(CLASSES)
    assert [str(s) for s in reader.card.side_questions] == ["left", "right"]
    assert list(reader.card.calibration.findings) == list(CLASSES)
    assert set(reader.card.calibration.places) <= set(CLASSES)  # all wrong after three steps
    assert reader.card.prompts == {"en": "<en>", "zh": "<zh>"}
    with safe_open(folder / "model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds <= {torch.float16, torch.int64}
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "reader.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    make_corpus(tmp_path / "demo", 1, seed=1, size=256, format="png", processes=1)
    (film,) = (tmp_path / "demo").glob("*.png")
    report = reader.read(film)
    assert not report.abstained
    assert {f.name for f in report.findings} >= set(CLASSES)
    assert {p.name for p in trained.iterdir()} == {
        "encoder.safetensors",
        "encoder.jsonl",
        "seen",
        "glimpse-nodule.safetensors",
        "glimpse-nodule.jsonl",
        "glimpse-fracture.safetensors",
        "glimpse-fracture.jsonl",
        "decoder.safetensors",
        "decoder.jsonl",
        "reader",
    }


def test_run_again_it_trains_nothing_and_writes_the_same(
    trained: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in (trained / "reader").iterdir()}
    shutil.rmtree(trained / "reader")
    for stage in (encoder_stage, decoder_stage):
        monkeypatch.setattr(stage.checkpoint, "save", lambda *_: pytest.fail("trained on"))
    for stage in (encodings, glimpse_stage):
        monkeypatch.setattr(stage, "look_at", lambda *_: pytest.fail("looked again"))
    run(trained, films)
    assert {p.name: p.read_bytes() for p in (trained / "reader").iterdir()} == before


def test_an_export_that_fails_leaves_the_last_reader(
    trained: Path, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in (trained / "reader").iterdir()}

    def fail(*_: Any) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(export, "calibrate", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(trained, films)
    assert {p.name: p.read_bytes() for p in (trained / "reader").iterdir()} == before
    run(trained, films)  # and what it left half done is no trouble
    assert {p.name: p.read_bytes() for p in (trained / "reader").iterdir()} == before
    assert not list(trained.glob(".*"))


def test_calibration_is_of_the_weights_as_they_are_saved(trained: Path, films: Path) -> None:
    """In half precision and with the classes in the order of a reload."""
    reader = Reader.load(trained / "reader")
    held_out = Shards(films, "held_out")
    said: list[str] = []
    again = export.calibrate(reader.engine, reader.card, held_out, said.append)  # type: ignore[arg-type]
    assert again == reader.card.calibration
    assert len(said) == len(QUESTIONS)
    assert all(line.startswith("held out ") for line in said)


def test_held_out_films_without_a_class_are_an_error_not_a_made_up_calibration(
    trained: Path, films: Path
) -> None:
    class Healthy(Shards):
        def __init__(self) -> None:
            super().__init__(films, "held_out")
            healthy = {"instances": [], "present": [0] * len(CLASSES)}
            self.entries = [{**e, **healthy} for e in self.entries]

    reader = Reader.load(trained / "reader")
    with pytest.raises(ValueError, match="with and without"):
        export.calibrate(reader.engine, reader.card, Healthy(), print)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("whole", "doubt"),
    [
        ([0.01 * k for k in range(1, 11)], 0.091),  # 90 % of the whole lie below it
        ([0.4 + 0.06 * k for k in range(10)], None),  # beyond the threshold there is no doubt
    ],
)
def test_a_fracture_is_in_doubt_from_a_specificity_of_90_on(
    whole: list[float], doubt: float | None
) -> None:
    calibration = Calibration()
    p = np.array([*whole, 0.9, 0.2])
    broken = np.array([False] * len(whole) + [True, True])
    export._doubt(calibration, broken, p)
    assert calibration.doubts.get(FindingName.FRACTURE) == (
        None if doubt is None else pytest.approx(doubt)
    )


def test_the_card_is_what_the_reader_reads(trained: Path) -> None:
    card = json.loads((trained / "reader" / "reader.json").read_text(encoding="utf-8"))
    assert card["answers"] == ["<present>", "<absent>"]
    assert card["licence"] == "Apache-2.0"
    assert all(
        np.isfinite(list(p.values())).all() for p in card["calibration"]["findings"].values()
    )


def test_films_of_another_size_are_fitted_to_the_encoder(
    small: None, films: Path, tmp_path: Path
) -> None:
    """The folder holds films of 51 and 64 pixels; an encoder of 96 reads them enlarged."""
    command.main(
        out=tmp_path,
        encoder_steps=1,
        glimpse_steps=1,
        decoder_steps=1,
        size=96,
        seed=0,
        threads=1,
        films=films,
    )
    config = json.loads((tmp_path / "reader" / "config.json").read_text(encoding="utf-8"))
    assert config["encoder"]["image_size"] == 96


def test_a_picture_of_a_training_film_is_what_the_reader_sees(films: Path) -> None:
    """Training reads 12-bit films shifted to 8 bits; a PNG phantom holds the same bytes."""
    from hilum.phantom.film import simulate

    pixels = np.asarray(Image.fromarray((simulate(77, 8, 64).pixels >> 4).astype(np.uint8)))
    assert np.array_equal(Shards(films, "standard")[8][0], pixels)
