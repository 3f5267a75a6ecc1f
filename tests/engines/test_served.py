"""The engine behind a URL, against a real HTTP server on the loopback."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hilum.codes import Code, HilumError
from hilum.engines import Question, Request, Sampling
from hilum.engines.remote import Patience
from hilum.engines.served import ServedEngine, data_url
from hilum.reading.reader import Reader
from tests.server import Reply, Server, raw, say, send, status

PATIENCE = Patience(attempts=3, timeout=20, pause=0.0)
FILM = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
YES_NO = Question("Is there a fracture?", (("Yes", "yes"), ("No", "no")), "first")


def engine(server: Server) -> ServedEngine:
    return ServedEngine(server.url, "m", patience=PATIENCE)


def likely(**logs: float) -> Reply:
    """A first token with these likeliest candidates."""
    told = [{"token": t, "logprob": math.log(p)} for t, p in logs.items()]
    content = [{**told[0], "top_logprobs": told}]
    choice = {"message": {"content": told[0]["token"]}, "logprobs": {"content": content}}
    return raw(json.dumps({"choices": [choice]}).encode())


def events(*pieces: str, end: bytes = b"data: [DONE]\n\n") -> Reply:
    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        lines = [json.dumps({"choices": [{"delta": {"content": p}}]}) for p in pieces]
        stream = b": hello\n\n" + b"".join(b"data: " + x.encode() + b"\n\n" for x in lines) + end
        send(handler, 200, stream, {"Content-Type": "text/event-stream"})

    return reply


def test_films_go_as_png_before_the_words(server: Server) -> None:
    server.otherwise = say(" No acute fracture. ")
    draft = engine(server).generate([Request((FILM, FILM.T.copy()), "Describe.")], Sampling(9))[0]
    assert (draft.text, draft.complete) == ("No acute fracture.", True)
    (body,) = server.requests
    (message,) = body["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "image_url", "text"]
    kind, _, data = message["content"][0]["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    np.testing.assert_array_equal(sent, FILM)
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0, 9, "m")


def test_many_requests_come_back_in_order(server: Server) -> None:
    def echo(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        say(body["messages"][0]["content"][-1]["text"])(handler, body)

    server.otherwise = echo
    server.replies = [status(503), status(429, Retry_After="0"), raw(b"{")]
    asked = [Request((FILM,), f"film {i}") for i in range(20)]
    patient = ServedEngine(server.url, "m", patience=replace(PATIENCE, attempts=4))
    drafts = patient.generate(asked, Sampling(9))  # even where one request meets all three
    assert [d.text for d in drafts] == [f"film {i}" for i in range(20)]
    assert engine(server).generate([], Sampling(9)) == []


def test_a_cut_text_says_so(server: Server) -> None:
    server.otherwise = say("The lungs", finish="length")
    assert not engine(server).generate([Request((), "a")], Sampling(2))[0].complete


def test_a_schema_is_sent_and_held_to(server: Server) -> None:
    schema = {"type": "object", "properties": {"fracture": {"type": "boolean"}}}
    server.replies = [say("no json"), say('{"fracture": true}')]
    (draft,) = engine(server).generate([Request((), "a")], Sampling(99), schema)
    assert json.loads(draft.text) == {"fracture": True}
    held = server.requests[0]["response_format"]
    assert held["json_schema"]["schema"] == schema
    server.otherwise = say("never json")
    with pytest.raises(HilumError) as caught:
        engine(server).generate([Request((), "a")], Sampling(99), schema)
    assert caught.value.code is Code.REMOTE_INVALID
    assert "never json" not in caught.value.line()


def test_a_stream_joined_is_the_text(server: Server) -> None:
    server.replies = [status(503), events("Lungs ", "", "清晰", ".")]
    pieces = list(engine(server).stream(Request((FILM,), "a"), Sampling(9)))
    assert pieces == ["Lungs ", "清晰", "."]
    assert server.requests[-1]["stream"] is True


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (events(), Code.REMOTE_INVALID),
        (events(end=b"data: {\n\n"), Code.REMOTE_INVALID),
        (events(end=b"data: [1]\n\n"), Code.REMOTE_INVALID),
        (status(500), Code.REMOTE_UNREACHABLE),
        (status(400), Code.REMOTE_REFUSED),
    ],
)
def test_a_stream_that_never_begins_has_a_code(server: Server, reply: Reply, code: Code) -> None:
    server.otherwise = reply
    with pytest.raises(HilumError) as caught:
        list(engine(server).stream(Request((), "secret"), Sampling(9)))
    assert caught.value.code is code
    assert "secret" not in caught.value.line()


def test_a_stream_that_breaks_off_is_not_begun_again(server: Server) -> None:
    def broken(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        one = json.dumps({"choices": [{"delta": {"content": "Lungs"}}]}).encode()
        send(handler, 200, b"data: " + one + b"\n\n", length=1000)

    server.otherwise = broken
    pieces = engine(server).stream(Request((), "a"), Sampling(9))
    assert next(pieces) == "Lungs"
    with pytest.raises(HilumError) as caught:
        list(pieces)
    assert caught.value.code is Code.REMOTE_UNREACHABLE
    assert len(server.requests) == 1


# -- likelihoods ------------------------------------------------------------------------------


def test_answers_are_compared_by_their_first_tokens(server: Server) -> None:
    server.otherwise = likely(**{"Yes": 0.3, " yes": 0.1, "Y": 0.1, "No": 0.2, "Not": 0.3})
    (found,) = engine(server).choose([(FILM,)], "Look. ", [YES_NO])
    np.testing.assert_allclose(found, [[0.5 / 0.7, 0.2 / 0.7]], atol=1e-9)
    (body,) = server.requests
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert body["messages"][0]["content"][-1]["text"] == "Look. Is there a fracture?"


def test_questions_and_studies_keep_their_places(server: Server) -> None:
    def by_question(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        parts = body["messages"][0]["content"]
        p = 0.1 * int(parts[-1]["text"][-1]) + (0.05 if len(parts) == 3 else 0)
        likely(Yes=p, No=1 - p)(handler, body)

    server.otherwise = by_question
    asked = [Question(f"question {i}", ("Yes", "No")) for i in range(1, 6)]
    one, two = engine(server).choose([(FILM,), (FILM, FILM)], "", asked)
    np.testing.assert_allclose(one[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(two[:, 0], one[:, 0] + 0.05)
    assert engine(server).choose([(FILM,)], "", [])[0].size == 0


def test_an_answer_below_the_likeliest_is_at_most_their_last(server: Server) -> None:
    server.otherwise = likely(Yes=0.9, Perhaps=0.001)
    (found,) = engine(server).choose([()], "", [YES_NO])
    assert found[0, 1] == pytest.approx(0.001 / 0.901)


@pytest.mark.parametrize(
    "reply",
    [
        say("Yes"),  # no likelihoods at all
        likely(The=0.6, A=0.4),
        likely(The=0.99, Yes=0.005, A=0.004),  # No might be 0.004 too
        raw(b'{"choices": [{"logprobs": {"content": []}}]}'),
        raw(b'{"choices": [{"logprobs": {"content": [{"token": 1}]}}]}'),
    ],
)
def test_no_probability_is_made_up(server: Server, reply: Reply) -> None:
    server.otherwise = reply
    with pytest.raises(HilumError) as caught:
        engine(server).choose([()], "", [YES_NO])
    assert caught.value.code is Code.NO_PROBABILITY


def test_answers_that_begin_alike_have_no_probability(server: Server) -> None:
    server.otherwise = likely(No=0.6, Yes=0.4)
    with pytest.raises(HilumError) as caught:
        engine(server).choose([()], "", [Question("a", ("No", "No fracture"))])
    assert caught.value.code is Code.NO_PROBABILITY


# -- readers ----------------------------------------------------------------------------------


def test_a_url_is_a_reader(
    server: Server, phantoms: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def served(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        yes = 0.9 if "fracture" in body["messages"][0]["content"][-1]["text"] else 0.1
        reply = likely(Yes=yes, No=1 - yes) if "logprobs" in body else say("Rib fracture.")
        reply(handler, body)

    server.otherwise = served
    monkeypatch.setenv("HILUM_API_KEY", "k2")
    report = Reader.load(server.url + "#google/medgemma-4b-it").read(phantoms[0])
    fracture = report.finding("fracture")  # type: ignore[arg-type]
    assert fracture is not None
    assert fracture.probability == pytest.approx(0.9, abs=1e-4)
    assert report.provenance.reader == "medgemma-4b-it"
    assert report.provenance.versions["server"].startswith("127.0.0.1")
    assert server.headers[0]["Authorization"] == "Bearer k2"
    assert "k2" not in report.model_dump_json()


def test_the_only_model_of_a_server_need_not_be_named(server: Server) -> None:
    assert Reader.load(server.url).card.name == "m"
    server.models = ["a", "b"]
    with pytest.raises(HilumError) as caught:
        Reader.load(server.url)
    assert caught.value.code is Code.OPTION_INVALID
    assert f"{server.url}#NAME" in caught.value.line()
    assert Reader.load(server.url + "#b").card.name == "b"


def test_a_data_url_is_the_image_whatever_its_memory_layout() -> None:
    turned = FILM.T[::-1]
    data = base64.b64decode(data_url(turned).partition("base64,")[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), turned)


@pytest.mark.parametrize(
    ("sampling", "sent"),
    [
        (Sampling(9), {"temperature": 0}),
        (Sampling(9, seed=3), {"temperature": 0}),
        (Sampling(9, temperature=0.7, top_p=0.9), {"temperature": 0.7, "top_p": 0.9}),
        (
            Sampling(9, temperature=0.7, seed=3),
            {"temperature": 0.7, "top_p": 1.0, "seed": 3},
        ),
    ],
)
def test_sampling_is_sent(server: Server, sampling: Sampling, sent: dict[str, float]) -> None:
    server.otherwise = events("a")
    list(engine(server).stream(Request((), "Hi"), sampling))
    (body,) = server.requests
    assert {k: body[k] for k in ("temperature", "top_p", "seed") if k in body} == sent


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"temperature": 3}, {"top_p": 0}])
def test_sampling_outside_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="temperature"):
        Sampling(9, **wrong)  # type: ignore[arg-type]


def test_sampling_says_how_it_drew() -> None:
    assert Sampling(9).describe() == {"do_sample": False, "max_new_tokens": 9}
    drawn = Sampling(9, temperature=0.5, top_p=0.9, seed=1).describe()
    assert drawn == {
        "do_sample": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 1,
        "max_new_tokens": 9,
    }
