"""The short version of the campaign: a few mutated films for every decoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilum.codes import Code
from hilum.imaging.child import Limits
from hilum.imaging.children import Pool
from tests.fuzz import campaign

SEEDS = campaign.seeds()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(1, Limits(seconds=10))
    yield pool
    pool.close()


@pytest.mark.parametrize("name", SEEDS)
def test_mutated_films_get_a_line_each(pool: Pool, tmp_path: Path, name: str) -> None:
    campaign.lay_out(tmp_path)
    path = tmp_path / campaign.NAMES.get(name, "film")
    for content in SEEDS[name]:
        path.write_bytes(content)
        assert campaign._read(pool, path) == "read"
    # JPEG-LS: CharLS spends seconds on a stream that runs out of bits
    count = 8 if name.startswith("JPEGLS") else 40
    outcomes = campaign.run(pool, SEEDS[name], count, 7, tmp_path, path.name)
    assert sum(outcomes.values()) == count
    assert Code.INTERNAL_ERROR not in outcomes


def test_mutations_change_the_file_and_never_end_the_run() -> None:
    rng = np.random.default_rng(0)
    content = bytes(range(256)) * 4
    changed = [campaign.mutated(content, rng) for _ in range(200)]
    assert sum(new != content for new in changed) > 190
    assert min(map(len, changed)) < len(content) < max(map(len, changed))
    assert campaign.mutated(b"", rng) == b""
