"""The decoder's side: tokens that say exactly what the template says, and slots for boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from hilum.language import write
from hilum.models.embedded.configuration import CLASSES
from hilum.phantom.chance import CROWDED, STANDARD
from hilum.phantom.film import simulate
from hilum.reading.score import Calibration
from hilum.report import Language
from hilum.training.embedded import export, words
from hilum.training.embedded.shards import Shards, entry
from hilum.training.embedded.words import QUESTIONS, SLOTS, SPECIAL, Writer, match

FIRST = dict(zip(CLASSES, np.cumsum([0, *CLASSES.values()]), strict=False))
SIDE = 640  # 24 pixels are 15 mm
NAMES = list(CLASSES)


@pytest.fixture(scope="module")
def tokenizer(films: Path) -> PreTrainedTokenizerFast:
    return words.make_tokenizer(
        Shards(films, "standard").entries + Shards(films, "crowded").entries
    )


@pytest.fixture(scope="module")
def writer(tokenizer: PreTrainedTokenizerFast) -> Writer:
    return Writer(tokenizer)


# -- tokenizer --------------------------------------------------------------------------------


def test_special_tokens_have_fixed_numbers(tokenizer: PreTrainedTokenizerFast) -> None:
    """Weights are bound to them."""
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == list(range(len(SPECIAL)))
    assert SPECIAL[:5] == ["<pad>", "<s>", "</s>", "<en>", "<zh>"]
    assert len(tokenizer) <= words.VOCABULARY
    assert [f"<box{k}>" for k in range(SLOTS)] == SPECIAL[-SLOTS:]


@settings(deadline=None, max_examples=80)
@given(text=st.text(max_size=40))
def test_any_text_comes_back_exactly(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", ["", " ", "  No  fracture . ", "a ,b", "can 't", "骨折。\n\n骨"])
def test_spaces_are_not_tidied_up(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_saved_and_opened_it_is_the_same(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "<s><en>No fracture. 右侧第8肋骨骨折。<box3></s>"
    assert again.encode(text) == tokenizer.encode(text)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert (again.pad_token_id, again.bos_token_id, again.eos_token_id) == (0, 1, 2)


def test_it_is_always_the_same_one(films: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A run that goes on makes its tokenizer again, for weights that know the first one."""
    entries = Shards(films, "standard").entries + Shards(films, "crowded").entries
    expected = tokenizer.backend_tokenizer.to_str()
    for _ in range(5):  # its hash maps are seeded at random
        assert words.make_tokenizer(entries).backend_tokenizer.to_str() == expected


# -- reports ----------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(12))
@pytest.mark.parametrize("language", ["en", "zh"])
def test_tokens_decode_to_the_template_exactly(
    index: int, language: Language, writer: Writer, tokenizer: PreTrainedTokenizerFast
) -> None:
    """With every box, with none, and for a film that the tokenizer was not made from."""
    film = simulate(4, index, 64, CROWDED if index % 3 == 0 else STANDARD)
    row = entry(film)
    count = len(row["instances"])
    for slots in ([k % SLOTS for k in range(count)], [-1] * count):
        ids = writer.report(row, language, slots)
        assert tokenizer.decode(ids, skip_special_tokens=True) == write(film.findings, language)
        assert ids[:2] == tokenizer.convert_tokens_to_ids(["<s>", f"<{language}>"])
        assert ids[-1] == tokenizer.eos_token_id
        assert ids.count(tokenizer.eos_token_id) == 1
        boxes = [i for i in ids if i in writer.box]
        assert boxes == [writer.box[s] for s in slots if s >= 0]
        assert len(ids) <= 252  # the decoder has 256 positions, a draft 250 and its prompt


def test_a_box_stands_right_after_its_sentence(
    writer: Writer, tokenizer: PreTrainedTokenizerFast
) -> None:
    row = {
        "sentences": {
            "en": [("One.", -1), ("Two.", 1), ("Three.", 0), ("Four.", 2)],
            "zh": [("一。", 0), ("二。", -1)],
        }
    }
    ids = writer.report(row, "en", [5, 9, -1])
    assert tokenizer.decode(ids) == "<s><en>One. Two.<box9> Three.<box5> Four.</s>"
    assert tokenizer.decode(writer.report(row, "zh", [0])) == "<s><zh>一。<box0>二。</s>"


