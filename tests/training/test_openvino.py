"""Exports for OpenVINO: what is refused before any work, and one export where there is a tool."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.codes import Code, HilumError
from hilum.engines import Question, Request, Sampling
from hilum.engines.open import open_engine
from hilum.engines.openvino import EXPORT, OpenVinoEngine, _literal, spelt
from hilum.models.twins import make_twin
from hilum.reading.reader import CARD, Card, Reader
from hilum.training import compress
from hilum.training.bits import METHODS
from hilum.training.openvino import (
    EXPORTER,
    FORMATS,
    describe,
    export,
    quantize,
)
from hilum.training.parity import compare


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_twin("qwen2.5-vl", tmp_path_factory.mktemp("qwen"))


def refused(model: Path, to: str, out: Path, env: Path) -> HilumError:
    with pytest.raises(HilumError) as caught:
        quantize(model, to, out, env)
    return caught.value


def test_what_cannot_be_done_is_said_before_any_work(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert refused(model, "gguf", out, tmp_path).code is Code.OPTION_INVALID
    missing = refused(model, "openvino-int8", out, tmp_path / "env")
    assert missing.code is Code.EXTRA_MISSING
    for command in EXPORTER.commands(tmp_path / "env"):
        assert " ".join(command) in missing.line()
    assert refused(model, "openvino-int8", tmp_path, tmp_path).code is Code.OUTPUT_EXISTS
    assert not out.exists()


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if openvino-genai were installed here."""
    monkeypatch.setattr("hilum.training.openvino.need_openvino", lambda: None)


