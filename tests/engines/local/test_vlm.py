"""Any vision-language model: every family's twin, batched, streamed and asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hilum.codes import Code, HilumError
from hilum.engines import Question, Request, Sampling
from hilum.engines.local import choose, films
from hilum.engines.local.vlm import _first_range
from tests.families import Family, Film, film

SHORT = Sampling(8)
REQUESTS = [
    Request((film(0),), "Describe bones."),
    Request((film(1), film(2, 64, 90)), "No acute fracture is seen. 未见骨折。"),
    Request((), "Hi"),
    Request((film(3, 120, 50),), "Describe bones on this chest X-ray. The lungs are clear."),
    Request((film(0),), "Hi"),
]


@contextmanager
def encoded(family: Family) -> Iterator[list[int]]:
    """Tensors of pixels of every run of the encoder."""
    runs: list[int] = []
    base = family.engine.model.base_model
    before = base.get_image_features

    def counting(*args: Any, **given: Any) -> Any:
        runs.append(len(given["pixel_values"]))
        return before(*args, **given)

    base.get_image_features = counting
    yield runs
    del base.get_image_features


def texts(family: Family, requests: Sequence[Request], sampling: Sampling = SHORT) -> list[str]:
    return [d.text for d in family.engine.generate(requests, sampling)]


def test_a_batch_is_one_at_a_time_is_the_plain_way(family: Family) -> None:
    together = texts(family, REQUESTS)
    alone = [texts(family, [r])[0] for r in REQUESTS]
    family.engine.forget()
    plain = [family.plain(r, SHORT) for r in REQUESTS]
    assert together == alone == plain
    assert len(set(together)) == len(REQUESTS)


def test_bfloat16_answers_are_near(family: Family) -> None:
    """Rounding may hang on the batch there, so that texts may part; likelihoods may not."""
    engine = type(family.engine)(family.folder, "bfloat16")
    assert all(d.text for d in engine.generate(REQUESTS, SHORT))
    asked = [Question("Is there a fracture?", ("Yes", "No"), "first")]
    (found,) = engine.choose([(film(0),)], "", asked)
    (exact,) = family.engine.choose([(film(0),)], "", asked)
    odds = [float(np.log(p[0, 0] / p[0, 1])) for p in (found, exact)]
    assert odds[0] == pytest.approx(odds[1], abs=3)  # of twins, whose odds run to hundreds


def test_a_stream_joined_is_the_draft(family: Family) -> None:
    for request in REQUESTS[:3]:
        pieces = list(family.engine.stream(request, Sampling(20)))
        assert "".join(pieces) == texts(family, [request], Sampling(20))[0]
        assert all(pieces)


def test_a_stream_that_nobody_reads_on_ends_and_harms_no_other(family: Family) -> None:
    pieces = family.engine.stream(REQUESTS[0], Sampling(300))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert texts(family, [REQUESTS[1]]) == [family.plain(REQUESTS[1], SHORT)]


def test_a_stream_that_fails_raises_and_does_not_hang(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(family.engine.model, "generate", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(family.engine.stream(REQUESTS[0], SHORT))


def test_a_text_is_complete_where_a_stop_id_ended_it(family: Family) -> None:
    engine = family.engine
    whole = engine.generate([REQUESTS[0]], SHORT)[0]
    assert not whole.complete
    with torch.inference_mode():
        inputs = family.inputs(REQUESTS[0].prompt, REQUESTS[0].images)
        written = family.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    third = int(written[0, inputs["input_ids"].shape[1] + 2])
    before = engine.stops
    engine.stops = [*before, third]
    try:
        draft = engine.generate([REQUESTS[0], REQUESTS[1]], SHORT)[0]
    finally:
        engine.stops = before
    assert draft.complete
    assert whole.text.startswith(draft.text.rstrip("\ufffd"))  # half a letter at the cut
    assert len(draft.text) < len(whole.text)


def test_the_ends_of_a_turn_are_among_the_stops(family: Family) -> None:
    tokenizer = family.processor.tokenizer
    named = family.model.generation_config.eos_token_id
    assert set(np.atleast_1d(named).tolist()) <= set(family.engine.stops)
    assert tokenizer.eos_token_id in family.engine.stops
    assert set(family.engine.words.stops(None)) <= set(family.engine.stops)
    if family.name.startswith("llava"):  # the turn's end, though only the template names it
        assert tokenizer.convert_tokens_to_ids("<|end|>") in family.engine.words.stops(None)


def test_an_image_is_encoded_once_for_asking_and_writing(family: Family) -> None:
    family.engine.forget()
    questions = [Question("Is there a fracture?", ("Yes", "No"))]
    with encoded(family) as runs:
        family.engine.choose([(film(0),)], "", questions)
        family.engine.generate(REQUESTS, SHORT)
        family.engine.choose([(film(0), film(3, 120, 50))], "", questions)
        count = len(runs)
        family.engine.generate([Request((film(0).copy(),), "again")], SHORT)
        assert len(runs) == count
    family.engine.forget()


def test_what_is_kept_is_bounded(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "KEPT_BYTES", 1)
    monkeypatch.setattr(films, "ENCODE_AT_ONCE", 2)
    family.engine.forget()
    small = texts(family, REQUESTS)
    assert len(family.engine.films._memory) == 1
    monkeypatch.undo()
    assert texts(family, REQUESTS) == small


def test_requests_of_many_threads_run_together(family: Family) -> None:
    engine = family.engine
    alone = texts(family, REQUESTS)
    batches: list[int] = []
    write = engine._together._run

    def counting(tasks: list[Any], kind: Any) -> list[Any]:
        batches.append(len(tasks))
        return write(tasks, kind)

    engine._together._run = counting
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        found[i] = engine.generate([REQUESTS[i % 5]], SHORT)[0].text

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(10)]
    try:
        with engine._together.alone():  # all ten come while the weights are busy
            for thread in threads:
                thread.start()
            while len(engine._together._waiting) < 10:
                threading.Event().wait(0.01)
        for thread in threads:
            thread.join()
    finally:
        engine._together._run = write
    assert [found[i] for i in range(10)] == [alone[i % 5] for i in range(10)]
    assert batches == [10]


def test_prompts_beyond_a_long_ropes_first_range_run_alone(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(family, REQUESTS)
    batches: list[int] = []
    write = family.engine._together._run

    def counting(tasks: list[Any], kind: Any) -> list[Any]:
        batches.append(len(tasks))
        return write(tasks, kind)

    monkeypatch.setattr(family.engine._together, "_run", counting)
    lengths = sorted(len(family.engine._ask(r.images, r.prompt).ids) for r in REQUESTS)
    monkeypatch.setattr(family.engine, "_short", lengths[2] + SHORT.max_new_tokens)
    assert texts(family, REQUESTS) == before
    assert max(batches) >= 2
    assert batches.count(1) == sum(n > lengths[2] for n in lengths)


@pytest.mark.parametrize(
    ("rope", "first"),
    [
        ({"rope_type": "longrope", "original_max_position_embeddings": 4096}, 4096),
        ({"rope_type": "longrope"}, 0),
        ({"rope_type": "linear", "factor": 1.5}, 0),
        ({"full_attention": {"rope_type": "default"}}, 0),
        (None, 0),
    ],
)
def test_only_a_long_rope_has_a_first_range(rope: Any, first: int) -> None:
    assert _first_range(SimpleNamespace(rope_parameters=rope)) == first


def test_a_prompt_that_leaves_no_room_is_refused(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family.engine, "_positions", 512)
    with pytest.raises(HilumError) as caught:
        family.engine.generate([Request((), "bones " * 2000)], SHORT)
    assert caught.value.code is Code.PROMPT_TOO_LONG
    assert texts(family, [REQUESTS[0]])  # and the next is answered


def test_a_prompt_with_the_image_token_is_refused(family: Family) -> None:
    with pytest.raises(HilumError) as caught:
        family.engine.generate([Request((), f"a{family.processor.image_token}b")], SHORT)
    assert caught.value.code is Code.OPTION_INVALID


# -- likelihoods ------------------------------------------------------------------------------


def naive(
    family: Family, images: tuple[Film, ...], prompt: str, answers: Sequence[str], by: str
) -> Any:
    """One whole run of model and processor an answer; nothing shared, nothing kept."""
    scores = []
    for answer in answers:
        inputs = family.inputs(prompt, images)
        ids = family.processor.tokenizer.encode(answer, add_special_tokens=False)
        long = dict(inputs)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"):
            if name in long:
                tail = (
                    torch.tensor([ids]) if name == "input_ids" else torch.tensor([[0] * len(ids)])
                )
                tail = torch.ones_like(tail) if name == "attention_mask" else tail
                long[name] = torch.cat([long[name], tail], 1)
        if hasattr(family.model.base_model, "rope_deltas"):
            family.model.base_model.rope_deltas = None
        with torch.inference_mode():
            logs = family.model(**long).logits[0].double().log_softmax(-1)
        start = inputs["input_ids"].shape[1] - 1
        each = logs[start : start + len(ids)].gather(1, torch.tensor(ids)[:, None])[:, 0]
        scores.append({"sequence": each.sum(), "mean": each.mean(), "first": each[0]}[by])
    return torch.stack(scores).softmax(0).numpy()


@pytest.mark.parametrize("by", ["sequence", "mean", "first"])
def test_choose_equals_the_naive_way(family: Family, by: Any) -> None:
    context = "Look at the film. "
    asked = [
        Question("Is there a fracture?", ("Yes", "No"), by),
        Question("有骨折吗？", ("是", "No", "不能确定。"), by),
        Question("Is the heart enlarged? Answer in one word.", ("enlarged heart", "size"), by),
    ]
    studies: list[tuple[Film, ...]] = [(film(0),), (film(1), film(2, 64, 90)), ()]
    for images, found in zip(studies, family.engine.choose(studies, context, asked), strict=True):
        assert found.shape == (3, 3)
        for row, question in zip(found, asked, strict=True):
            words = [w for (w,) in question.wordings()]
            expected = naive(family, images, context + question.prompt, words, by)
            np.testing.assert_allclose(row[: len(words)], expected, atol=1e-4)
            assert np.isnan(row[len(words) :]).all()


def test_one_question_at_a_time_gives_the_same(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Question(f"Is there {w}?", ("Yes", "No, none")) for w in ("edema", "a mass", "gas")]
    (together,) = family.engine.choose([(film(0),)], "", asked)
    for question, row in zip(asked, together, strict=True):
        (alone,) = family.engine.choose([(film(0),)], "", [question])
        np.testing.assert_allclose(alone[0], row, atol=1e-5)
    monkeypatch.setattr(choose, "REPEATED_BYTES", 1)  # room for no second question
    (cropped,) = family.engine.choose([(film(0),)], "", asked)
    np.testing.assert_allclose(cropped, together, atol=1e-5)


def test_wordings_of_an_answer_add_up(family: Family) -> None:
    images = [(film(0),)]
    (apart,) = family.engine.choose(images, "", [Question("Heart?", ("Yes", "是", "No", "否"))])
    (one,) = family.engine.choose(images, "", [Question("Heart?", (("Yes", "是"), ("No", "否")))])
    np.testing.assert_allclose(one[0], [apart[0, :2].sum(), apart[0, 2:].sum()], atol=1e-9)


def test_choosing_between_texts_changes_no_draft(family: Family) -> None:
    """Qwen-VL keeps the last prompt's positions in the model: nothing of them may stay."""
    before = texts(family, REQUESTS)
    family.engine.choose([(film(1), film(2))], "", [Question("Heart?", ("Yes", "No"))])
    assert texts(family, REQUESTS) == before
    family.engine.choose([()], "", [Question("Heart?", ("Yes", "No"))])
    assert texts(family, REQUESTS) == before


