"""The deployment bundle: one folder with all that a robot needs, and the proof that it is the policy."""

import dataclasses
import io
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beyondmimic_data.config import DeployConfig
from beyondmimic_data.deploy import player
from beyondmimic_data.deploy.onnx_export import contract_document, export_denoiser
from beyondmimic_data.deploy.parity import check_parity, require_parity
from beyondmimic_data.deploy.tensorrt import build_engines
from beyondmimic_data.diffusion.normaliser import CONSTANT, RangeNormaliser
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.policy_files import WEIGHTS
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.files import write_bytes, write_json
from beyondmimic_data.hashing import hash_file

log = logging.getLogger(__name__)

README = """# Deployment bundle

{verdict}

* `denoiser.onnx`: the network; one call takes a noisy window and predicts it clean. Its metadata holds the
  contract.
* `contract.json`: names, order, units and scales of states and actions, noise schedule, hashes of the
  checkpoint and of the files that the player reads.
* `normaliser.json`: range of every feature and action; half of it is one normalised unit.
* `emphasis.npz`: the projection between normalised features and the network's states, both ways.
* `player.py`: reference player on NumPy and onnxruntime; read it to write another.
* `parity.json`: largest difference between this ONNX file and the trained weights.
* `lineage.json`: what the policy was made of.
* `engines/`: TensorRT for RTX engines, each with the facts that decide whether it fits a machine.

## Use

In this folder, with NumPy and onnxruntime:

```python
import numpy

from player import Player

player = Player(".")
joints, bodies = player.contract["joint_names"], player.contract["body_names"]
n = player.rows  # the past steps and the current one, oldest first
standing = [0.0, 0.0, 0.76]  # m; what follows stands for what the robot's estimator says
history = {
    "root_pos_w": numpy.tile(standing, (n, 1)),
    "root_quat_w": numpy.tile([1.0, 0.0, 0.0, 0.0], (n, 1)),  # wxyz
    "root_lin_vel_w": numpy.zeros((n, 3)),  # m/s
    "root_ang_vel_w": numpy.zeros((n, 3)),  # rad/s
    "body_pos_w": numpy.tile(standing, (n, len(bodies), 1)),
    "body_lin_vel_w": numpy.zeros((n, len(bodies), 3)),
    "joint_pos": numpy.tile(player.contract["default_joint_pos"], (n, 1)),  # rad
    "joint_vel": numpy.zeros((n, len(joints))),
}
noise = numpy.random.default_rng(0).standard_normal
targets = player.act(history, noise)  # rad, a servo target a joint, in the order of joints
print(dict(zip(joints, targets.round(3).tolist())))
```

The player refuses files that are not those that the contract names, and histories that cannot be a robot's,
with one line that says which.
"""


@dataclasses.dataclass(frozen=True)
class ClosedLoopVerdict:
    """What the closed-loop report of a policy came to."""

    passed: bool
    """Whether it reached every success rate asked of it."""
    why: str | None
    """What it failed."""
    success: dict[str, float | None]
    """Success rate by protocol, ``None`` where one was not run."""

    @property
    def sentence(self) -> str:
        """Return what a deployer reads first."""
        if self.passed:
            return "The policy passed its closed-loop gate."
        return f"**Not fit for a robot: the policy failed its closed-loop gate.** {self.why}."


def build_bundle(
    policy_folder: Path,
    out: Path,
    config: DeployConfig,
    lineage: Sequence[dict[str, Any]] | dict[str, Any],
    closed_loop: ClosedLoopVerdict,
) -> dict[str, Any]:
    """Export a trained policy into a folder, and prove that the export computes the same.

    Args:
        policy_folder: folder of the diffusion policy.
        out: folder to fill.
        config: operator set, tolerance, engine targets.
        lineage: what the policy descends from, as plain JSON values.
        closed_loop: what its closed-loop report came to; stands in the contract and in the README.

    Returns:
        ``onnx_sha256``, ``checkpoint_sha256``, ``parity``, ``engines`` and ``files`` with their sizes.

    Raises:
        BeyondMimicError: the export differs from torch by more than the tolerance.
        StoreError: the folder holds no usable policy.
    """
    policy = DiffusionPolicy.load(policy_folder)
    recorded = RecordedWindows.load(policy_folder)
    onnx_path = out / "denoiser.onnx"
    export_denoiser(policy, onnx_path, config.opset)
    parity = check_parity(
        policy, onnx_path, recorded, windows=config.parity_windows, tolerance=config.parity_tolerance
    )
    write_json(out / "parity.json", parity)
    require_parity(parity)
    log.info("ONNX equals torch within %.1e", parity["max_abs_err"])
    checkpoint = hash_file(policy_folder / WEIGHTS)
    document = contract_document(policy)
    hashes = {"checkpoint_sha256": checkpoint}
    examined = {"closed_loop": dataclasses.asdict(closed_loop)}
    write_json(
        out / "normaliser.json",
        {"states": _ranges(policy.state_normaliser), "actions": _ranges(policy.action_normaliser)},
    )
    write_bytes(out / "emphasis.npz", _matrices(policy))
    read_by_player = {field: hash_file(out / name) for name, field in player.HASHES.items()}
    write_json(out / "contract.json", {**document, **hashes, **read_by_player, **examined})
    write_json(out / "lineage.json", {"checkpoint_sha256": checkpoint, "made_of": lineage})
    shutil.copyfile(Path(player.__file__), out / "player.py")
    write_bytes(out / "README.md", README.replace("{verdict}", closed_loop.sentence).encode())
    (out / "engines").mkdir(exist_ok=True)
    engines = build_engines(onnx_path, config.tensorrt_targets, out / "engines")
    write_json(out / "engines" / "engines.json", engines)
    return {
        "onnx_sha256": read_by_player["onnx_sha256"],
        "checkpoint_sha256": checkpoint,
        "parity": parity,
        "engines": engines,
        "files": {str(p.relative_to(out)): p.stat().st_size for p in sorted(out.rglob("*")) if p.is_file()},
        "config": dataclasses.asdict(config),
    }


def _ranges(normaliser: RangeNormaliser) -> dict[str, Any]:
    return {
        "low": normaliser.low.double().tolist(),
        "high": normaliser.high.double().tolist(),
        "constant_below": CONSTANT / 2,
    }


def _matrices(policy: DiffusionPolicy) -> bytes:
    """Return both projections as an NPZ, without a date, so that equal policies give equal bytes."""
    stream = io.BytesIO()
    np.savez(
        stream,
        project=policy.emphasis.forward_matrix.double().numpy(),
        unproject=policy.emphasis.inverse_matrix.double().numpy(),
    )
    return stream.getvalue()