def test_what_it_would_be_compared_with_is_missed_before_minutes_of_exporting(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    env = fake(tmp_path, f"touch {tmp_path / 'seen'}")
    error = refused(model, "openvino-int8", tmp_path / "out", env)
    assert error.code is Code.EXTRA_MISSING
    assert "hilum[openvino]" in error.line()
    assert not (tmp_path / "seen").exists()


def fake(folder: Path, script: str) -> Path:
    """An environment whose exporter is this shell script."""
    path = folder / "env" / "bin" / "optimum-cli"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder / "env"


@pytest.mark.usefixtures("at_hand")
def test_an_exporter_that_fails_is_quoted_by_its_last_line(model: Path, tmp_path: Path) -> None:
    env = fake(tmp_path, "echo first >&2; echo 'ValueError: no such model' >&2; exit 1")
    error = refused(model, "openvino-int8", tmp_path / "out", env)
    assert error.code is Code.EXPORT_FAILED
    assert "ValueError: no such model" in error.line()
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("at_hand")
def test_an_exporter_that_writes_nothing_has_failed(model: Path, tmp_path: Path) -> None:
    error = refused(model, "openvino-int8", tmp_path / "out", fake(tmp_path, "exit 0"))
    assert error.code is Code.EXPORT_FAILED


@pytest.mark.usefixtures("at_hand")
def test_the_exporter_is_offline_and_by_itself(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    seen = tmp_path / "seen"
    env = fake(tmp_path, f'echo "$HF_HUB_OFFLINE|$PYTHONPATH|$*" > {seen}; exit 1')
    refused(model, "openvino-int4", tmp_path / "out", env)
    offline, path, words = seen.read_text().strip().split("|")
    assert (offline, path) == ("1", "")
    assert "--weight-format int4" in words
    assert "--task image-text-to-text" in words


@pytest.mark.parametrize("words", ["Yes", "a.b", "(x|y)*", "C:\\d+", "有", "no - none"])
def test_a_grammar_of_one_wording_is_that_wording(words: str) -> None:
    import re

    assert re.fullmatch(_literal(words), words)
    assert not re.fullmatch(_literal(words), words + "x")


TOKENS = {b"Y": 1, b"es": 2, b"Yes": 3, b"N": 4, b"No": 5, b" Yes": 6, b" ": 7, b"e": 8, b"s": 9}
TOKENS |= {b"\xe6": 10, b"\xe6\x9c": 11, b"\x89": 12, "有".encode(): 13}


@pytest.mark.parametrize(
    ("ids", "text", "others"),
    [
        ([5], "No", {4}),
        ([3], "Yes", {1}),
        ([1, 2], "Yes", {3, 8}),
        ([6], " Yes", {7}),  # a tokenizer whose words begin with a space
        ([11, 12], "有", {10, 13}),
        ([13], "有", {10, 11}),
        ([9, 9], "ss", set()),
    ],
)
def test_a_wording_can_be_written_in_one_way_only(
    ids: list[int], text: str, others: set[int]
) -> None:
    letters = {i: piece for piece, i in TOKENS.items()}
    assert spelt([letters[i] for i in ids], TOKENS) == (text, others)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"stops": 3}', '{"stops": [1]}'])
def test_a_folder_that_is_no_export_is_no_reader(content: str | None, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    (tmp_path / "openvino_language_model.xml").write_text("<net/>")
    if content is not None:
        (tmp_path / EXPORT).write_text(content)
    with pytest.raises(HilumError) as caught:
        open_engine(tmp_path)
    assert caught.value.code is Code.READER_INVALID


def test_an_export_is_told_its_frame_and_its_positions(tmp_path: Path) -> None:
    twin = with_rope("llava-dinov2", LONG_ROPE, tmp_path / "twin")
    # a Llama's default, which its saved configuration leaves out
    long = LONG_ROPE | {"original_max_position_embeddings": 2048}
    config = json.loads((twin / "config.json").read_text())
    config["text_config"] |= {"rope_parameters": long, "max_position_embeddings": 8192}
    del config["image_seq_length"]
    (twin / "config.json").write_text(json.dumps(config))
    out = tmp_path / "out"
    out.mkdir()
    describe(twin, "openvino-int8", out)
    said = json.loads((out / EXPORT).read_text())
    assert (said["positions"], said["image_tokens"]) == (2048, 576)
    assert said["frame"] | {"kind": "square", "fit": "crop", "side": 56} == said["frame"]


def test_gemma_has_no_frame(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    describe(make_twin("gemma3", tmp_path / "twin"), "openvino-int8", out)
    assert "frame" not in json.loads((out / EXPORT).read_text())


def test_the_runtime_is_to_leave_a_frame_as_it_is(tmp_path: Path) -> None:
    """Also one that was rounded up to more pixels than the processor itself would take."""
    limits = {"min_pixels": 4800, "max_pixels": 4800, "patch_size": 14}
    for family, kept in (("qwen2.5-vl", False), ("gemma3", True)):
        out = tmp_path / family / "out"
        out.mkdir(parents=True)
        (out / "preprocessor_config.json").write_text(json.dumps(limits))
        describe(make_twin(family, tmp_path / family / "twin"), "openvino-int8", out)
        found = json.loads((out / "preprocessor_config.json").read_text())
        assert found["patch_size"] == 14
        assert (found == limits) is kept
        if not kept:
            assert found["min_pixels"] == found["size"]["shortest_edge"] == 1
            assert found["max_pixels"] == found["size"]["longest_edge"] > 10_000 * 10_000


@pytest.fixture(scope="module")
def exporter() -> Path:
    """The exporter's environment, where there is one."""
    named = os.environ.get("HILUM_OPENVINO_ENV")
    if not named:
        pytest.skip("HILUM_OPENVINO_ENV names no exporter's environment")
    pytest.importorskip("openvino_genai")
    return Path(named)


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6],
    "long_factor": [1.5, 2.0, 4.0, 9.0],
    "original_max_position_embeddings": 128,
}


def with_rope(family: str, rope: dict[str, Any], folder: Path) -> Path:
    twin = make_twin(family, folder)
    config = json.loads((twin / "config.json").read_text())
    if rope:
        config["text_config"] |= {"rope_parameters": rope, "original_max_position_embeddings": 128}
    (twin / "config.json").write_text(json.dumps(config))
    return twin


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "rope"),
    [
        ("llava-dinov2", {}),
        ("llava-siglip", {}),
        ("llava-dinov2", LONG_ROPE),
        ("gemma3", {}),
        ("qwen2.5-vl", {}),
        ("qwen3-vl", {}),
    ],
)
def test_an_export_in_float32_says_what_its_original_says(
    family: str, rope: dict[str, Any], exporter: Path, tmp_path: Path
) -> None:
    from hilum.engines.local.vlm import VlmEngine

    twin = with_rope(family, rope, tmp_path / "twin")
    original, out = VlmEngine(twin, "float32"), tmp_path / "out"
    export(twin, "fp32", out, exporter)
    describe(twin, "openvino-fp32", out, original)
    engine = OpenVinoEngine(out, exact=True)
    parity = compare(original, engine)
    assert parity.texts_equal == parity.texts
    assert parity.largest_probability_difference < 1e-3
    # a film as large as films are: the runtime's own resizing would make other pixels of it
    large = np.random.default_rng(1).integers(0, 256, (900, 700), dtype=np.uint8)
    asked = Request((large, large[::-1]), "Compare the films.")
    tokens = len(original.words.prompt([original.films.prepare(i) for i in asked.images], "x"))
    short = Request(asked.images, "x")
    said = [e.generate([asked], Sampling(16))[0].text.split("\ufffd") for e in (engine, original)]
    assert [p for p in said[0] if p] == [p for p in said[1] if p]  # but for broken letters
    (result,) = engine._run([short], [engine._config(Sampling(1))])
    assert result.perf_metrics.get_num_input_tokens() == tokens
    question = Question("Is there a fracture?", (("Yes", "yes", "是"), ("No", "no", "否")), "mean")
    ours, theirs = (e.choose([(large,)], "", [question])[0] for e in (engine, original))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def with_sentences(folder: Path) -> Path:
    """A twin with a tokenizer of SentencePiece's kind: marks before words, bytes for the rest."""
    twin = make_twin("llava-dinov2", folder)
    path = twin / "tokenizer.json"
    raw = json.loads(path.read_text())
    special = [t["content"] for t in raw["added_tokens"] if t["id"] < 6]
    merges = [
        ("▁", "Y"),
        ("e", "s"),
        ("▁Y", "es"),
        ("▁", "N"),
        ("▁N", "o"),
        ("Y", "es"),
        ("N", "o"),
    ]
    words = [*special, *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    words += [*"abcdefghijklmnopqrstuvwxyzYNDICRA.?-", *("".join(m) for m in merges)]
    words += [f"w{i}" for i in range(360 - len(words))]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    normal = [{"type": "Prepend", "prepend": "▁"}, space]
    raw |= {
        "normalizer": {"type": "Sequence", "normalizers": normal},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip],
        },
    }
    raw["model"] |= {
        "vocab": {word: i for i, word in enumerate(words)},
        "merges": [list(m) for m in merges],
        "byte_fallback": True,
        "fuse_unk": True,
    }
    path.write_text(json.dumps(raw))
    return twin


