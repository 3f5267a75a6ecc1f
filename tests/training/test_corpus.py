"""What is learnt of a dataset, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.codes import HilumError
from hilum.language import label
from hilum.training.corpus import REPORT, Corpus, open_image, order
from hilum.training.recipe import Data, parse
from tests.training.conftest import png, study, write_dataset


def data(folder: Path, **over: Any) -> Data:
    raw = {"name": "x", "model": {"path": "m"}, "data": {"path": str(folder), **over}}
    return parse(raw).data


QUESTIONS = {
    "fracture": {"en": "Fracture?", "zh": "骨折？"},
    "nodule": {"en": "Nodule?", "zh": "?"},
}


def test_a_task_for_each_language_and_each_question_that_has_an_answer(dataset: Path) -> None:
    how = data(dataset, text="templated", languages=["en", "zh"], questions=QUESTIONS)
    corpus = Corpus(how, "train")
    first = [(t.about, t.language, corpus.answer(t)) for t in corpus.tasks if t.row == 1]
    assert [(a, b) for a, b, _ in first] == [
        (REPORT, "en"), ("fracture", "en"), (REPORT, "zh"), ("fracture", "zh"),
    ]  # fmt: skip
    assert [c for a, _, c in first if a == "fracture"] == ["yes", "有"]
    assert "骨折" in first[2][2]  # no nodule is told of, so none is asked for


def test_free_text_is_the_reports_own_and_in_its_language_alone(dataset: Path) -> None:
    corpus = Corpus(data(dataset, languages=["en", "zh"]), "train")
    assert {t.language for t in corpus.tasks} == {"en"}
    assert corpus.answer(corpus.tasks[0]) == "No fracture. No pneumothorax."


def test_about_leaves_out_the_rest(dataset: Path) -> None:
    corpus = Corpus(data(dataset, text="templated", about=["fracture"]), "train")
    assert corpus.answer(corpus.tasks[0]) == "No fracture."


def test_a_paraphrase_is_another_each_epoch_and_says_the_same(dataset: Path) -> None:
    corpus = Corpus(data(dataset, text="paraphrased"), "train", seed=5)
    task = corpus.tasks[1]
    texts = [corpus.answer(task, epoch) for epoch in range(8)]
    assert len(set(texts)) > 2
    assert texts == [corpus.answer(task, epoch) for epoch in range(8)]
    for text in texts:
        said = {f.name: f.status for f in label(text, "en")}
        assert said == {f.name: f.status for f in corpus.reference(task.row, "en").findings}


def test_views_bound_the_films_and_limit_the_studies(dataset: Path) -> None:
    corpus = Corpus(data(dataset, views=1, limit=5), "train")
    assert len(corpus) == 5
    assert max(len(corpus.sample(t).images) for t in corpus.tasks) == 1


def test_a_study_that_says_nothing_is_no_task(tmp_path: Path) -> None:
    rows = [study(0, "train"), study(1, "train")]
    rows[0]["report"]["findings"] = ""
    corpus = Corpus(data(write_dataset(tmp_path / "d", rows)), "train")
    assert [t.row for t in corpus.tasks] == [1]


def test_no_dataset_and_no_split_are_told_apart(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="hilum prepare makes one"):
        Corpus(data(tmp_path), "train")
    with pytest.raises(HilumError, match="no split test"):
        Corpus(data(dataset), "test")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(HilumError, match="source_invalid"):
        Corpus(data(tmp_path), "train")


@pytest.mark.parametrize("content", [b"", b"junk", png(0)[:100], png(0)[:-300]])
def test_a_film_that_cannot_be_decoded_has_a_code(content: bytes) -> None:
    with pytest.raises(HilumError, match="file_damaged"):
        open_image(content)


LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 8), st.integers(1, 30), st.integers(0, 9), st.booleans())
def test_an_epoch_takes_every_task_once(
    lengths: Any, batch: int, steps: int, seed: int, grouped: bool
) -> None:
    places = order(lengths, batch, steps, seed, grouped)
    assert places.shape == (steps * batch, 2)
    for epoch in range(places[:, 1].max() + 1):
        taken = places[places[:, 1] == epoch, 0]
        assert len(set(taken.tolist())) == len(taken)
        if epoch < places[:, 1].max():
            assert sorted(taken.tolist()) == list(range(len(lengths)))


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 8), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_a_longer_run_begins_as_the_shorter_one(
    lengths: Any, batch: int, steps: int, more: int, grouped: bool
) -> None:
    short = order(lengths, batch, steps, 3, grouped)
    long = order(lengths, batch, steps + more, 3, grouped)
    assert np.array_equal(long[: len(short)], short)


def test_grouping_pads_less_and_another_seed_is_another_order() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 256)

    def padded(grouped: bool) -> int:
        places = order(lengths, 8, 32, 0, grouped)[:, 0].reshape(-1, 8)
        return int((lengths[places].max(1, keepdims=True) - lengths[places]).sum())

    assert padded(grouped=True) < padded(grouped=False) / 5
    assert not np.array_equal(order(lengths, 8, 32, 0, True), order(lengths, 8, 32, 1, True))
