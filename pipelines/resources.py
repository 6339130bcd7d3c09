"""Resources: the workspace and the Ray cluster, as Dagster configures them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.workspace import Workspace, open_workspace
from beyondmimic_data.cluster import Cluster, is_running


class WorkspaceResource(dg.ConfigurableResource[Workspace]):
    """Where data and motions are, and the preset with its overrides."""

    data_root: str | None = Field(
        default=None, description="Root of all artifacts; BEYONDMIMIC_DATA or ./data by default."
    )
    motion_folder: str | None = Field(
        default=None, description="Folder with motions; <data_root>/motion_folder by default."
    )
    preset: str | None = Field(
        default=None,
        description="test, quick or paper; by default what the last `beyondmimic run` or `ui` used.",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description='Changes to the preset, such as {"training.minutes": 20}.'
    )

    def create_resource(self, context: dg.InitResourceContext) -> Workspace:
        """Open the workspace."""
        return open_workspace(
            root=Path(self.data_root) if self.data_root else None,
            motion_folder=Path(self.motion_folder) if self.motion_folder else None,
            preset=self.preset,
            overrides=dict(self.overrides),
        )


class RayCluster(dg.ConfigurableResource[Cluster]):
    """A running Ray cluster to attach to, or a local one that lives as long as the work that needs it."""

    address: str | None = Field(default=None, description="Address of a running cluster.")
    num_cpus: int | None = Field(default=None, description="CPUs of a local cluster; all by default.")
    object_store_mb: int = Field(default=512, description="Shared memory of a local cluster, MiB.")

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Cluster]:
        """Describe the cluster: Ray starts only when there is something to build, once a run."""
        borrowed = is_running()
        cluster = Cluster(self.address, self.num_cpus, self.object_store_mb, lingers=True)
        try:
            yield cluster
        finally:
            if not borrowed:
                cluster.close()
