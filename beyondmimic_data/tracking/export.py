"""The tracking policy as one ONNX file with the metadata that deployers read (DESIGN section 9)."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from beyondmimic_data.config import Preset, TaskConfig
from beyondmimic_data.errors import BeyondMimicError
from beyondmimic_data.files import write_bytes
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.evaluate import begin, gate_ranges
from beyondmimic_data.tracking.policy import TrackingPolicy

PARITY_STARTS, PARITY_STEPS = 16, 64
"""How many starts are recorded for how many control steps to compare an exported file with its policy."""
PARITY_SEED = 6_000_000
REFERENCE_OUTPUTS = (
    "joint_pos",
    "joint_vel",
    "body_pos_w",
    "body_quat_w",
    "body_lin_vel_w",
    "body_ang_vel_w",
)


class _PolicyWithReference(nn.Module):
    """Actor and the clip's frames: what a deployer needs to track without any other file."""

    joint_pos: torch.Tensor

    def __init__(self, policy: TrackingPolicy, clip: Clip, config: TaskConfig) -> None:
        super().__init__()
        self.policy, self.config = policy, config
        tracked = [clip.body_names.index(name) for name in g1_facts.TRACKED_BODIES]
        joints = [clip.joint_names.index(name) for name in g1.JOINT_NAMES]
        for name in REFERENCE_OUTPUTS:
            array = getattr(clip, name)[:, joints if name.startswith("joint") else tracked]
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    def forward(self, obs: torch.Tensor, time_step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        frame = time_step.long().clamp(0, self.joint_pos.shape[0] - 1).reshape(-1)
        limited = task.limit_anchor_offset(obs, self.joint_pos.shape[1], self.config)
        return self.policy(limited), *(getattr(self, name)[frame] for name in REFERENCE_OUTPUTS)


def metadata(preset: Preset) -> dict[str, str]:
    """Return the ONNX file's metadata, a superset of what mjlab and motion_tracking_controller read."""
    table = g1.joint_table()

    def numbers(values: np.ndarray) -> str:
        return ",".join(f"{v:.9g}" for v in values)

    observations = [
        name
        for name in task.ACTOR_TERMS
        if preset.task.state_estimation or name not in task.STATE_ESTIMATION_TERMS
    ]
    return {
        "joint_names": ",".join(g1.JOINT_NAMES),
        "joint_stiffness": numbers(table.stiffness),
        "joint_damping": numbers(table.damping),
        "default_joint_pos": numbers(table.default_pos),
        "action_scale": numbers(table.action_scale),
        "command_names": "motion",
        "observation_names": ",".join(observations),
        "anchor_body_name": g1_facts.ANCHOR_BODY,
        "body_names": ",".join(g1_facts.TRACKED_BODIES),
        "control_hz": f"{preset.control.control_hz:g}",
        "quaternion_order": "wxyz",
        "action": "target = default_joint_pos + action_scale * actions",
        "observation_noise": json.dumps(task.ACTOR_NOISE),
    }


def export_onnx(policy: TrackingPolicy, clip: Clip, preset: Preset, path: Path) -> float:
    """Write a single ONNX file: inputs ``obs``, ``time_step``; outputs ``actions`` and the reference frame.

    Args:
        policy: the actor.
        clip: the clip whose frames travel inside the file; for several clips, the skill's first.
        preset: control rate and observation layout, gate, and ``deploy.parity_tolerance``.
        path: file to write, atomically.

    Returns:
        The largest difference between an action of the file and of the policy, in an action's units, on
        observations recorded from the clip.

    Raises:
        BeyondMimicError: it is beyond the tolerance; nothing is written.
    """
    module = _PolicyWithReference(policy, clip, preset.task).eval()
    example = (torch.zeros(1, policy.observation_dim), torch.zeros(1, 1))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "policy.onnx"
        torch.onnx.export(
            module,
            example,
            str(raw),
            opset_version=preset.deploy.opset,
            dynamo=False,  # the other exporter writes weights to a side file
            input_names=["obs", "time_step"],
            output_names=["actions", *REFERENCE_OUTPUTS],
            dynamic_axes={"obs": {0: "batch"}, "time_step": {0: "batch"}, "actions": {0: "batch"}},
        )
        model = onnx.load(str(raw))
    onnx.helper.set_model_props(model, metadata(preset))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    observations = recorded_observations(policy, clip, preset)
    error = _largest_difference(content, policy, observations)
    if not error <= preset.deploy.parity_tolerance:
        raise BeyondMimicError(
            f"{path}: not written: its actions would differ from the policy's by {error:.2e} on "
            f"{len(observations)} recorded observations, at most {preset.deploy.parity_tolerance:.0e} "
            "is allowed"
        )
    write_bytes(path, content)
    return error


def recorded_observations(policy: TrackingPolicy, clip: Clip, preset: Preset) -> torch.Tensor:
    """Return what a policy sees while it plays a clip under its gate's conditions, (M, observation_dim)."""
    backend = MujocoBackend(PARITY_STARTS, preset.control, num_threads=1)
    seeds = range(PARITY_SEED, PARITY_SEED + PARITY_STARTS)
    world = begin(backend, [clip], preset, seeds, gate_ranges(preset))
    observations = []
    for _ in range(min(PARITY_STEPS, clip.num_frames - 1)):
        observations.append(world.observe_actor())
        world.advance(policy.act(observations[-1]))
        world.advance_reference()
    seen = torch.cat(observations)
    return seen[torch.isfinite(seen).all(1)]


def _largest_difference(model: bytes, policy: TrackingPolicy, observations: torch.Tensor) -> float:
    """Return how far an ONNX model's actions are from the policy's on observations (M, observation_dim)."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    frames = np.zeros((len(observations), 1), np.float32)
    actions = session.run(["actions"], {"obs": observations.numpy(), "time_step": frames})[0]
    return float(np.abs(actions - policy.act(observations).numpy()).max())
