from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hilum.cli.main import run
from hilum.codes import Code, HilumError
from hilum.data import Given, Work, open_source, prepare
from hilum.data.translate import Translated, by_template, glossary, translate
from hilum.engines.remote import Patience, Remote
from hilum.findings import Status
from hilum.language import label
from tests.data.conftest import read_jsonl, write_csv
from tests.data.test_prepare import SMALL
from tests.data.test_prepare import rows as rows_of
from tests.server import Server, hang, raw, say, status

RIGHT = {
    "Left pleural effusion.": "左侧胸腔积液。",
    "No pneumothorax.": "未见气胸。",
    "The heart is enlarged.": "心影增大。",
    "Old fracture of the left 5th rib.": "左侧第5肋骨陈旧性骨折。",
}
QUICK = Patience(attempts=3, timeout=2.0, pause=0.0)


def dictionary(handler: Any, body: dict[str, Any]) -> None:
    """Answers as a good model would."""
    text = next(m["content"] for m in body["messages"] if m["role"] == "user")
    say(RIGHT[text])(handler, body)


def ask(server: Server, texts: list[str], cache: Path, **more: Any) -> dict[str, Translated]:
    with Remote(server.url, "m", patience=QUICK) as client:
        return translate(texts, "zh", client, cache, **({"concurrency": 1} | more))


def test_each_different_text_is_asked_once_and_kept(server: Server, tmp_path: Path) -> None:
    server.otherwise = dictionary
    texts = list(RIGHT) * 3
    done = ask(server, texts, tmp_path / "c.sqlite", concurrency=4)
    assert {text: one.text for text, one in done.items()} == RIGHT
    assert {one.status for one in done.values()} == {"clean"}
    assert len(server.requests) == len(RIGHT)
    assert ask(server, texts, tmp_path / "c.sqlite") == done
    assert len(server.requests) == len(RIGHT)


def test_the_prompt_brings_the_glossary(server: Server, tmp_path: Path) -> None:
    server.otherwise = dictionary
    ask(server, ["No pneumothorax."], tmp_path / "c.sqlite")
    system = server.requests[0]["messages"][0]["content"]
    assert "consolidation = 实变" in system
    assert "Simplified Chinese" in system
    assert "实变 = consolidation" in glossary("en")


def test_another_model_is_asked_anew(server: Server, tmp_path: Path) -> None:
    server.otherwise = dictionary
    for model in ("m", "n", "m"):
        with Remote(server.url, model, patience=QUICK) as client:
            translate(["No pneumothorax."], "zh", client, tmp_path / "c.sqlite")
    assert [r["model"] for r in server.requests] == ["m", "n"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("右侧胸腔积液。", "side"),
        ("左侧气胸。", "finding"),
        ("未见左侧胸腔积液。", "finding|negation"),
        ("", "empty"),
    ],
)
def test_an_unfaithful_answer_is_asked_again_with_its_errors(
    server: Server, tmp_path: Path, wrong: str, named: str
) -> None:
    text = "Left pleural effusion."
    server.replies = [say(wrong)]
    server.otherwise = dictionary
    (one,) = ask(server, [text], tmp_path / "c.sqlite").values()
    assert (one.text, one.status, one.repaired) == (RIGHT[text], "repaired", 1)
    second = server.requests[1]["messages"]
    assert second[-2] == {"role": "assistant", "content": wrong}
    assert any(word in second[-1]["content"] for word in named.split("|"))


def test_what_stays_unfaithful_is_asked_twice_more_then_set_apart(
    server: Server, tmp_path: Path
) -> None:
    server.otherwise = say("右侧胸腔积液。")
    (one,) = ask(server, ["Left pleural effusion."], tmp_path / "c.sqlite").values()
    assert one.code is Code.TRANSLATION_UNFAITHFUL
    assert one.status == "quarantined"
    assert one.text == "右侧胸腔积液。"
    assert one.errors
    assert len(server.requests) == 3


def test_an_answer_cut_at_the_length_limit_is_no_translation(
    server: Server, tmp_path: Path
) -> None:
    server.otherwise = say("左侧胸腔积液。", finish="length")
    (one,) = ask(server, ["Left pleural effusion."], tmp_path / "c.sqlite").values()
    assert one.code is Code.TEXT_CUT


