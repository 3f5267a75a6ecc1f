"""A run on a Ray cluster: Ray starts the processes, the run is the same as by torchrun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        hint = "install it with: pip install 'hilum[ray]'"
        raise HilumError(Code.EXTRA_MISSING, "ray", hint) from error
    gpus = _joined(ray, address, workers)
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
        said = _hilum_error(error)
        if said is not None:
            raise said from None
        detail = f"Ray at {address}: {_cause(error)}; run the same again"
        raise HilumError(Code.WORKER_LOST, recipe.folder, detail) from None
    noted = read_run(recipe.folder)
    return Run(recipe.folder, noted["steps"], noted["numbers"], noted["best"])


def _joined(ray: Any, address: str, workers: int) -> bool:
    """Join the cluster; whether each worker gets a GPU. Ray would wait for ever for what is not."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
    try:
        if not ray.is_initialized():
            ray.init(address, log_to_driver=False, logging_level=40)
    except (ConnectionError, ValueError, RuntimeError) as error:
        hint = f"{type(error).__name__}; start one with: ray start --head, or take --ray local"
        raise HilumError(Code.REMOTE_UNREACHABLE, f"Ray at {address}", hint) from None
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    if workers > (gpus or int(there.get("CPU", 0))):
        detail = f"{workers}, the cluster has {gpus} GPUs and {int(there.get('CPU', 0))} CPUs"
        raise HilumError(Code.OPTION_INVALID, "--processes", detail)
    return gpus > 0


def _inner(error: BaseException) -> list[Any]:
    """What an error of Ray's was made of."""
    failed = getattr(error, "worker_failures", None) or {}
    found = (*failed.values(), error.__cause__, getattr(error, "cause", None))
    return [e for e in found if isinstance(e, BaseException)]


def _hilum_error(error: BaseException) -> HilumError | None:
    """Our own error inside Ray's."""
    seen: list[Any] = [error]
    while seen:
        now = seen.pop()
        if isinstance(now, HilumError):
            return now
        seen += _inner(now)
    return None


def _cause(error: BaseException) -> str:
    """The kinds of error, from Ray's own to the innermost."""
    kinds: list[str] = []
    now: BaseException | None = error
    while now is not None:
        kinds.append(type(now).__name__)
        now = next(iter(_inner(now)), None)
    return ", ".join(dict.fromkeys(kinds))


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
