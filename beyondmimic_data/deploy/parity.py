"""Torch against onnxruntime on recorded windows: single calls at several noise levels, and whole loops."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from beyondmimic_data.config import PlanningConfig
from beyondmimic_data.deploy.onnx_export import INPUTS
from beyondmimic_data.diffusion.frames import frames_from_rows
from beyondmimic_data.diffusion.loss import draw_noise
from beyondmimic_data.diffusion.plan_first import PlanFirstSampler
from beyondmimic_data.diffusion.policy import DiffusionPolicy
from beyondmimic_data.diffusion.rolling import RollingSampler
from beyondmimic_data.diffusion.sampler import FullSampler, Noise, gaussian
from beyondmimic_data.diffusion.windows import RecordedWindows
from beyondmimic_data.errors import BeyondMimicError

LEVELS = 5
"""Noise levels tried, evenly spaced."""
WARM_PLANS = 3
"""Plans compared of samplers that start from the last plan."""
Sampler = PlanFirstSampler | FullSampler | RollingSampler


class OnnxDenoiser(nn.Module):
    """An ONNX file in the place of the torch denoiser."""

    def __init__(self, path: Path, position: torch.Tensor) -> None:
        """Open the file on the CPU; ``position`` only tells the policy where it lives."""
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.position = position

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the file on the denoiser's inputs."""
        feed = {name: x.contiguous().numpy() for name, x in zip(INPUTS, inputs)}
        states, actions = self.session.run(None, feed)
        return torch.from_numpy(states), torch.from_numpy(actions)

    def see_states(self, *states_and_levels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Keep what ``clean_actions`` gives to the file, which knows whole windows."""
        return states_and_levels

    def clean_actions(
        self, seen: tuple[torch.Tensor, ...], actions: torch.Tensor, levels: torch.Tensor
    ) -> torch.Tensor:
        """Run the file on a whole window."""
        return self(seen[0], actions, seen[1], levels)[1]


@torch.no_grad()
def check_parity(
    policy: DiffusionPolicy, onnx_path: Path, recorded: RecordedWindows, *, windows: int, tolerance: float
) -> dict[str, Any]:
    """Compare the exported denoiser with torch on recorded windows.

    Errors are in normalised units: one is half the range of the data.

    Args:
        policy: in evaluation mode, on the CPU.
        onnx_path: exported denoiser.
        recorded: windows of the dataset.
        windows: how many of them to take.
        tolerance: largest error allowed.

    Returns:
        ``passed``, ``tolerance``, ``windows``, ``max_abs_err``, and the largest error of each comparison:
        ``calls`` by noise level, ``loops`` by sampler.
    """
    rows = recorded.rows[:windows]
    exported = copy.copy(policy)
    exported._modules = {**policy._modules, "denoiser": OnnxDenoiser(onnx_path, policy.denoiser.position)}
    calls = _compare_calls(policy, exported, rows, recorded)
    loops = _compare_loops(policy, exported, rows, recorded)
    worst = max(*calls.values(), *loops.values())
    return {
        "passed": worst <= tolerance,
        "tolerance": tolerance,
        "windows": len(rows),
        "max_abs_err": worst,
        "calls": calls,
        "loops": loops,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


def require_parity(result: dict[str, Any]) -> None:
    """Stop where the exported model is not the trained one.

    Raises:
        BeyondMimicError: the error is beyond the tolerance.
    """
    if not result["passed"]:
        raise BeyondMimicError(
            f"the exported denoiser differs from torch by {result['max_abs_err']:.2e}, at most "
            f"{result['tolerance']:.0e} is allowed ({result['calls']}, {result['loops']}); "
            "nothing is deployed"
        )


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the largest difference; what is not a number differs from everything, itself included."""
    return float((a - b).abs().nan_to_num(nan=float("inf")).max())


def _compare_calls(
    policy: DiffusionPolicy, exported: DiffusionPolicy, rows: torch.Tensor, recorded: RecordedWindows
) -> dict[str, float]:
    """Return the largest error of one call by noise level; with few actions and with all."""
    features, actions = policy.features_of_rows(rows, recorded.columns)
    batch = draw_noise(
        policy.encode_states(features),
        policy.encode_actions(actions),
        policy.config,
        torch.Generator().manual_seed(0),
    )
    steps, kept = policy.config.denoise_steps, policy.current + 1
    errors = {}
    for level in sorted({round(steps * i / LEVELS) for i in range(1, LEVELS + 1)}):
        state_levels = torch.full_like(batch.state_levels, level)
        state_levels[:, :kept] = 0
        action_levels = torch.full_like(batch.action_levels, level)
        noisy_states = policy.schedule.add_noise(batch.states, batch.state_noise, state_levels)
        noisy_actions = policy.schedule.add_noise(batch.actions, batch.action_noise, action_levels)
        worst = 0.0
        for n in (kept, batch.actions.shape[1]):
            inputs = noisy_states, noisy_actions[:, :n], state_levels, action_levels[:, :n]
            for a, b in zip(policy.denoiser(*inputs), exported.denoiser(*inputs)):
                worst = max(worst, _difference(a, b))
        errors[f"level_{level}"] = worst
    return errors


def _compare_loops(
    policy: DiffusionPolicy, exported: DiffusionPolicy, rows: torch.Tensor, recorded: RecordedWindows
) -> dict[str, float]:
    """Return the largest error of what leaves whole denoising loops with equal noise: the executed action and
    the plan of states.
    """
    history = frames_from_rows(rows[:, : policy.current + 1], recorded.columns)
    errors = {}
    kinds: tuple[tuple[str, Callable[[DiffusionPolicy, Noise], Sampler], int], ...] = (
        ("plan_first", lambda p, noise: PlanFirstSampler(p, noise, PlanningConfig()), WARM_PLANS),
        ("full", FullSampler, 1),
        ("rolling", RollingSampler, WARM_PLANS),
    )
    for name, kind, plans in kinds:
        samplers = [kind(p, gaussian(torch.Generator().manual_seed(0))) for p in (policy, exported)]
        worst = 0.0
        for _ in range(plans):
            a, b = (sampler.plan(history) for sampler in samplers)
            worst = max(
                worst,
                _difference(*(policy.encode_actions(x.actions)[:, policy.current] for x in (a, b))),
                _difference(
                    policy.state_normaliser.normalise(a.features),
                    policy.state_normaliser.normalise(b.features),
                ),
            )
        errors[name] = worst
    return errors