def test_faults_on_the_way_change_nothing(server: Server, tmp_path: Path) -> None:
    server.replies = [status(429, Retry_After="0"), status(500), dictionary, hang(3), dictionary]
    server.replies += [raw(b'{"choices"', length=99), raw(b"<html>"), dictionary]
    server.otherwise = dictionary
    done = ask(server, list(RIGHT), tmp_path / "c.sqlite")
    assert {text: one.text for text, one in done.items()} == RIGHT


def test_one_text_that_the_server_refuses_is_set_apart(server: Server, tmp_path: Path) -> None:
    server.replies = [status(400)]
    server.otherwise = dictionary
    done = list(ask(server, list(RIGHT), tmp_path / "c.sqlite").values())
    assert done[0].code is Code.REMOTE_REFUSED
    assert [one.status for one in done[1:]] == ["clean"] * 3


@pytest.mark.parametrize(
    ("number", "code", "asked"),
    [
        (401, Code.REMOTE_REFUSED, 1),
        (404, Code.REMOTE_REFUSED, 1),
        (500, Code.REMOTE_UNREACHABLE, 9),
    ],
)
def test_a_dead_endpoint_stops_the_run_and_keeps_what_was_answered(
    server: Server, tmp_path: Path, number: int, code: Code, asked: int
) -> None:
    server.replies = [dictionary]
    server.otherwise = status(number)
    texts = [*RIGHT, "No mass.", "No nodule."]
    with pytest.raises(HilumError) as caught:
        ask(server, texts, tmp_path / "c.sqlite")
    assert caught.value.code is code
    assert len(server.requests) >= 1 + asked
    server.otherwise = dictionary
    before = len(server.requests)
    ask(server, list(RIGHT), tmp_path / "c.sqlite")
    assert len(server.requests) == before + len(RIGHT) - 1


def test_requests_are_never_more_than_the_limit(server: Server, tmp_path: Path) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def slow(handler: Any, body: dict[str, Any]) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        say("未见气胸。")(handler, body)

    server.otherwise = slow
    texts = [f"No pneumothorax. {'No pneumothorax. ' * n}" for n in range(12)]
    ask(server, texts, tmp_path / "c.sqlite", concurrency=3)
    assert 2 <= most[0] <= 3


def test_a_text_without_words_is_not_sent(server: Server, tmp_path: Path) -> None:
    done = ask(server, ["", "   ", "\x00\x01\x02" * 9], tmp_path / "c.sqlite")
    assert [one.code for one in done.values()] == [
        Code.TEXT_EMPTY,
        Code.TEXT_EMPTY,
        Code.TEXT_UNREADABLE,
    ]
    assert server.requests == []


def test_a_text_in_the_wanted_language_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    (one,) = ask(server, ["未见气胸。"], tmp_path / "c.sqlite").values()
    assert (one.text, one.status) == ("未见气胸。", "clean")
    assert server.requests == []


def test_a_cache_that_is_none_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database, though long enough to look" * 40)
    with pytest.raises(HilumError) as caught:
        ask(server, ["No pneumothorax."], tmp_path / "c.sqlite")
    assert caught.value.code is Code.FILE_DAMAGED


# -- by template ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*RIGHT, "Possible nodule. No fracture. Possible pneumonia."])
def test_findings_go_out_and_come_in_by_template(text: str) -> None:
    one = by_template(text, "zh")
    assert one.status == "clean"
    assert one.text is not None
    there = {f.name: f.status for f in label(one.text, "zh")}
    assert {f.name: f.status for f in label(text, "en")}.items() <= there.items()
    assert Status.PRESENT in there.values() or Status.ABSENT in there.values()


