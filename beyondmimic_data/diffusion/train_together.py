"""Training by several processes of a Ray cluster, a GPU or some cores each: Ray Train starts them."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import DiffusionConfig
from beyondmimic_data.diffusion.contract import Contract
from beyondmimic_data.diffusion.train import Judge, Progress, train
from beyondmimic_data.diffusion.windows import WindowSource
from beyondmimic_data.errors import BeyondMimicError, ConfigError
from beyondmimic_data.rank import Rank

BACKENDS = {False: "gloo", True: "cpu:gloo,cuda:nccl"}
"""What tensors travel by, with and without GPUs."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What every process is told; it has to be picklable."""

    open_windows: Callable[[], WindowSource]
    """Opens the dataset."""
    make_judge: Callable[[WindowSource], Judge]
    """Makes what tries the policy; the first process alone calls it."""
    config: DiffusionConfig
    contract: Contract
    folder: Path
    """Seen by all."""
    warm_start: Path | None = None


def train_together(job: Job, cluster: Cluster, progress: Progress) -> dict[str, Any]:
    """Train a diffusion policy in ``job.config.workers`` processes; see ``train``.

    A lost process ends the others; what is called again goes on from the last checkpoint.

    Returns:
        The figures of the run.

    Raises:
        ConfigError: more processes than the cluster has CPUs, or a batch has windows.
        BeyondMimicError: a process failed, with what it said.
    """
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    count = job.config.workers
    with cluster.session():
        there = ray.cluster_resources()
        most = min(int(there.get("CPU", 1)), job.config.batch_size)
        if not 1 <= count <= most:
            raise ConfigError(
                "diffusion.workers", count, f"1 to {most}, as the cluster has CPUs and a batch windows"
            )
        gpus = there.get("GPU", 0) >= count
        cpus = max(1, int(there["CPU"]) // count)
        messages = Queue(actor_options={"num_cpus": 0})
        figures: dict[str, Any] = {}

        def listen() -> None:
            while (message := messages.get()) is not None:
                if "figures" in message:
                    figures.update(message["figures"])
                else:
                    progress(message)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        trainer = TorchTrainer(
            _train_one,
            train_loop_config={"job": job, "messages": messages, "threads": cpus},
            torch_config=TorchConfig(backend=BACKENDS[gpus]),
            scaling_config=ScalingConfig(
                num_workers=count, use_gpu=gpus, resources_per_worker={"CPU": cpus, "GPU": int(gpus)}
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=str(job.folder / "scratch"),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise BeyondMimicError(f"training in {count} processes failed: {_cause(error)}") from error
        finally:
            messages.put(None)
            listener.join()
            messages.shutdown(force=True)
    return figures


def _train_one(told: dict[str, Any]) -> None:
    """Be one of the processes."""
    import ray.train
    import torch

    context, job, messages = ray.train.get_context(), told["job"], told["messages"]
    rank = Rank(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(told["threads"])
    windows = job.open_windows()
    figures = train(
        windows,
        job.config,
        job.contract,
        job.folder,
        warm_start=job.warm_start,
        progress=messages.put if rank.leads else None,
        judge=job.make_judge(windows) if rank.leads else None,
        rank=rank,
    )
    if rank.leads:
        messages.put({"figures": figures})


def _cause(error: Exception) -> str:
    """Return what the first process that failed said."""
    failures = getattr(error, "worker_failures", {})
    return str(failures[min(failures)] if failures else error)
