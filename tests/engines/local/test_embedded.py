"""The local engine: drafts, streams and likelihoods, and folders that are no reader."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

import hilum
from hilum.codes import Code, HilumError
from hilum.engines import Draft, Question, Request, Sampling
from hilum.engines.local import LocalEngine
from hilum.engines.local import embedded as local
from hilum.models.embedded import WEIGHTS
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import fit, normalise

SOURCE = Path(hilum.__file__).parents[1]
LONG = Sampling(200)
YES_NO = ("<present>", "<absent>")

Film = NDArray[np.uint8]
Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def loaded(twin: Path) -> LocalEngine:
    return LocalEngine(twin)


@pytest.fixture
def engine(loaded: LocalEngine) -> LocalEngine:
    """An engine that remembers nothing."""
    loaded.forget()
    return loaded


@pytest.fixture(scope="module")
def films(phantoms: list[Path]) -> list[Film]:
    return [np.asarray(Image.open(path)) for path in phantoms]


def request(film: Film, prompt: str = "<en>") -> Request:
    return Request((film,), prompt)


@contextmanager
def encoded(engine: LocalEngine) -> Iterator[list[int]]:
    """The number of films of every run of the encoder."""
    runs: list[int] = []
    hook = engine.model.encoder.register_forward_hook(
        lambda _, given, __: runs.append(len(given[0]))
    )
    yield runs
    hook.remove()


@contextmanager
def stopping(engine: LocalEngine, log_odds: float) -> Iterator[None]:
    """Sets how much the decoder likes to stop."""
    stop = engine.tokenizer.eos_token_id

    def set_stop(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([stop]), log_odds)

    hook = engine.model.decoder.lm_head.register_forward_hook(set_stop)
    yield
    hook.remove()


# -- drafts -----------------------------------------------------------------------------------


def test_batched_equals_one_at_a_time(engine: LocalEngine, films: list[Film]) -> None:
    """Films of one batch end at different lengths, so all but the longest are padded."""
    together = engine.generate([request(f) for f in films], LONG)
    assert len({d.text for d in together}) == len(films)
    assert len({len(d.text) for d in together}) > 1
    for film, draft in zip(films, together, strict=True):
        engine.forget()
        alone = engine.generate([request(film)], LONG)[0]
        assert alone.text == draft.text
        assert alone.complete
        assert draft.complete
        assert [p.end for p in alone.places] == [p.end for p in draft.places]
        for a, b in zip(alone.places, draft.places, strict=True):
            assert a.box == pytest.approx(b.box, abs=0.2)
            assert a.score == pytest.approx(b.score, abs=1e-3)


def test_mixed_prompts_come_back_in_the_order_they_were_asked(
    engine: LocalEngine, films: list[Film]
) -> None:
    prompts = ["<zh>", "<en>", "<en>", "<zh>", "<en>", "<zh>"]
    mixed = engine.generate([request(*pair) for pair in zip(films, prompts, strict=True)], LONG)
    for film, prompt, draft in zip(films, prompts, mixed, strict=True):
        assert draft.text == engine.generate([request(film, prompt)], LONG)[0].text
        assert ("。" in draft.text) == (prompt == "<zh>")


def test_more_films_than_run_at_once(
    engine: LocalEngine, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = engine.generate([request(f) for f in films], LONG)
    odds = engine.choose([(f,) for f in films], "", [Question("<ask><fracture>", YES_NO)])
    monkeypatch.setattr(local, "DECODE_AT_ONCE", 2)
    monkeypatch.setattr(local, "ENCODE_AT_ONCE", 4)
    monkeypatch.setattr(local, "REMEMBERED", 1)
    engine.forget()
    assert [d.text for d in engine.generate([request(f) for f in films], LONG)] == [
        d.text for d in at_once
    ]
    parts = engine.choose([(f,) for f in films], "", [Question("<ask><fracture>", YES_NO)])
    np.testing.assert_allclose(parts, odds, atol=1e-5)


def test_no_requests(engine: LocalEngine) -> None:
    assert engine.generate([], LONG) == []
    assert engine.choose([], "", [Question("<ask><fracture>", YES_NO)]) == []


def test_a_draft_cut_at_the_limit_says_so(engine: LocalEngine, films: list[Film]) -> None:
    whole = engine.generate([request(films[0])], LONG)[0]
    for limit in (1, 2, 5):
        cut = engine.generate([request(films[0])], Sampling(limit))[0]
        assert not cut.complete
        assert whole.text.startswith(cut.text)
        assert len(cut.text) < len(whole.text)
    assert "<" not in whole.text  # no special token is printed


def test_one_request_of_a_batch_may_be_cut_alone(engine: LocalEngine, films: list[Film]) -> None:
    whole = engine.generate([request(f) for f in films], LONG)
    shortest = min(whole, key=lambda d: len(engine.tokenizer.encode(d.text)))
    limit = len(engine.tokenizer.encode(shortest.text)) + 8  # some <box> and the stop
    drafts = engine.generate([request(f) for f in films], Sampling(limit))
    assert {d.complete for d in drafts} == {True, False}
    for before, after in zip(whole, drafts, strict=True):
        assert before.text.startswith(after.text)
        assert after.complete == (after.text == before.text)


def test_a_draft_that_never_stops_ends_with_the_decoders_positions(
    engine: LocalEngine, films: list[Film]
) -> None:
    with stopping(engine, -1e9):
        draft = engine.generate([request(films[0])], Sampling(100_000))[0]
        assert "".join(engine.stream(request(films[0]), Sampling(100_000))) == draft.text
    assert not draft.complete
    assert draft.text


def test_a_draft_may_be_empty(engine: LocalEngine, films: list[Film]) -> None:
    with stopping(engine, 1e9):
        draft = engine.generate([request(films[0])], LONG)[0]
    assert (draft.text, draft.complete) == ("", True)
    assert {p.end for p in draft.places} == {None}


def test_a_place_ends_where_its_sentence_ends(engine: LocalEngine, films: list[Film]) -> None:
    for prompt, stop in (("<en>", "."), ("<zh>", "。")):
        drafts = engine.generate([request(f, prompt) for f in films], LONG)
        spoken = [(d, p) for d in drafts for p in d.places if p.end is not None]
        assert len(spoken) > len(films)
        for draft, place in spoken:
            assert draft.text[: place.end].endswith(stop)
            sentence = draft.text[: place.end].removesuffix(stop).rsplit(stop, 1)[-1]
            word = {"fracture": ("fracture", "骨折"), "nodule": ("odule", "结节")}
            en, zh = word.get(place.finding, ("", ""))
            assert (zh if stop == "。" else en) in sentence


def test_places_carry_the_names_in_the_order_of_training(
    engine: LocalEngine, films: list[Film]
) -> None:
    draft = engine.generate([request(films[0])], Sampling(1))[0]
    expected = [name for name, keep in CLASSES.items() for _ in range(keep)]
    assert [p.finding for p in draft.places] == expected


@pytest.mark.parametrize("shape", [(256, 90), (40, 256), (3, 300), (1000, 2), (2, 2)])
def test_boxes_lie_on_the_film(shape: tuple[int, int], engine: LocalEngine) -> None:
    film = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (draft,) = engine.generate([request(film)], Sampling(1))
    for place in draft.places:
        x0, y0, x1, y1 = place.box
        assert 0 <= x0 < x1 <= shape[1] - 1
        assert 0 <= y0 < y1 <= shape[0] - 1


@pytest.mark.parametrize("images", [0, 2])
def test_one_view_a_request(images: int, engine: LocalEngine, films: list[Film]) -> None:
    views = tuple(films[:images])
    for ask in (
        lambda: engine.generate([request(films[0]), Request(views, "<en>")], LONG),
        lambda: next(engine.stream(Request(views, "<en>"), LONG)),
        lambda: engine.choose([views], "", [Question("<ask>", YES_NO)]),
    ):
        with pytest.raises(HilumError) as caught:
            ask()
        assert caught.value.code is Code.SEVERAL_VIEWS_UNSUPPORTED
        assert f"{images} views" in caught.value.line()


# -- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["<en>", "<zh>", "<ask>", "中", "é<box3>", "<en>No"])
def test_a_stream_joined_is_the_draft(prompt: str, engine: LocalEngine, films: list[Film]) -> None:
    """Prompts that were never learnt give bytes that are no letters yet when they come."""
    for film in films[:2]:
        pieces = list(engine.stream(request(film, prompt), Sampling(60)))
        draft = engine.generate([request(film, prompt)], Sampling(60))[0]
        assert "".join(pieces) == draft.text
        assert all(pieces)
        if prompt in ("<en>", "<zh>"):
            assert len(pieces) > 5


def test_a_stream_that_fails_raises_and_does_not_hang(
    engine: LocalEngine, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine.model, "generate", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(engine.stream(request(films[0]), LONG))


def test_a_stream_that_nobody_reads_on_harms_no_other(
    engine: LocalEngine, films: list[Film]
) -> None:
    whole = engine.generate([request(films[0])], LONG)[0].text
    for _ in range(3):
        pieces = engine.stream(request(films[0]), LONG)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
    assert "".join(engine.stream(request(films[0]), LONG)) == whole


# -- likelihoods ------------------------------------------------------------------------------


def naive(engine: LocalEngine, film: Film, context: str, question: Question) -> NDArray[Any]:
    """The same without cache, batch or sharing: one whole run an answer."""
    square, _ = fit(film, engine.size)

    def ids(text: str) -> list[int]:
        return engine.tokenizer(text, add_special_tokens=False)["input_ids"]

    half = engine.versions["encoder"] == "bfloat16"
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            hidden = engine.model.encoder(normalise(torch.from_numpy(square)[None, None]))
        before = [engine.tokenizer.bos_token_id, *ids(context), *ids(question.prompt)]
        scores = []
        for answer in map(ids, question.answers):
            logits = engine.model.decoder(
                input_ids=torch.tensor([[*before, *answer]]),
                encoder_hidden_states=hidden.last_hidden_state.float(),
                use_cache=False,
            ).logits[0]
            logs = logits.double().log_softmax(-1)[len(before) - 1 : -1]
            scores.append(logs[range(len(answer)), answer].sum())
    return torch.stack(scores).softmax(0).numpy()


QUESTIONS = {
    "one token": [Question(f"<ask><{name}>", YES_NO) for name in CLASSES],
    "one question": [Question("<ask>", YES_NO)],
    "words": [Question("Is there a fracture?", (" No.", " Yes, of the 4th rib.", " Perhaps"))],
    "different lengths": [
        Question("<ask><nodule>", YES_NO),
        Question("<ask>", ("<nodule><present>", "<nodule><absent>", "<fracture><absent>")),
        Question("右侧", ("胸腔积液。",)),
        Question("A question that is much longer than the other ones", ("A", "Ab", "Abc", "B")),
    ],
    "one answer begins another": [Question("Heart", (" size", " size is", " size is normal."))],
    "the same answer twice": [Question("<ask>", ("<nodule>", "<nodule>"))],
}


@pytest.mark.parametrize("context", ["", "<en>", "Heart size is normal. 心影"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_choose_equals_the_naive_way(
    name: str, context: str, engine: LocalEngine, films: list[Film]
) -> None:
    questions, some = QUESTIONS[name], films[:3]
    chosen = engine.choose([(f,) for f in some], context, questions)
    widest = max(len(q.answers) for q in questions)
    for film, found in zip(some, chosen, strict=True):
        assert found.shape == (len(questions), widest)
        assert found.dtype == np.float64
        for row, question in zip(found, questions, strict=True):
            count = len(question.answers)
            expected = naive(engine, film, context, question)
            np.testing.assert_allclose(row[:count], expected, rtol=1e-3, atol=1e-6)
            assert row[:count].sum() == pytest.approx(1, abs=1e-12)
            assert np.isnan(row[count:]).all()


def test_choose_batched_equals_one_at_a_time(engine: LocalEngine, films: list[Film]) -> None:
    questions = QUESTIONS["different lengths"]
    together = engine.choose([(f,) for f in films], "<zh>", questions)
    for film, found in zip(films, together, strict=True):
        engine.forget()
        (alone,) = engine.choose([(film,)], "<zh>", questions)
        np.testing.assert_allclose(alone, found, rtol=1e-3, atol=1e-6)
    assert not np.allclose(together[0], together[1], equal_nan=True)


def test_what_was_learnt_is_what_is_likely(
    engine: LocalEngine, films: list[Film], phantoms: list[Path]
) -> None:
    questions = [Question(f"<ask><{name}>", YES_NO) for name in CLASSES]
    lines = (phantoms[0].parent / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    for line, found in zip(lines, engine.choose([(f,) for f in films], "", questions), strict=True):
        status = {f["name"]: f["status"] for f in json.loads(line)["findings"]}
        expected = [status[name] == "present" for name in CLASSES]
        assert (found[:, 0] > 0.5).tolist() == expected


def test_no_questions(engine: LocalEngine, films: list[Film]) -> None:
    found = engine.choose([(f,) for f in films[:2]], "", [])
    assert [f.shape for f in found] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("prompt", "answers"), [("", YES_NO), ("x", ()), ("x", ("y", ""))])
def test_a_question_has_words_and_answers(prompt: str, answers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="without words"):
        Question(prompt, answers)


# -- a film is encoded once -------------------------------------------------------------------


def test_choose_then_generate_encodes_once(engine: LocalEngine, films: list[Film]) -> None:
    with encoded(engine) as runs:
        engine.choose([(f,) for f in films], "", QUESTIONS["one token"])
        engine.generate([request(f) for f in films], LONG)
        engine.generate([request(f.copy(), "<zh>") for f in reversed(films)], Sampling(2))
        list(engine.stream(request(films[0]), Sampling(2)))
    assert runs == [len(films)]


def test_only_new_films_are_encoded(engine: LocalEngine, films: list[Film]) -> None:
    with encoded(engine) as runs:
        engine.generate([request(f) for f in films[:2]], Sampling(1))
        drafts = engine.generate([request(f) for f in films[:4]], Sampling(1))
    assert runs == [2, 2]
    engine.forget()
    again = engine.generate([request(f) for f in films[:4]], Sampling(1))
    assert [d.text for d in again] == [d.text for d in drafts]


def test_films_are_told_apart_by_shape_and_by_one_pixel(engine: LocalEngine) -> None:
    film = np.random.default_rng(0).integers(0, 256, (60, 120)).astype(np.uint8)
    turned = film.reshape(120, 60)  # the same bytes
    dotted = film.copy()
    dotted[30, 60] ^= 255
    with encoded(engine) as runs:
        engine.generate([request(f) for f in (film, turned, dotted)], Sampling(1))
    assert runs == [3]
    film[30, 60] ^= 255  # the caller's array changed: it is another film now
    with encoded(engine) as runs:
        engine.generate([request(film)], Sampling(1))
    assert runs == []


def test_memory_is_bounded(
    engine: LocalEngine, films: list[Film], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "REMEMBERED", 4)
    odd = [np.full((40, 40), k, np.uint8) for k in range(11)]
    engine.generate([request(f) for f in odd], Sampling(1))
    assert len(engine._memory) == 4
    with encoded(engine) as runs:
        engine.generate([request(f) for f in odd[-4:]], Sampling(1))  # the last are kept
        engine.generate([request(odd[7])], Sampling(1))  # and used: no longer the oldest
        engine.generate([request(films[0])], Sampling(1))
        engine.generate([request(odd[7])], Sampling(1))
        engine.generate([request(odd[8])], Sampling(1))
    assert runs == [1, 1]
    for kept in engine._memory.values():  # and none of them keeps its whole batch
        assert kept.tokens.untyped_storage().nbytes() == kept.tokens.numel() * 4


# -- folders ----------------------------------------------------------------------------------


def test_what_was_loaded_is_named(loaded: LocalEngine, twin: Path) -> None:
    weights = (twin / "model.safetensors").read_bytes()
    assert loaded.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert loaded.versions["torch"] == torch.__version__
    assert set(loaded.versions) == {"torch", "transformers", "encoder"}
    assert loaded.versions["encoder"] in ("bfloat16", "float32")
    assert next(loaded.model.parameters()).dtype is torch.float32
    assert not loaded.model.training


def _rewrite(name: str, change: Callable[[Any], object]) -> Edit:
    def edit(folder: Path) -> None:
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        change(settings)
        (folder / name).write_text(json.dumps(settings), encoding="utf-8")

    return edit


def _set(content: bytes, name: str = "model.safetensors") -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def _cut(share: float) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return edit


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Edit:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def _pickle_instead(folder: Path) -> None:
    """Weights that would run code when they are opened."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


