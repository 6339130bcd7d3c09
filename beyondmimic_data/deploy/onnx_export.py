"""The denoiser as one ONNX file that carries its contract."""

import dataclasses
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.files import write_bytes

INPUTS = ("states", "actions", "state_levels", "action_levels")
OUTPUTS = ("clean_states", "clean_actions")
CONTRACT_VERSION = 1


def contract_document(policy: DiffusionPolicy) -> dict[str, Any]:
    """Return everything that a controller must know to call the denoiser and to execute what it returns."""
    config = policy.config
    return {
        "contract_version": CONTRACT_VERSION,
        **dataclasses.asdict(policy.contract),
        "command": "target = default_joint_pos + action_scale * action",
        "representation": config.representation,
        "features": {name: [s.start, s.stop] for name, s in policy.representation.slices.items()},
        "state_dim": policy.emphasis.dim_out,
        "feature_dim": policy.emphasis.dim_in,
        "window": config.window,
        "current": policy.current,
        "denoise_steps": config.denoise_steps,
        "alpha_bar": policy.schedule.alpha_bar.double().tolist(),
        "velocities": "of link origins, world frame, m/s",
    }


def metadata(policy: DiffusionPolicy) -> dict[str, str]:
    """Return the metadata of the ONNX file: the field's usual names, and the whole contract as JSON."""
    contract = policy.contract

    def numbers(values: tuple[float, ...]) -> str:
        return ",".join(f"{v:.9g}" for v in values)

    return {
        "joint_names": ",".join(contract.joint_names),
        "joint_stiffness": numbers(contract.joint_stiffness),
        "joint_damping": numbers(contract.joint_damping),
        "default_joint_pos": numbers(contract.default_joint_pos),
        "action_scale": numbers(contract.action_scale),
        "command_names": "guidance",
        "observation_names": ",".join(policy.representation.slices),
        "anchor_body_name": contract.anchor_body_name,
        "body_names": ",".join(contract.body_names),
        "contract": json.dumps(contract_document(policy)),
    }


def export_denoiser(policy: DiffusionPolicy, path: Path, opset: int) -> None:
    """Write the denoiser as a single ONNX file, atomically.

    Inputs ``states`` (B, T, S), ``actions`` (B, n, J), ``state_levels`` (B, T) and ``action_levels`` (B, n)
    int64, with B and n <= T free; outputs ``clean_states`` (B, T, S) and ``clean_actions`` (B, n, J).

    Args:
        policy: in evaluation mode, on the CPU.
        path: file to write.
        opset: ONNX operator set.

    Raises:
        ConfigError: its attention is full: the player leaves later actions out.
    """
    policy.require_differentiated("a bundle")
    window, kept = policy.config.window, policy.acting_tokens
    levels = torch.ones(1, window, dtype=torch.long)
    example = (
        torch.zeros(1, window, policy.emphasis.dim_out),
        torch.zeros(1, kept, policy.num_joints),
        levels,
        levels[:, :kept],
    )
    axes = {name: {0: "batch"} for name in (*INPUTS, *OUTPUTS)}
    for name in ("actions", "action_levels", "clean_actions"):
        axes[name][1] = "action_steps"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracer takes the branch for n < T, which holds for n = T as well; a test plays both.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        raw = Path(folder) / "denoiser.onnx"
        torch.onnx.export(
            policy.denoiser,
            example,
            str(raw),
            opset_version=opset,
            dynamo=False,  # the other exporter writes weights to a side file
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
        model = onnx.load(str(raw))
    onnx.helper.set_model_props(model, metadata(policy))
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString())