def test_nothing_asked_nothing_said(family: Family) -> None:
    assert family.engine.generate([], SHORT) == []
    assert family.engine.choose([], "", [Question("a", ("b",))]) == []
    (nothing,) = family.engine.choose([(film(0),)], "", [])
    assert nothing.size == 0


HOT = Sampling(12, temperature=1.5, top_p=0.99, seed=7)


def test_a_seed_draws_the_same_text_again_and_another_seed_another(family: Family) -> None:
    first = texts(family, REQUESTS, HOT)
    torch.manual_seed(99)  # what others drew meanwhile
    assert texts(family, REQUESTS, HOT) == first
    assert texts(family, REQUESTS, replace(HOT, seed=8)) != first
    assert texts(family, REQUESTS, replace(HOT, temperature=0)) == texts(
        family, REQUESTS, Sampling(12)
    )


def test_what_is_drawn_hangs_on_no_company_and_streams_alike(family: Family) -> None:
    request = REQUESTS[0]
    (alone,) = texts(family, [request], HOT)
    assert texts(family, REQUESTS, HOT)[0] == alone
    assert "".join(family.engine.stream(request, HOT)) == alone


def test_a_seed_leaves_torchs_own_numbers_alone(family: Family) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    texts(family, [REQUESTS[2]], HOT)
    assert torch.equal(torch.rand(4), expected)


def test_hardly_any_of_the_probability_is_the_likeliest_token(family: Family) -> None:
    narrow = Sampling(8, temperature=1.0, top_p=1e-6)
    assert texts(family, [REQUESTS[0]], narrow) == texts(family, [REQUESTS[0]], SHORT)
