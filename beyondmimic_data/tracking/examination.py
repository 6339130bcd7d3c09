"""What a policy has to show before it ships: its gate, every latency, and another contact model."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.statistics import paired_loss
from beyondmimic_data.tracking.evaluate import Trial, evaluate_gate, gate_trial
from beyondmimic_data.tracking.export import export_onnx
from beyondmimic_data.tracking.policy import TrackingPolicy

SHIPPING_SEED = 5_000_000
"""First seed of the examination with which a policy ships; no training, check or gate plays it."""
LATENCY_MS = (0.0, 100.0)
"""What the latency bins cover, beyond what the policy was trained on (DESIGN section 3)."""


def examine(
    policy: TrackingPolicy, clips: Sequence[Clip], preset: Preset, num_threads: int = 0
) -> dict[str, Any]:
    """Hold a policy against the preset's gate, and play the same starts in the second contact model.

    Returns:
        What ``evaluate_gate`` returns, with latency bins up to 100 ms; what ``transfer_loss`` returns as
        ``transfer``; and ``onnx_max_abs_err``, what ``export_onnx`` returns.

    Raises:
        BeyondMimicError: the exported file is not the policy.
    """
    wide = dataclasses.replace(
        preset, randomisation=dataclasses.replace(preset.randomisation, latency_ms=LATENCY_MS)
    )
    trial = gate_trial(policy, clips, wide, num_threads=num_threads)
    report = evaluate_gate(policy, clips, wide, trial=trial, num_threads=num_threads)
    second = gate_trial(policy, clips, wide, feet="capsules", num_threads=num_threads)
    with tempfile.TemporaryDirectory() as folder:
        error = export_onnx(policy, clips[0], preset, Path(folder) / "policy.onnx")
    return report | {
        "gate": dataclasses.asdict(preset.gate),
        "transfer": transfer_loss(trial, second),
        "onnx_max_abs_err": error,
    }


def transfer_loss(trial: Trial, second: Trial) -> dict[str, float]:
    """Return how much completion a policy loses in another simulation of the same starts.

    Returns:
        ``completion`` in the second one; ``loss`` of completion, ``loss_low`` and ``loss_high`` its 95 %
        interval (paired); ``n``.
    """
    completion = float(second.completed.mean())
    return {"completion": completion, **paired_loss(trial.completed, second.completed)}