def test_a_text_that_names_nothing_is_set_apart() -> None:
    assert by_template("Two films were taken.", "zh").code is Code.NOTHING_SAID
    assert by_template("", "en").code is Code.TEXT_EMPTY


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    rows = [{"id": n, "report": text} for n, text in enumerate([*RIGHT, "Left pleural effusion."])]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_command_writes_both_files_and_counts(
    server: Server, reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies = [say("右侧胸腔积液。")] * 3
    server.otherwise = dictionary
    words = ["--to", "zh", "--endpoint", server.url, "--concurrency", "1", "--json"]
    assert run(["translate", str(reports), str(tmp_path / "out"), *words]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["clean"], told["repaired"], told["quarantined"]) == (3, 0, 1)
    assert told["codes"] == {"translation_unfaithful": 1}
    kept = read_jsonl(tmp_path / "out" / "translated.jsonl")
    apart = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert [row["id"] for row in kept] == ["1", "2", "3"]
    assert [row["id"] for row in apart] == ["0", "4"]
    assert apart[0]["errors"]


def test_structured_needs_no_endpoint(reports: Path, tmp_path: Path) -> None:
    assert (
        run(["translate", str(reports), str(tmp_path / "out"), "--to", "zh", "--structured"]) == 0
    )
    assert len(read_jsonl(tmp_path / "out" / "translated.jsonl")) == 5


@pytest.mark.parametrize("words", [[], ["--structured", "--endpoint", "http://127.0.0.1:9/v1"]])
def test_one_way_of_translating_is_asked_for(
    reports: Path, tmp_path: Path, words: list[str]
) -> None:
    assert run(["translate", str(reports), str(tmp_path / "out"), "--to", "zh", *words]) == 2
    assert not (tmp_path / "out").exists()


def test_a_prepared_dataset_is_translated_row_by_row(
    table: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(open_source(table, None, Given()), tmp_path / "en", SMALL)
    words = ["--to", "zh", "--structured", "--json"]
    assert run(["translate", str(tmp_path / "en"), str(tmp_path / "zh"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 12
    before = {r["study_id"]: r for r in rows_of(tmp_path / "en")}
    after = {r["study_id"]: r for r in rows_of(tmp_path / "zh")}
    assert before.keys() == after.keys()
    for study, row in after.items():
        assert row["report"]["language"] == "zh"
        assert "骨折" in row["report"]["findings"]
        assert row["images"] == before[study]["images"]
        assert row["split"] == before[study]["split"]
    assert "zh" in (tmp_path / "zh" / "README.md").read_text(encoding="utf-8")
    assert run(["translate", str(tmp_path / "en"), str(tmp_path / "zh"), *words]) == 4


def test_a_row_whose_part_is_set_apart_goes_to_the_quarantine(
    tmp_path: Path, server: Server
) -> None:
    write_csv(
        tmp_path / "t.csv",
        [
            {"findings": "Left pleural effusion.", "impression": "No pneumothorax."},
            {"findings": "The heart is enlarged.", "impression": ""},
        ],
    )
    settings = replace(SMALL, work=Work(text_only=True))
    source = open_source(tmp_path / "t.csv", None, Given(text_only=True))
    prepare(source, tmp_path / "en", settings)
    server.replies = [say("右侧胸腔积液。")] * 3
    server.otherwise = dictionary
    words = ["--to", "zh", "--endpoint", server.url, "--concurrency", "1"]
    assert run(["translate", str(tmp_path / "en"), str(tmp_path / "zh"), *words]) == 3
    (kept,) = rows_of(tmp_path / "zh")
    (apart,) = read_jsonl(tmp_path / "zh" / "quarantine.jsonl")
    assert apart["code"] == "translation_unfaithful"
    assert apart["study_id"] != kept["study_id"]


@pytest.mark.slow
def test_kill_nine_and_again_asks_nothing_twice(server: Server, tmp_path: Path) -> None:
    def slow(handler: Any, body: dict[str, Any]) -> None:
        time.sleep(0.05)
        text = body["messages"][1]["content"]
        number = text.split()[-1]
        say(f"未见气胸。 {number}")(handler, body)

    server.otherwise = slow
    rows = [{"id": n, "report": f"No pneumothorax. {n}"} for n in range(40)]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    command = [
        sys.executable,
        "-m",
        "hilum.cli.main",
        "translate",
        str(path),
        str(tmp_path / "out"),
    ]
    command += ["--to", "zh", "--endpoint", server.url, "--concurrency", "1"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(server.requests) < 10 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    answered = len(server.requests)
    assert answered < 40
    subprocess.run(command, capture_output=True, check=False)
    asked = Counter(r["messages"][1]["content"] for r in server.requests if len(r["messages"]) == 2)
    assert len(asked) == 40
    # the one request that was under way when the process died may come again
    assert sum(count - 1 for count in asked.values()) <= 1
