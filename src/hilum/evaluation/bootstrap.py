"""Resamples of patients, as weights: one matrix for every metric of every system.

The same draws for all systems make their differences paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hilum.evaluation.case import Floats

ROUNDS = 1000


def draws(patients: Sequence[str], rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """Weights (1 + rounds, n): row 0 all ones, then how often each study was drawn.

    Patients are drawn, with replacement, and all their studies come with them (the cluster
    bootstrap): studies of one patient are alike. The same seed gives the same draws.
    """
    names, of = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    k = len(names)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, max(k, 1), (rounds, k))
    drawn += np.arange(rounds)[:, None] * k
    weights = np.bincount(drawn.ravel(), minlength=rounds * k).reshape(rounds, k)
    whole = np.concatenate([np.ones((1, len(of))), weights[:, of].astype(np.float64)])
    return np.asfortranarray(whole)  # metrics gather studies


def swaps(patients: Sequence[str], rounds: int = ROUNDS, seed: int = 0) -> tuple[Floats, Floats]:
    """Weights (1 + rounds, 2 n) of two systems laid end to end, for a randomisation test.

    In row 0 each has its own answers; in the others the two answers of a patient are exchanged
    with probability one half (Edgington 1969; as paired tests of text metrics do).
    """
    names, of = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    own = np.concatenate([np.ones((1, len(names))), rng.integers(0, 2, (rounds, len(names)))])
    own = own[:, of].astype(np.float64)
    return np.concatenate([own, 1 - own], 1), np.concatenate([1 - own, own], 1)


def p_value(differences: Floats) -> float | None:
    """Two-sided p of the first difference among the others, itself counted (Phipson 2010)."""
    if not np.isfinite(differences[0]):
        return None
    drawn = differences[1:][np.isfinite(differences[1:])]
    extreme = int((np.abs(drawn) >= abs(differences[0]) - 1e-12).sum())
    return (extreme + 1) / (len(drawn) + 1)
