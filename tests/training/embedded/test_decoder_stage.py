"""The decoder's training: from encodings that are kept, to words and answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast, VisionEncoderDecoderModel

from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.training.embedded import decoder_stage, words
from hilum.training.embedded.decoder_stage import (
    WEIGHTS,
    _attributes,
    _losses,
    train_decoder,
)
from hilum.training.embedded.encodings import Encodings, encode
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import QUESTIONS, SLOTS, Writer
from tests.training.embedded.conftest import make_encoder

SIZE = 64


class StopHereError(Exception):
    """An interruption."""


@pytest.fixture(scope="module")
def standard(films: Path) -> Shards:
    return Shards(films, "standard")


@pytest.fixture(scope="module")
def tokenizer(standard: Shards) -> PreTrainedTokenizerFast:
    return words.make_tokenizer(standard.entries)


@pytest.fixture
def encodings(standard: Shards, tmp_path: Path) -> Encodings:
    encodings = encode(make_encoder(SIZE), standard, tmp_path / "standard", lambda: None)
    encodings.look_again(make_encoder(SIZE))
    return encodings


# -- training ---------------------------------------------------------------------------------


def train(
    folder: Path,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    steps: int = 4,
    stop: int | None = None,
) -> VisionEncoderDecoderModel:
    def progress(step: int) -> None:
        if step == stop:
            raise StopHereError

    folder.mkdir(exist_ok=True)
    encoder, say = make_encoder(SIZE), lambda _: None
    return train_decoder(
        folder,
        encoder,
        standard,
        encodings,
        standard,
        encodings,
        tokenizer,
        steps,
        3,
        say,
        progress,
    )


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_interrupted_and_gone_on_equals_one_go(
    stop: int,
    tiny: None,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_stage, "SAVE_EVERY", 2)
    monkeypatch.setattr(decoder_stage, "DROPOUT", 0.0)  # its masks are not part of a checkpoint
    given = (standard, encodings, tokenizer)
    once = train(tmp_path / "once", *given)
    with pytest.raises(StopHereError):
        train(tmp_path / "twice", *given, stop=stop)
    twice = train(tmp_path / "twice", *given)
    assert same(once, twice)
    lines = (tmp_path / "twice" / "decoder.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_the_reader_that_comes_out(
    tiny: None,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    before = make_encoder(SIZE).state_dict()
    model = train(tmp_path, standard, encodings, tokenizer)
    assert not model.training
    after = model.encoder.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {name.rpartition(".")[0] for name in changed}
    # what the second looks tell; what finds the places is frozen
    told = {"glimpses.nodule.token", "glimpses.fracture.token"}
    assert {p for p in parts if not p.startswith("proposals.")} == told
    assert model.config.decoder.dropout == model.decoder.config.dropout == 0
    assert model.config.eos_token_id == tokenizer.eos_token_id
    again = train(tmp_path, standard, encodings, tokenizer, stop=1)  # finished: nothing to do
    assert same(model, again)


def test_training_learns(
    tiny: None,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    train(tmp_path, standard, encodings, tokenizer, steps=40)
    rows = [json.loads(x) for x in (tmp_path / "decoder.jsonl").read_text().splitlines()]
    assert rows[-1]["text"] < rows[0]["text"]
    assert all(math.isfinite(v) for row in rows for v in row.values())


def test_the_log_says_what_is_known_by_heart(
    tiny: None,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_stage, "CHECK_EVERY", 2)
    train(tmp_path, standard, encodings, tokenizer)
    rows = [json.loads(x) for x in (tmp_path / "decoder.jsonl").read_text().splitlines()]
    assert ["learnt_auc_fracture" in row for row in rows] == [False, True, False, True]
    # these films are its own and, here, those it is checked on
    assert all(r["learnt_auc_fracture"] == r["auc_fracture"] for r in rows[1::2])


# -- losses -----------------------------------------------------------------------------------


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> VisionEncoderDecoderModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return words.new_model(make_encoder(SIZE), tokenizer).eval()


def losses(
    decoder: Any, standard: Shards, encodings: Encodings, writer: Writer, seed: int = 0
) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[int]]:
    rows = [0, 3, len(standard) - 1, 7]
    hidden = make_encoder(SIZE).proposals(encodings.seen[rows].float()).detach().requires_grad_()
    rng = np.random.default_rng(seed)
    return _losses(decoder, hidden, standard, encodings, rows, writer, rng), hidden, rows


def drawn(
    standard: Shards, encodings: Encodings, writer: Writer, rows: list[int], seed: int = 0
) -> list[list[int]]:
    """Each film's text in a language drawn as `_losses` draws it."""
    rng = np.random.default_rng(seed)
    return [
        writer.report(
            standard.entries[row],
            ("en", "zh")[rng.integers(2)],
            encodings.slots[row],
        )
        for row in rows
    ]


