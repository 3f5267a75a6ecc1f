"""Lengths and films are known before the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hilum.codes import Code, HilumError
from hilum.models.processing import open_processor
from hilum.training.build import image_token
from hilum.training.collate import Chat, Collator
from hilum.training.corpus import Corpus
from hilum.training.preflight import check, longest_allowed
from tests.training.conftest import FAMILIES, MakeRecipe, study, write_dataset


def chat_of(folder: Path) -> Chat:
    from transformers import AutoConfig

    import hilum.models.maira2  # noqa: F401

    return Chat(open_processor(folder), [1], image_token(AutoConfig.from_pretrained(folder)))


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_those_of_the_batches(
    family: str, make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    chat, corpus = chat_of(twin(family)), Corpus(make_recipe(family).data, "train")
    checked = check(corpus, chat, None)
    assert len(checked.tasks) == 32
    for place in (0, 6, 8, 31):  # one film, two, none
        batch = Collator(chat)([corpus.sample(checked.tasks[place])])
        assert int(batch["attention_mask"].sum()) == checked.lengths[place]
        assert int((batch["input_ids"] == chat.image_id).sum()) == checked.image_tokens[place]
    assert checked.image_tokens[8] == 0 < checked.image_tokens[0] < checked.image_tokens[6]


def test_film_tokens_that_would_be_cut_are_refused(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    chat, corpus = chat_of(twin("gemma3")), Corpus(make_recipe().data, "train")
    prompt = int(check(corpus, chat, None).prompts.max())
    with pytest.raises(HilumError, match=rf"{prompt} tokens before.*image_tokens_cut"):
        check(corpus, chat, prompt - 1)


def test_an_answer_that_runs_over_is_left_out_and_never_cut(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    chat, corpus = chat_of(twin("gemma3")), Corpus(make_recipe().data, "train")
    whole = check(corpus, chat, None)
    limit = int(np.sort(whole.lengths)[-3])
    checked = check(corpus, chat, limit)
    assert checked.lengths.max() <= limit
    assert {o.code for o in checked.left_out} == {Code.SAMPLE_TOO_LONG}
    assert len(checked.tasks) + len(checked.left_out) == len(whole.tasks)


def test_nothing_left_is_an_error(
    make_recipe: MakeRecipe, twin: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [study(n, "train") for n in range(3)]
    for row in rows:
        row["images"][0]["bytes"] = b"junk"
    data = write_dataset(tmp_path / "d", rows)
    corpus = Corpus(make_recipe(data__path=str(data)).data, "train")
    with pytest.raises(HilumError, match=r"3 left out.*nothing_to_learn"):
        check(corpus, chat_of(twin("gemma3")), None)


def test_the_lesser_limit_counts(twin: Callable[[str], Path]) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(twin("qwen3-vl"))
    assert longest_allowed(None, config) == 512
    assert longest_allowed(100, config) == 100
    assert longest_allowed(1000, config) == 512
