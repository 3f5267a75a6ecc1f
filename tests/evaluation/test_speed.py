"""How speed is measured: what is counted, and that every engine does the same work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hilum.codes import Code, HilumError
from hilum.engines.abilities import leading_text
from hilum.evaluation.speed import (
    Film,
    Task,
    _operations,
    agreement,
    measure,
    multiplied,
    weights_a_token,
)
from hilum.models.twins import make_shape, make_twin, shapes


@pytest.mark.parametrize(
    ("one", "two", "share"),
    [("", "", 1), ("abc", "abc", 1), ("abc", "abd", 2 / 3), ("abc", "abcdef", 0.5), ("a", "b", 0)],
)
def test_the_leading_text(one: str, two: str, share: float) -> None:
    assert leading_text(one, two) == leading_text(two, one) == pytest.approx(share)
    assert agreement([one, "x"], [two, "x"]) == pytest.approx((share + 1) / 2)


def test_a_token_reads_all_but_the_tower_and_the_embeddings(tmp_path: Path) -> None:
    for family in ("llava-siglip", "gemma3"):
        folder = make_twin(family, tmp_path / family)
        tensors = load_file(folder / "model.safetensors")
        tower = sum(t.numel() for n, t in tensors.items() if "vision" in n)
        rows = sum(t.numel() for n, t in tensors.items() if "embed_tokens" in n)
        whole = sum(t.numel() for t in tensors.values())
        tied = not any("lm_head" in n for n in tensors)
        assert tied == (family == "gemma3")
        assert weights_a_token(folder) == whole - tower - (0 if tied else rows)


def test_an_unknown_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        make_shape("qwen-1b", tmp_path)
    assert caught.value.code is Code.PRESET_UNKNOWN
    assert all(name in caught.value.line() for name in shapes())


@pytest.mark.slow
def test_engines_write_the_same_number_of_tokens_for_the_same_films(tmp_path: Path) -> None:
    folder = make_twin("llava-siglip", tmp_path / "twin")
    found = {
        engine: measure(Task(engine, str(folder), 1, 6, 64, (1, 3), 2))
        for engine in ("seed", "local")
    }
    for speeds in found.values():
        assert [s.requests for s in speeds] == [1, 3]
        assert [len(s.texts) for s in speeds] == [2, 3]
        for speed in speeds:
            assert speed.tokens_per_s == pytest.approx(6 * speed.films_per_s)
            assert 0 < speed.p50_s <= speed.p99_s
            assert speed.peak_bytes > 1e8
    # the seed's way serves three requests in turn: the last has waited for all
    waited = found["seed"][1]
    assert waited.p99_s > 1.5 * waited.p50_s * 2 / 3


@pytest.mark.slow
def test_a_process_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        measure(Task("local", str(tmp_path / "nothing"), 1, 6, 64, (1,), 1))
    assert caught.value.code is Code.INTERNAL_ERROR


def test_a_requests_operations_are_those_of_its_matrix_products() -> None:
    weight, query = torch.ones(4, 5), torch.ones(1, 2, 6, 8)
    key = torch.ones(1, 2, 10, 8)

    def write(films: Sequence[Film], tokens: int) -> list[str]:
        for _ in range(tokens):
            torch.ones(3, 4) @ weight
            torch.nn.functional.scaled_dot_product_attention(query, key, key)
        return []

    assert _operations(write, [], 7) == 7 * (2 * 3 * 4 * 5 + 2 * 2 * 6 * 10 * (8 + 8))


def test_multiplying_is_measured() -> None:
    assert multiplied(1, "float32", side=32, rounds=1) > 0
