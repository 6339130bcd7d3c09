"""Where training starts from: earlier policies of the store, or those that ship with the project."""

import dataclasses
from pathlib import Path
from typing import Any

from assets.workspace import Workspace
from beyondmimic_data.config import Preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.tracking.shipped import FOUNDATION, ShippedPolicy, shipped_policies
from storage.artifacts import Artifact, describe
from storage.integrity import check_opened

KIND = "policies"
SHIPPED = "shipped"
"""Kind of a start that comes with the project."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A policy whose weights a training begins with."""

    path: Path
    """Its folder."""
    version: str
    """Hash of its bytes."""
    lineage: dict[str, Any]
    """What the new policy records of it; ``key`` is its skill."""

    def opened(self) -> Path:
        """Return its folder; what comes from a store has to be as it was recorded there.

        What ships has no manifest: its card is compared with its weights when they are read.

        Raises:
            StoreError: a file is missing or holds other bytes.
        """
        if self.lineage["kind"] != SHIPPED:
            check_opened(self.path, again=True)
        return self.path


def network(preset: Preset) -> dict[str, Any]:
    """Return what has to be equal for one policy's weights to fit into another."""
    return {"hidden_dims": list(preset.ppo.hidden_dims), "state_estimation": preset.task.state_estimation}


def find_start(workspace: Workspace, skill: str) -> Start | None:
    """Return the policy to start from, of the networks that fit, or ``None``.

    It is the one of the skill that ``training.start`` names. By default it is the skill's own last one, else
    the one of its name that ships with the project, else the foundation that ships, else the most complete of
    all others: that has learned to keep its balance already.

    Raises:
        ConfigError: ``training.start`` names a skill without a policy that fits.
    """
    training = workspace.preset.training
    if training.start is not None:
        return _named_start(workspace, training.start)
    own = _trained(workspace, skill)
    if own:
        return start_of(own[-1])
    shipped = _shipped(workspace) if training.shipped_start else []
    for name in (skill, FOUNDATION):
        for policy in shipped:
            if policy.skill == name:
                return _of_shipped(policy)
    others = [a for key in workspace.store.keys(KIND) for a in _trained(workspace, key)]
    others.sort(key=lambda artifact: artifact.created, reverse=True)
    starts = [(artifact.meta["gate"]["completion"], start_of(artifact)) for artifact in others]
    starts += [(policy.completion, _of_shipped(policy)) for policy in shipped]
    return max(starts, key=lambda start: start[0], default=(0.0, None))[1]


def _named_start(workspace: Workspace, skill: str) -> Start:
    starts = [_of_shipped(policy) for policy in _shipped(workspace) if policy.skill == skill]
    starts += map(start_of, _trained(workspace, skill))
    if not starts:
        raise ConfigError("training.start", skill, "a skill with a policy whose network fits this preset")
    return starts[-1]


def _trained(workspace: Workspace, skill: str) -> list[Artifact]:
    """Return a skill's policies whose networks fit, the newest last."""
    wanted = network(workspace.preset)
    return [a for a in workspace.store.list(KIND, skill) if a.meta["network"] == wanted]


def _shipped(workspace: Workspace) -> list[ShippedPolicy]:
    wanted = network(workspace.preset)
    return [policy for policy in shipped_policies() if policy.network == wanted]


def start_of(policy: Artifact) -> Start:
    """Return a policy of the store as a start."""
    return Start(policy.path, policy.version, describe(policy))


def shipped_start(path: Path, version: str, key: str) -> Start:
    """Return a policy that ships with the project as a start."""
    return Start(path, version, {"kind": SHIPPED, "key": key, "version": version})


def _of_shipped(policy: ShippedPolicy) -> Start:
    return shipped_start(policy.path, policy.version, policy.skill)