def test_the_questions_are_what_the_reader_will_ask(
    writer: Writer, tokenizer: PreTrainedTokenizerFast
) -> None:
    card = export._card(Calibration())
    asked = [*card.asked.findings.values(), *card.asked.sides.values()]
    assert [*card.asked.findings, *(f"fracture_{s}" for s in card.asked.sides)] == list(QUESTIONS)
    for text, question in zip(asked, QUESTIONS.values(), strict=True):
        prompt = f"<s>{card.question_context}{text}"
        assert writer.question(question) == tokenizer.encode(prompt, add_special_tokens=False)
    for answer, token in zip(card.answers, writer.answers, strict=True):
        assert [token] == tokenizer.encode(answer, add_special_tokens=False)


def test_a_side_is_broken_where_one_of_its_fractures_is() -> None:
    left, right = QUESTIONS["fracture_left"], QUESTIONS["fracture_right"]
    nodule = [NAMES.index("nodule"), 0, 0, 9, 9, -1, -1, -1, 1, 0, -1]  # on the right
    broken = [NAMES.index("fracture"), 0, 0, 9, 9, 4, 1, 0, 0, -1, 0]
    unboxed = [NAMES.index("fracture"), -1, -1, -1, -1, 4, 1, 0, 1, -1, 0]
    present = [0] * len(NAMES)
    for instances, expected in (
        ([], (False, False)),
        ([nodule], (False, False)),
        ([nodule, broken], (True, False)),
        ([broken, unboxed], (True, True)),
    ):
        entry = {"instances": instances, "present": present}
        assert (left.true(entry), right.true(entry)) == expected


# -- boxes to slots ---------------------------------------------------------------------------


def proposals(**centres: list[tuple[float, float]]) -> NDArray[np.float32]:
    """Boxes of 10 pixels: far away, but for the first of each class that is named."""
    found = np.full((SLOTS, 4), 1e4, np.float32)
    for name, places in centres.items():
        for k, (x, y) in enumerate(places):
            found[FIRST[name] + k] = x - 5, y - 5, x + 5, y + 5
    return found


def box(x: float, y: float, size: float = 10) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


@pytest.mark.parametrize(
    ("distance", "size", "matched"),
    [(0, 10, True), (23.9, 10, True), (24.1, 10, False), (99, 200, True), (101, 200, False)],
)
def test_near_is_half_a_box_and_at_least_15_mm(distance: float, size: float, matched: bool) -> None:
    found = proposals(nodule=[(300 + distance, 300)])
    slots = match(np.array([box(300, 300, size)], np.float32), [NAMES.index("nodule")], found, SIDE)
    assert slots == [int(FIRST["nodule"]) if matched else -1]


def test_only_a_slot_of_its_class() -> None:
    found = proposals(nodule=[(100, 100)])
    fracture, nodule = NAMES.index("fracture"), NAMES.index("nodule")
    boxes = np.array([box(100, 100)] * 2, np.float32)
    assert match(boxes, [fracture, nodule], found, SIDE) == [-1, FIRST["nodule"]]


def test_no_slot_is_given_away_twice() -> None:
    found = proposals(fracture=[(100, 100), (110, 100)])
    kinds = [NAMES.index("fracture")] * 3
    slots = match(
        np.array([box(104, 100), box(101, 100), box(105, 100)], np.float32), kinds, found, SIDE
    )
    assert slots == [FIRST["fracture"], FIRST["fracture"] + 1, -1]


def test_more_boxes_than_slots() -> None:
    found = proposals(cardiomegaly=[(100, 100)])
    assert match(np.array([box(100, 100)] * 4, np.float32), [0] * 4, found, SIDE) == [0, -1, -1, -1]


def test_misses_do_not_hide_each_other() -> None:
    """Two that matched nothing, then one that does."""
    found = proposals(nodule=[(50, 50)])
    kinds = [NAMES.index("nodule")] * 3
    boxes = np.array([box(500, 500), box(600, 600), box(50, 50)], np.float32)
    assert match(boxes, kinds, found, SIDE) == [-1, -1, FIRST["nodule"]]


def test_nothing_to_match() -> None:
    assert match(np.zeros((0, 4), np.float32), [], proposals(), SIDE) == []
