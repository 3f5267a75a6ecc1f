"""OpenVINO GenAI on this machine's processor: int8 and int4 weights, continuous batching.

The folder is what ``hilum quantize`` writes. Needs neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.engines.base import Draft, Image, Question, Request, Sampling
from hilum.engines.likelihood import answer_probabilities, distinct, table
from hilum.engines.local.together import Together
from hilum.models.frame import read_frame

# What ``hilum quantize`` leaves beside the weights: format, source, stop ids; of some families also
# the frame that a film is fitted in, the tokens of an image and the positions that the model has.
EXPORT = "hilum-export.json"
WEIGHTS = "*.bin"
BATCH = 64
UNBOUNDED = 1 << 30
# The whole text in both: weights unpacked and computed with in float32, for comparisons.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
# Activations that share a scale where they are multiplied in int8. OpenVINO's own 32 keeps a
# processor without AMX from a fifth of its speed, and is as far from float32.
QUICK = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 128}


def need_openvino() -> tuple[Any, Any]:
    """openvino and openvino_genai; raises ``extra_missing`` where one is not installed."""
    try:
        import openvino
        import openvino_genai
    except ImportError as error:
        how = "install it with: pip install 'hilum[openvino]'"
        raise HilumError(Code.EXTRA_MISSING, "reader", how) from error
    return openvino, openvino_genai


class OpenVinoEngine:
    """An exported vision-language model; may be called from several threads, see ``Together``."""

    def __init__(self, folder: Path, exact: bool = False) -> None:
        """Load an export. ``exact``: compute in float32 whatever the processor is faster in.

        Raises ``extra_missing`` without openvino-genai, ``reader_invalid`` for what is no export.
        """
        self._ov, openvino_genai = need_openvino()
        self._genai = openvino_genai
        folder = Path(folder)
        settings: dict[str, Any] = dict(EXACT if exact else QUICK)
        if threads := os.environ.get("OMP_NUM_THREADS"):  # as torch does
            settings["INFERENCE_NUM_THREADS"] = int(threads)
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        try:
            said = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
            self._stops = {int(i) for i in said["stops"]}
            self._frame = read_frame(said.get("frame"))
            self._positions = int(said.get("positions") or 0)
            self._image_tokens = int(said.get("image_tokens") or 0)
            self._pipe = openvino_genai.ContinuousBatchingPipeline(
                str(folder), scheduler, "CPU", settings
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise HilumError(Code.READER_INVALID, folder, type(error).__name__) from error
        self._tokenizer = self._pipe.get_tokenizer()
        self._tokens: dict[bytes, int] = dict(self._tokenizer.get_vocab())
        self._letters = {i: letters for letters, i in self._tokens.items()}
        self.weights_sha256 = _sha256(folder)
        self.versions = {
            "openvino-genai": openvino_genai.__version__,
            "precision": f"{said['format']} weights",
        }
        self._together: Together[Request, Draft] = Together(self._write, BATCH)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        """Drafts; requests of all callers are batched continuously.

        Raises ``prompt_too_long``, here and in the others, where no token has room after a prompt.
        """
        for request in requests:  # here, lest the requests of others fail with it
            self._room(request)
        return self._together.run(list(requests), sampling)

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        """Pieces of the draft, as the engine lets them go."""
        self._room(request)
        pieces: SimpleQueue[str | BaseException | None] = SimpleQueue()
        stopped: list[bool] = []

        def take(piece: str) -> bool:
            pieces.put(piece)
            return bool(stopped)

        def write() -> None:
            try:
                with self._together.alone():
                    self._run([request], [self._within(request, sampling)], take)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        Thread(target=write, daemon=True).start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                if piece:
                    yield piece
        finally:
            stopped.append(True)

    def choose(
        self, images: Sequence[tuple[Image, ...]], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        """Likelihood of each answer: each wording is forced, and its likelihood read.

        GenAI gives the likelihood of the tokens it wrote, before what is forbidden is taken out;
        so a grammar of one wording gives that wording's likelihood, once the other tokens that
        would write the same letters are forbidden too. A film is encoded once a wording, so ask
        few.
        """
        out = []
        for some in images:
            asked = [(q, w) for q in questions for ws in q.wordings() for w in ws]
            logs = iter(self._forced(some, context, asked))
            rows = [
                answer_probabilities(
                    q, [[next(logs) for _ in ws] for ws in q.wordings()], self._first(q)
                )
                for q in questions
            ]
            out.append(table(rows))
        return out

    def _forced(
        self, images: tuple[Image, ...], context: str, asked: list[tuple[Question, str]]
    ) -> list[list[float]]:
        """Mean log likelihood of each wording's tokens, as often as it has tokens."""
        if not asked:
            return []
        requests, configs, lengths = [], [], []
        for question, wording in asked:
            ids = self._ids(wording)
            first = question.by == "first" and distinct(self._first(question))
            lengths.append(1 if first else len(ids))
            requests.append(Request(images, context + question.prompt))
            configs.append(self._only(wording, ids, lengths[-1]))
            self._room(requests[-1], lengths[-1])
        with self._together.alone():
            results = self._run(requests, configs)
        scores = [float(r.scores[0]) for r in results]
        return [[s / n] * n for s, n in zip(scores, lengths, strict=True)]

    def _only(self, wording: str, ids: list[int], length: int) -> Any:
        """Settings under which nothing but the first ``length`` of these tokens can be written."""
        config = self._config(Sampling(length, ignore_stops=True))
        config.logprobs = 1
        pieces = [self._letters[i] for i in ids if i in self._letters]
        text, others = wording, set[int]()
        if len(pieces) == len(ids):  # else two tokens have the same letters
            text, others = spelt(pieces, self._tokens)
        grammar = self._genai.StructuredOutputConfig()
        grammar.regex = _literal(text)
        config.structured_output_config = grammar
        # a stop is forbidden before the least length: the only way to forbid a token
        config.stop_token_ids = others | {i for i in (config.eos_token_id,) if i >= 0}
        return config

    def _first(self, question: Question) -> list[list[int]]:
        return [[self._ids(w)[0] for w in ws] for ws in question.wordings()]

    def _write(self, requests: list[Request], sampling: Any) -> list[Draft]:
        results = self._run(requests, [self._within(r, sampling) for r in requests])
        stop = self._genai.GenerationFinishReason.STOP
        return [Draft(r.texts[0].strip(), r.finish_reasons[0] == stop) for r in results]

    def _within(self, request: Request, sampling: Sampling) -> Any:
        """Settings that end a text where the model's positions do."""
        room = min(sampling.max_new_tokens, self._room(request))
        return self._config(replace(sampling, max_new_tokens=room))

    def _config(self, sampling: Sampling) -> Any:
        config = self._pipe.get_config()
        config.do_sample = not sampling.greedy
        if not sampling.greedy:
            config.temperature, config.top_p = sampling.temperature, sampling.top_p
            config.top_k = self._genai.GenerationConfig().top_k  # all of them
            config.rng_seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        config.max_new_tokens = sampling.max_new_tokens
        config.stop_token_ids = self._stops
        if sampling.ignore_stops:
            config.min_new_tokens = sampling.max_new_tokens
        return config

    def _run(self, requests: list[Request], configs: list[Any], streamer: Any = None) -> Any:
        images = [[self._tensor(i) for i in r.images] for r in requests]
        given = [r.prompt for r in requests]
        if streamer is None:
            return self._pipe.generate(given, images, configs)
        return self._pipe.generate(given, images, configs, streamer=streamer)

    def _room(self, request: Request, least: int = 1) -> int:
        """Tokens that fit after a prompt; the runtime itself would go on beyond the positions.

        Unbounded where the export does not name its positions.
        """
        if not self._positions:
            return UNBOUNDED
        turn = {"role": "user", "content": "<image>\n" * len(request.images) + request.prompt}
        whole = self._tokenizer.apply_chat_template([turn], add_generation_prompt=True)
        used = len(self._ids(whole)) + len(request.images) * (self._image_tokens - 1)
        if self._positions - used < least:
            wrong = f"{used} tokens, the model has {self._positions} positions"
            raise HilumError(Code.PROMPT_TOO_LONG, "prompt", wrong)
        return self._positions - used

    def _tensor(self, image: Image) -> Any:
        pixels = np.repeat(image[..., None], 3, 2) if self._frame is None else self._frame(image)
        return self._ov.Tensor(np.ascontiguousarray(pixels[None]))

    def _ids(self, text: str) -> list[int]:
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return [int(i) for i in encoded.input_ids.data[0]]


def spelt(pieces: Sequence[bytes], tokens: dict[bytes, int]) -> tuple[str, set[int]]:
    """A wording's tokens as text, and the tokens that would go on with it in another way.

    Where a tokenizer begins words with a mark, so does the text.
    """
    rests = [b"".join(pieces[i:]) for i in range(len(pieces))]
    starts = {rest[:n] for rest in rests for n in range(1, len(rest) + 1)}
    return rests[0].decode("utf-8"), {tokens[s] for s in starts - set(pieces) if s in tokens}


def _literal(text: str) -> str:
    """The regular expression of exactly this text."""
    return "".join("\\" + c if c in r"\.^$*+?()[]{}|/-" else c for c in text)


def _sha256(folder: Path) -> str:
    """One hash of all weights: of the files' hashes, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob(WEIGHTS)):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
