"""The engine behind a URL: any OpenAI-compatible server that takes images, vLLM first."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from hilum.codes import Code, HilumError
from hilum.engines.base import Draft, Image, Question, Request, Sampling
from hilum.engines.likelihood import answer_probabilities, table
from hilum.engines.remote import Patience, Remote

KEY = "HILUM_API_KEY"
# Requests on their way at once; the server batches them.
AT_ONCE = 16
# Likelihoods asked for; vLLM and OpenAI give 20 at most.
LIKELIEST = 20
# What answers that were found must outweigh what may hide below the likeliest by.
OUTWEIGH = 100.0


class ServedEngine:
    """A model at ``url`` (its path ends before ``/chat/completions``).

    Films leave this process only to that URL, as PNG in data URLs. The key is ``key`` or the
    environment's HILUM_API_KEY. May be used from several threads.
    """

    weights_sha256 = "unknown: behind a URL"

    def __init__(
        self, url: str, model: str, key: str | None = None, patience: Patience | None = None
    ) -> None:
        self._remote = Remote(url, model, key or os.environ.get(KEY), patience)
        self.versions = {"server": self._remote.name, "model": model}

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        schema: dict[str, Any] | None = None,
    ) -> list[Draft]:
        """Drafts, several requests at once.

        ``schema``: a JSON schema that the server holds the text to; a text that is no JSON then
        raises ``remote_invalid``. Raises as :class:`Remote` does.
        """

        def one(request: Request) -> Draft:
            return self._remote.ask(
                self._body(request, sampling, schema),
                lambda content: _draft(content, self._remote.name, as_json=schema is not None),
            )

        if len(requests) < 2:
            return [one(r) for r in requests]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, requests))

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        """Pieces of the draft as the server sends them."""
        for event in self._remote.pieces(self._body(request, sampling, None)):
            for choice in event.get("choices") or []:
                piece = (choice.get("delta") or {}).get("content")
                if isinstance(piece, str) and piece:
                    yield piece

    def choose(
        self, images: Sequence[tuple[Image, ...]], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        """Likelihood of each answer by its first token, of the 20 likeliest that a server tells.

        Questions of a study begin with the same images and words, which a server with a prefix
        cache encodes once. Raises ``no_probability`` where the server gives no likelihoods, two
        answers begin alike, or what it tells leaves more than a hundredth part in the dark.
        """
        asked = [(Request(some, context + q.prompt), q) for some in images for q in questions]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = list(pool.map(lambda a: self._choose(*a), asked))
        n = len(questions)
        return [table(rows[i * n : (i + 1) * n]) for i in range(len(images))]

    def _choose(self, request: Request, question: Question) -> list[float]:
        body = self._body(request, Sampling(1), None)
        body |= {"logprobs": True, "top_logprobs": LIKELIEST}
        name = self._remote.name
        likely = self._remote.ask(body, lambda content: _likely(content, name))
        return _compare(question, likely, name)

    def _body(
        self, request: Request, sampling: Sampling, schema: dict[str, Any] | None
    ) -> dict[str, Any]:
        pictures = [
            {"type": "image_url", "image_url": {"url": data_url(i)}} for i in request.images
        ]
        content = [*pictures, {"type": "text", "text": request.prompt}]
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": content}],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
        }
        if not sampling.greedy:
            body["top_p"] = sampling.top_p
            if sampling.seed is not None:
                body["seed"] = sampling.seed
        if schema is not None:
            held = {"name": "report", "schema": schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": held}
        return body


def served_model(url: str, patience: Patience | None = None) -> str:
    """The name of the model that a server has, where it has one.

    Raises ``option_invalid`` where there are several: name one as ``URL#NAME``.
    """
    import httpx

    remote = Remote(url, "", os.environ.get(KEY), patience)
    try:
        answer = remote._client.get(url.rstrip("/") + "/models")
        answer.raise_for_status()
        names = [str(entry["id"]) for entry in answer.json()["data"]]
    except httpx.HTTPError as error:
        raise HilumError(Code.REMOTE_UNREACHABLE, remote.name, type(error).__name__) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HilumError(Code.REMOTE_INVALID, remote.name, "no list of models") from error
    if len(names) != 1:
        wrong = f"the server has {len(names)} models: name one as {url}#NAME"
        raise HilumError(Code.OPTION_INVALID, "--reader", wrong)
    return names[0]


def data_url(image: Image) -> str:
    """An image (rows, columns) as a PNG in a data URL (RFC 2397)."""
    held = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(held, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def _draft(content: bytes, name: str, as_json: bool) -> Draft:
    choice = _choice(content, name)
    text = (choice.get("message") or {}).get("content")
    if not isinstance(text, str):
        raise HilumError(Code.REMOTE_INVALID, name, "a chat completion without text")
    complete = choice.get("finish_reason") != "length"
    if as_json and complete:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            wrong = "a text that is not the JSON asked for"
            raise HilumError(Code.REMOTE_INVALID, name, wrong) from None
    return Draft(text.strip(), complete)


def _choice(content: bytes, name: str) -> dict[str, Any]:
    try:
        choice = json.loads(content)["choices"][0]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        choice = None
    if not isinstance(choice, dict):
        raise HilumError(Code.REMOTE_INVALID, name, "no chat completion")
    return choice


def _likely(content: bytes, name: str) -> dict[str, float]:
    """Log likelihood of the first token's likeliest candidates, by their text."""
    choice = _choice(content, name)
    try:
        first = choice["logprobs"]["content"][0]
        told = [first, *first["top_logprobs"]]
        return {str(t["token"]): float(t["logprob"]) for t in told}
    except (KeyError, IndexError, TypeError, ValueError):
        wrong = "the server gives no likelihoods"
        raise HilumError(Code.NO_PROBABILITY, name, wrong) from None


def _compare(question: Question, likely: dict[str, float], name: str) -> list[float]:
    """Probability of each answer from the first token's candidates.

    A candidate belongs to the answer one of whose wordings begins with it.
    """
    found = []
    for wordings in question.wordings():
        mine = {
            token
            for token in likely
            for w in wordings
            if token.strip() and w.strip().startswith(token.strip())
        }
        found.append(mine)
    if sum(map(len, found)) != len(set().union(*found)):
        raise HilumError(Code.NO_PROBABILITY, name, "two answers begin alike")
    floor = min(likely.values()) if likely else -math.inf
    mass = sum(math.exp(likely[t]) for tokens in found for t in tokens)
    if not mass or (not all(found) and mass < OUTWEIGH * math.exp(floor)):
        raise HilumError(Code.NO_PROBABILITY, name, "no answer is among the likeliest tokens")
    scores = [[[likely[t]] for t in sorted(tokens)] or [[floor]] for tokens in found]
    return answer_probabilities(question, scores, [[0]] * len(scores))