@pytest.mark.slow
def test_a_film_rounded_up_beyond_the_most_pixels_is_not_made_smaller(
    exporter: Path, tmp_path: Path
) -> None:
    from hilum.engines.local.vlm import VlmEngine

    twin, out = make_twin("qwen2.5-vl", tmp_path / "twin"), tmp_path / "out"
    for path in (twin / "processor_config.json", twin / "preprocessor_config.json"):
        settings = json.loads(path.read_text()) if path.is_file() else {}
        images = settings.get("image_processor", settings)
        if images:
            images["size"] = {"shortest_edge": 4800, "longest_edge": 4800}
            images |= {k: 4800 for k in ("min_pixels", "max_pixels") if k in images}
            path.write_text(json.dumps(settings))
    original = VlmEngine(twin, "float32")
    export(twin, "fp32", out, exporter)
    describe(twin, "openvino-fp32", out, original)
    parity = compare(original, OpenVinoEngine(out, exact=True))
    assert parity.texts_equal == parity.texts
    assert parity.largest_probability_difference < 1e-3


@pytest.mark.slow
def test_a_tokenizer_whose_words_begin_with_a_space_is_scored_as_it_writes(
    exporter: Path, tmp_path: Path
) -> None:
    """Phi-3's own is of this kind: after a turn's mark it says "▁No", hardly ever "No"."""
    from hilum.engines.local.vlm import VlmEngine

    twin, out = with_sentences(tmp_path / "twin"), tmp_path / "out"
    original = VlmEngine(twin, "float32")
    assert original.words.text(original.words.ids("No")) == "No"
    export(twin, "fp32", out, exporter)
    describe(twin, "openvino-fp32", out, original)
    engine = OpenVinoEngine(out, exact=True)
    film = np.random.default_rng(1).integers(0, 256, (80, 64), dtype=np.uint8)
    answers = (("Yes", "yes", "是"), ("No", "no", "否"))
    for by in ("first", "mean", "sequence"):
        question = Question("Is there a fracture?", answers, by)  # type: ignore[arg-type]
        ours, theirs = (e.choose([(film,)], "", [question])[0] for e in (engine, original))
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.slow
def test_a_text_ends_where_the_long_ropes_first_range_does(exporter: Path, tmp_path: Path) -> None:
    twin, out = with_rope("llava-dinov2", LONG_ROPE, tmp_path / "twin"), tmp_path / "out"
    done = quantize(twin, "openvino-int8", out, exporter)
    assert done.parity.largest_probability_difference < 0.2
    engine = OpenVinoEngine(out)
    film = np.zeros((56, 56), dtype=np.uint8)

    def used(words: str) -> int:
        (result,) = engine._run([Request((film,), words)], [engine._config(Sampling(1))])
        return int(result.perf_metrics.get_num_input_tokens())

    fixed = used("?")
    last = "?" * (127 - fixed + 1)
    assert used(last) == 127
    many = Sampling(50, ignore_stops=True)
    assert len(engine.generate([Request((film,), last)], many)) == 1
    for call in (
        lambda: engine.generate([Request((film,), last + "?")], many),
        lambda: list(engine.stream(Request((film,), last + "?"), many)),
        lambda: engine.choose([(film,)], last, [Question("?", ("Yes", "No"), "first")]),
    ):
        with pytest.raises(HilumError) as caught:
            call()
        assert caught.value.code is Code.PROMPT_TOO_LONG
        assert "128 positions" in caught.value.line()


