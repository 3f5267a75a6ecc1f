"""A run on a Ray cluster: Ray starts the processes, the run is the same as by torchrun."""

from __future__ import annotations

from typing import Any

from hilum.codes import Code, HilumError
from hilum.training.recipe import Recipe, parse
from hilum.training.sft import Run


def train_on_ray(recipe: Recipe, address: str, workers: int) -> Run:
    """Train with ``workers`` processes of a cluster ("auto", "local", host:port, ray://host:port).

    Every node needs Hilum of this version, and the data, the base and the run's folder at the same
    paths. Raises ``extra_missing``, ``worker_lost``; the same command goes on.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        hint = "install it with: pip install 'hilum[ray]'"
        raise HilumError(Code.EXTRA_MISSING, "ray", hint) from error
    import torch

    from hilum.training.sft import read_run

    try:
        if not ray.is_initialized():
            ray.init(address, log_to_driver=False, logging_level=40)
        trainer = TorchTrainer(
            _worker,
            train_loop_config=recipe.model_dump(mode="json"),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=torch.cuda.is_available()),
            run_config=RunConfig(
                name=recipe.name, storage_path=str((recipe.folder / "ray").absolute())
            ),
        )
        trainer.fit()
    except HilumError:
        raise
    except Exception as error:  # Ray wraps what its workers raise in errors of its own
        said = _hilum_error(error)
        if said is not None:
            raise said from None
        detail = f"Ray at {address}: {type(error).__name__}; run the same again"
        raise HilumError(Code.WORKER_LOST, recipe.folder, detail) from None
    noted = read_run(recipe.folder)
    return Run(recipe.folder, noted["steps"], noted["numbers"], noted["best"])


def _hilum_error(error: BaseException) -> HilumError | None:
    """Our own error inside Ray's."""
    seen: list[Any] = [error]
    while seen:
        now = seen.pop()
        if isinstance(now, HilumError):
            return now
        inner = getattr(now, "worker_failures", None) or {}
        seen += [e for e in (*inner.values(), now.__cause__, getattr(now, "cause", None)) if e]
    return None


def _worker(config: dict[str, Any]) -> None:
    """One process: what torchrun would have set, Ray has."""
    import os

    from ray.train import get_context

    from hilum.training.sft import train

    context = get_context()
    os.environ["RANK"] = str(context.get_world_rank())
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    os.environ["WORLD_SIZE"] = str(context.get_world_size())
    train(parse(config))
