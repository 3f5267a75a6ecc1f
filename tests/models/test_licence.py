"""Licences: the strictest of the parts counts, and what is not known counts as strict."""

from __future__ import annotations

import itertools

import pytest

from hilum.codes import Code, HilumError
from hilum.models.licence import licences, require_commercial, strictest
from hilum.models.presets import Part, find, presets


def part(licence: str) -> Part:
    return Part(part="whole", source=f"somebody/{licence}", licence=licence)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(licences(), 2)))
def test_the_strictest_part_binds_the_whole_in_any_order(first: str, second: str) -> None:
    order = list(licences())
    bound = strictest([part(first), part(second)])
    assert bound.id == order[max(order.index(first), order.index(second))]


def test_the_table_goes_from_free_to_strict() -> None:
    levels = ["yes", "terms", "no"]
    ranks = [levels.index(entry.commercial) for entry in licences().values()]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("parts", [[], [part("mit"), part("my-own-1.0")]])
def test_what_is_not_known_is_not_allowed(parts: list[Part]) -> None:
    assert strictest(parts).commercial == "no"
    with pytest.raises(HilumError) as caught:
        require_commercial("x", parts)
    assert caught.value.code is Code.LICENCE_FORBIDS


@pytest.mark.parametrize(
    ("name", "sold"),
    [
        ("chexfract-maira2", False),  # MIT language model, research-only encoder
        ("chexfract-chexagent", False),
        ("maira-2", False),
        ("qwen2.5-vl-3b", False),
        ("qwen2.5-vl-7b", True),
        ("medgemma-4b-it", True),
        ("embedded", True),
    ],
)
def test_commercial_use_of_the_presets(name: str, sold: bool) -> None:
    preset = find(name)
    if sold:
        require_commercial(name, preset.parts)
        return
    with pytest.raises(HilumError) as caught:
        require_commercial(name, preset.parts)
    forbidden = [p.source for p in preset.parts if licences()[p.licence].commercial == "no"]
    assert all(source in caught.value.detail for source in forbidden)


def test_the_guard_and_the_table_agree_on_every_preset() -> None:
    for preset in presets().values():
        forbidden = strictest(preset.parts).commercial == "no"
        try:
            require_commercial(preset.id, preset.parts)
        except HilumError:
            assert forbidden
        else:
            assert not forbidden