@pytest.mark.slow
def test_an_export_answers_as_its_original(
    model: Path, exporter: Path, tmp_path: Path, phantoms: list[Path]
) -> None:
    (model / CARD).write_text(
        Card(
            name="twin",
            architecture="qwen",
            licence="none",
            prompts={"en": "Describe bones."},
            questions={"fracture": "Is there a fracture?"},  # type: ignore[dict-item]
            answers=("Yes", "No"),
            max_new_tokens=8,
        ).model_dump_json()
    )
    out = tmp_path / "out"
    done = quantize(model, "openvino-fp16", out, exporter)
    assert done.bytes_after < done.bytes_before
    assert json.loads((out / EXPORT).read_text())["parity"]["texts"] == done.parity.texts
    engine = OpenVinoEngine(out, exact=True)
    films = [np.random.default_rng(i).integers(0, 256, (80, 64), dtype=np.uint8) for i in range(3)]
    asked = [Request((f,), "Hi") for f in films]
    drafts = engine.generate(asked, Sampling(8))
    assert drafts == [engine.generate([r], Sampling(8))[0] for r in asked]
    assert "".join(engine.stream(asked[0], Sampling(8))).strip() == drafts[0].text
    (found,) = engine.choose([(films[0],)], "", [Question("Hi", ("Yes", "No", "A"), "first")])
    assert found.sum() == pytest.approx(1)
    report = Reader.load(out).read(phantoms[0])
    assert report.provenance.weights_sha256 == engine.weights_sha256
    assert report.finding("fracture") is not None  # type: ignore[arg-type]


def test_the_formats_are_the_command_lines() -> None:
    from hilum.cli.quantize import Format

    assert [f.value for f in Format] == [*FORMATS, *METHODS, *compress.METHODS]