def questions(standard: Shards, writer: Writer, row: int) -> list[tuple[list[int], int]]:
    """Every question about a film, and its answer."""
    entry = standard.entries[row]
    present, absent = writer.answers
    return [(writer.question(q), present if q.true(entry) else absent) for q in QUESTIONS.values()]


def test_what_is_told_of_a_place_is_true_of_the_film(
    standard: Shards, encodings: Encodings
) -> None:
    rows = list(range(len(encodings.seen)))
    truth = _attributes(standard, encodings, rows)
    assert truth.shape == (len(rows), SLOTS, len(ATTRIBUTES))
    told = 0
    for b, row in enumerate(rows):
        instances = standard.entries[row]["instances"]
        expected = {
            s: i[5:] for s, i in zip(encodings.slots[row], instances, strict=True) if s >= 0
        }
        for slot in range(SLOTS):
            assert truth[b, slot].tolist() == expected.get(slot, [-1] * len(ATTRIBUTES))
        told += len(expected)
    assert told > 0


def test_the_loss_is_on_the_words_alone(
    model: VisionEncoderDecoderModel,
    standard: Shards,
    encodings: Encodings,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Not on the language, which is given, and not on padding; one token counts as any other."""
    writer, total, count, answers = Writer(tokenizer), 0.0, 0, 0.0
    with torch.enable_grad():
        found, hidden, rows = losses(model.decoder, standard, encodings, writer)
    for b, ids in enumerate(drawn(standard, encodings, writer, rows)):
        given = hidden[b : b + 1].detach()
        with torch.no_grad():
            said = model.decoder(input_ids=torch.tensor([ids[:-1]]), encoder_hidden_states=given)
        logs = said.logits[0, 1:].log_softmax(-1)[range(len(ids) - 2), ids[2:]]
        total, count = total - float(logs.sum()), count + len(ids) - 2
        asked = questions(standard, writer, rows[b])
        for (prompt, answer), weight in zip(asked, WEIGHTS.values(), strict=True):
            with torch.no_grad():
                told = model.decoder(input_ids=torch.tensor([prompt]), encoder_hidden_states=given)
            answers -= weight * float(told.logits[0, -1].log_softmax(-1)[answer]) / len(rows)
    assert found["text"].item() == pytest.approx(total / count, rel=1e-4)
    assert found["answers"].item() == pytest.approx(answers, rel=1e-4)
    (found["text"] + found["answers"]).backward()
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_a_perfect_decoder_has_no_loss(
    standard: Shards, encodings: Encodings, tokenizer: PreTrainedTokenizerFast
) -> None:
    writer, rows = Writer(tokenizer), [0, 3, len(standard) - 1, 7]
    asked = [q for row in rows for q in questions(standard, writer, row)]
    right = torch.tensor([answer for _, answer in asked])

    class Out:
        def __init__(self, following: torch.Tensor) -> None:
            self.logits = torch.nn.functional.one_hot(following, words.VOCABULARY) * 60.0

    def sure(input_ids: torch.Tensor, **_: Any) -> Out:
        """Says whatever comes next in the text that it is given, and every right answer."""
        if len(input_ids) == len(asked):  # the questions
            return Out(right[:, None].expand_as(input_ids))
        following = input_ids.roll(-1, 1)
        following[:, -1] = 0
        following[following == 0] = 2  # after the last word comes the stop
        return Out(following)

    found, _, _ = losses(sure, standard, encodings, writer)
    assert found["text"] < 1e-4
    assert found["answers"] < 1e-4


def test_languages_are_drawn(
    standard: Shards, encodings: Encodings, tokenizer: PreTrainedTokenizerFast
) -> None:
    writer = Writer(tokenizer)
    made = [drawn(standard, encodings, writer, [0], seed)[0] for seed in range(60)]
    assert {tokenizer.decode(ids[1:2]) for ids in made} == {"<en>", "<zh>"}


def test_every_class_is_asked_about() -> None:
    assert list(WEIGHTS) == list(QUESTIONS)
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert min(WEIGHTS.values()) > 0
