"""Where Ray's actors run: a cluster that is there already, or a local one for as long as it is needed."""

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from beyondmimic_data.errors import ConfigError

log = logging.getLogger(__name__)

NAMESPACE = "beyondmimic"
WORKER_ENVIRONMENT = {
    # Spinning OpenMP threads of two processes on two cores cost nine tenths of the speed.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Ray would otherwise build workers an environment of their own under `uv run`.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has Ray take 127.0.0.1 for this machine's address, on Linux too, and so listen nowhere else."""
START_ATTEMPTS = 3
"""Ray gives a local cluster 30 s to start, which a machine whose cores are all busy may not keep."""


def is_running() -> bool:
    """Tell whether this process is connected to Ray, without importing it."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How to reach Ray."""

    address: str | None = None
    """Address of a running cluster; ``None`` starts a local one."""
    num_cpus: int | None = None
    """CPUs of a local cluster; ``None`` takes every core."""
    object_store_mb: int = 512
    """Shared memory of a local cluster; units and policies go through files, so little is needed."""
    lingers: bool = False
    """Blocks leave Ray running for the next one; whoever says so calls ``close`` at the end."""

    @property
    def cpus(self) -> int:
        """CPUs that a local cluster has."""
        return self.num_cpus or os.cpu_count() or 1

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Have Ray at hand inside the block; only the outermost block of a process starts and ends it."""
        settings = WORKER_ENVIRONMENT if self.address else WORKER_ENVIRONMENT | LOOPBACK_ONLY
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            yield
            return
        self._connect()
        try:
            yield
        finally:
            if not self.lingers:
                ray.shutdown()

    def close(self) -> None:
        """End a lingering session, if one was needed."""
        if is_running():
            import ray

            ray.shutdown()

    def _connect(self) -> None:
        import ray

        common: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "warning"}
        if self.address:
            ray.init(address=self.address, runtime_env={"env_vars": WORKER_ENVIRONMENT}, **common)
            return
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                ray.init(
                    address="local",
                    num_cpus=self.cpus,
                    include_dashboard=False,
                    object_store_memory=self.object_store_mb * 2**20,
                    _node_ip_address="127.0.0.1",
                    **common,
                )
                return
            except Exception as error:  # Ray raises nothing more specific when it times out
                if attempt == START_ATTEMPTS or "timed out during startup" not in str(error):
                    raise
                log.warning("Ray did not start in time (attempt %d of %d)", attempt, START_ATTEMPTS)
                ray.shutdown()

    def fit(self, cpus: float) -> float:
        """Return at most as many CPUs as the running session has: Ray would wait for more for ever."""
        import ray

        return min(cpus, float(ray.cluster_resources().get("CPU", 1)))

    def check_gpus(self, share: float) -> None:
        """Refuse a share of GPUs that the running session cannot give: Ray would wait for it for ever.

        Raises:
            ConfigError: it has fewer.
        """
        import ray

        there = float(ray.cluster_resources().get("GPU", 0))
        if share > there:
            raise ConfigError(
                "training.gpus_per_skill", share, f"at most the {there:g} GPUs that the Ray cluster has"
            )

    def workers(self, cpus_each: float) -> int:
        """Return how many workers of so many CPUs the running session has room for, at least one."""
        import ray

        return max(1, int(ray.cluster_resources().get("CPU", 1) // cpus_each))
