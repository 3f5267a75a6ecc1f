"""A run on a Ray cluster: Ray starts the processes, the run is the same as by torchrun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hilum.cluster import join, lost, own_error
from hilum.codes import Code, HilumError
from hilum.training.recipe import Recipe, parse
from hilum.training.sft import Run, read_run


def train_on_ray(recipe: Recipe, address: str, workers: int) -> Run:
    """Train with ``workers`` processes of a cluster ("auto", "local", host:port, ray://host:port).

    Every node needs Hilum of this version, and the data, the base and the run's folder at the same
    paths; relative ones start where this process runs. Raises ``extra_missing``,
    ``remote_unreachable`` where no cluster answers, ``option_invalid`` where it is too small, what
    :func:`hilum.training.sft.train` raises, else ``worker_lost``; the same command goes on.
    """
    ray = join(address)
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    gpus = _gpus(ray, workers)
    try:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"recipe": recipe.model_dump(mode="json"), "here": str(Path.cwd())},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
            run_config=RunConfig(
                name=recipe.name, storage_path=str((recipe.folder / "ray").absolute())
            ),
        )
        trainer.fit()
    except Exception as error:  # Ray wraps what its workers raise in errors of its own
        raise own_error(error) or lost(address, recipe.folder, error) from None
    noted = read_run(recipe.folder)
    return Run(recipe.folder, noted["steps"], noted["numbers"], noted["best"])


def _gpus(ray: Any, workers: int) -> bool:
    """Whether each worker gets a GPU. Ray would wait for ever for what is not there."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    if workers > (gpus or int(there.get("CPU", 0))):
        detail = f"{workers}, the cluster has {gpus} GPUs and {int(there.get('CPU', 0))} CPUs"
        raise HilumError(Code.OPTION_INVALID, "--processes", detail)
    return gpus > 0


def _worker(config: dict[str, Any]) -> None:
    """One process: what torchrun would have set, Ray has."""
    from ray.train import get_context

    from hilum.training.sft import train

    os.chdir(config["here"])  # Ray's own is a folder of its trial
    context = get_context()
    os.environ["RANK"] = str(context.get_world_rank())
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    os.environ["WORLD_SIZE"] = str(context.get_world_size())
    train(parse(config["recipe"]))