def _remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def _forget_boxes(folder: Path) -> None:
    """The tokenizer of other special tokens: `<box3>` would be letters in a draft."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace("<box", "<bow"), encoding="utf-8")


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["encoder.position"] = torch.zeros(1, 9, 32)


BROKEN: dict[str, Edit] = {
    "no weights": _remove("model.safetensors"),
    "no configuration": _remove("config.json"),
    "no tokenizer": _remove("tokenizer.json"),
    "empty weights": _set(b""),
    "weights that are text": _set(b"version https://git-lfs.github.com/spec/v1\n" * 3),
    "weights cut in the header": _cut(0.01),
    "weights cut in the middle": _cut(0.5),
    "weights cut by a hair": _cut(0.9999),
    "a pickle instead": _pickle_instead,
    "a layer missing": _tensors(lambda t: t.pop("encoder.heat.1.weight")),
    "a layer too many": _tensors(lambda t: t.update(extra=torch.zeros(3))),
    "a layer of another shape": _tensors(_reshape),
    "weights of something else": _tensors(lambda t: (t.clear(), t.update(x=torch.zeros(2)))),
    "configuration is no JSON": _set(b"{", "config.json"),
    "configuration is a list": _set(b"[]", "config.json"),
    "configuration is empty": _set(b"{}", "config.json"),
    "configuration is no UTF-8": _set(b"\xff\xfe{}", "config.json"),
    "another architecture": _rewrite("config.json", lambda c: c.update(model_type="bert")),
    "another encoder": _rewrite("config.json", lambda c: c["encoder"].update(model_type="vit")),
    "an unknown encoder": _rewrite("config.json", lambda c: c["encoder"].update(model_type="x")),
    "another decoder": _rewrite("config.json", lambda c: c["decoder"].update(model_type="gpt2")),
    "a larger film": _rewrite("config.json", lambda c: c["encoder"].update(image_size=256)),
    "a size in words": _rewrite("config.json", lambda c: c["encoder"].update(image_size="big")),
    "an unknown class": _rewrite("config.json", lambda c: c["encoder"].update(classes={"x": 14})),
    "fewer classes": _rewrite("config.json", lambda c: c["encoder"].update(classes={"nodule": 3})),
    "tokenizer is no JSON": _set(b"{", "tokenizer.json"),
    "tokenizer without boxes": _forget_boxes,
    "no end token": _rewrite("tokenizer_config.json", lambda c: c.pop("eos_token")),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_not_whole_is_one_line(
    name: str, twin: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Never a reader with layers made up at random, which transformers is content with."""
    folder = tmp_path / "reader"
    shutil.copytree(twin, folder)
    BROKEN[name](folder)
    with pytest.raises(HilumError) as caught:
        LocalEngine(folder)
    assert caught.value.code is Code.READER_INVALID
    assert caught.value.detail
    line = caught.value.line()
    assert line.startswith(f"{folder}: ")
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["openai/clip", "no such folder", "file.txt", "", "bert-base"])
def test_what_is_no_folder_is_not_looked_for_elsewhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if not name else tmp_path)
    with pytest.raises(HilumError) as caught:
        LocalEngine(Path(name))
    assert caught.value.code is Code.READER_INVALID
    assert no_network == []


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuses every connection and look-up, and keeps what was asked for."""
    import socket

    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network in this test")

    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def test_the_hub_is_never_asked(twin: Path, films: list[Film], no_network: list[object]) -> None:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        assert variable not in os.environ
    engine = LocalEngine(twin)
    engine.generate([request(films[0])], Sampling(2))
    list(engine.stream(request(films[0]), Sampling(2)))
    engine.choose([(films[0],)], "", QUESTIONS["one token"])
    assert no_network == []


def _without(module: str, code: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    block = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {module!r}:\n"
        "            raise ModuleNotFoundError('No module named ' + name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", block + code, *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_without_the_extra_the_line_says_how_to_get_it(
    module: str, twin: Path, phantoms: list[Path]
) -> None:
    arguments = ["read", str(phantoms[0]), "--reader", str(twin), "--json"]
    done = _without(module, "from hilum.cli.main import app; app()", arguments)
    assert done.returncode == 4
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("[extra_missing]")
    assert "pip install 'hilum[local]'" in line


def test_a_draft_is_a_value() -> None:
    assert Draft("x") == Draft("x", True, ())


def test_a_processor_without_bfloat16_reads_in_float32(
    monkeypatch: pytest.MonkeyPatch, films: list[Film]
) -> None:
    """And says so; what it finds is what the other finds, to the precision of the other.

    Of the packaged reader: a random encoder has no peak that stands out, and may choose another.
    """
    fast = LocalEngine(WEIGHTS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    plain = LocalEngine(WEIGHTS)
    assert plain.versions["encoder"] == "float32"
    questions = [Question(f"<ask><{name}>", YES_NO) for name in CLASSES]
    found = [np.array(e.choose([(f,) for f in films], "", questions)) for e in (fast, plain)]
    np.testing.assert_allclose(*found, atol=0.2)
