"""A checkpoint is whole or it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.codes import HilumError
from hilum.training import checkpoint


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.language_model = torch.nn.Linear(3, 2)
        self.vision_tower = torch.nn.Linear(2, 2)
        self.vision_tower.requires_grad_(False)


def written(run: Path, step: int, model: Any) -> Path:
    folder = run / f"checkpoint-{step}"
    checkpoint.save_trained(model, folder)
    checkpoint.seal(folder)
    return folder


def test_only_what_is_trained_is_saved_and_it_comes_back(tmp_path: Path) -> None:
    model, other = Model(), Model()
    folder = written(tmp_path, 3, model)
    frozen = other.vision_tower.weight.clone()
    checkpoint.load_trained(other, folder)
    assert torch.equal(other.language_model.weight, model.language_model.weight)
    assert torch.equal(other.vision_tower.weight, frozen)


def test_the_order_is_by_number_and_other_folders_are_none(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        written(tmp_path, step, Model())
    (tmp_path / "checkpoint-x").mkdir()
    assert [checkpoint.step_of(c) for c in checkpoint.checkpoints(tmp_path)] == [3, 20, 100]


@pytest.mark.parametrize("harm", ["unsealed", "cut", "gone", "seal"])
def test_what_is_not_whole_is_not_there_and_goes(harm: str, tmp_path: Path) -> None:
    kept, broken = written(tmp_path, 1, Model()), written(tmp_path, 2, Model())
    if harm == "unsealed":
        (broken / checkpoint.WHOLE).unlink()
    elif harm == "cut":
        content = (broken / checkpoint.TRAINED).read_bytes()
        (broken / checkpoint.TRAINED).write_bytes(content[:-4])
    elif harm == "gone":
        (broken / checkpoint.TRAINED).unlink()
    else:
        (broken / checkpoint.WHOLE).write_text('{"trained')
    assert checkpoint.checkpoints(tmp_path) == [kept]
    checkpoint.drop_broken(tmp_path)
    assert not broken.exists()
    assert kept.exists()


def test_a_failure_while_writing_leaves_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-4"

    def full() -> None:
        with checkpoint.guarded(folder, "kept it"):
            checkpoint.save_trained(Model(), folder)
            raise OSError(28, "No space left on device")

    with pytest.raises(HilumError, match=r"kept it.*output_unwritable"):
        full()
    assert not folder.exists()


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path, 1, Model())
    other = Model()
    other.language_model = torch.nn.Linear(4, 2)
    with pytest.raises(HilumError, match=r"does not fit: language_model\.weight.*model_invalid"):
        checkpoint.load_trained(other, folder)
    (folder / checkpoint.TRAINED).write_bytes(b"junk")
    with pytest.raises(HilumError, match="model_invalid"):
        checkpoint.load_trained(Model(), folder)


def test_room_is_asked_for(tmp_path: Path) -> None:
    checkpoint.require_room(tmp_path, 1, "")
    with pytest.raises(HilumError, match="output_unwritable"):
        checkpoint.require_room(tmp_path, 10**18, "")
    assert checkpoint.needed_bytes(Model()) >= 12 * 8
