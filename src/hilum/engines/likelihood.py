"""From the log likelihoods of an answer's tokens to the probability of each answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.engines.base import Question

# The log likelihoods of one wording's tokens, in order; of each wording; of each answer.
Tokens = Sequence[float]
Scores = Sequence[Sequence[Tokens]]


def answer_probabilities(
    question: Question, scores: Scores, first: Sequence[Sequence[int]]
) -> list[float]:
    """Probability of each answer of a question, summing to 1.

    ``first``: the first token of each wording of each answer, to tell whether they differ.
    """
    by = question.by
    if by == "first" and not distinct(first):
        by = "sequence"
    worded = [[_score(tokens, by) for tokens in answer] for answer in scores]
    logs = np.array([np.logaddexp.reduce(answer) for answer in worded])
    odds = np.exp(logs - logs.max())
    return [float(p) for p in odds / odds.sum()]


def table(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of different lengths as one array; NaN where a row has no more."""
    out = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def _score(tokens: Tokens, by: str) -> float:
    if by == "first":
        return tokens[0]
    return sum(tokens) / (len(tokens) if by == "mean" else 1)


def distinct(first: Sequence[Sequence[int]]) -> bool:
    """Whether no two answers share a first token; wordings of one answer may."""
    seen = [set(answer) for answer in first]
    return sum(map(len, seen)) == len(set().union(*seen))
