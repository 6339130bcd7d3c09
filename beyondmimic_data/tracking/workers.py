"""Training on Ray: one actor a skill, restarted and resumed from its checkpoint if it is lost."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.tracking.policy_files import EVALUATION, TRAINING, WEIGHTS

log = logging.getLogger(__name__)

PROGRESS_FILE = "progress.json"


class SkillTrainer:
    """The body of an actor: trains one skill and holds it against its gate."""

    def run(
        self,
        clip_paths: Sequence[Path],
        preset: Preset,
        folder: Path,
        warm_start: Path | None,
        foreign: bool,
        logs: Path | None,
    ) -> dict[str, Any]:
        """Train, export and evaluate; writes the policy folder's files and returns the gate's report."""
        from beyondmimic_data.motions.clip import Clip
        from beyondmimic_data.tracking.evaluate import evaluate_gate
        from beyondmimic_data.tracking.export import export_onnx
        from beyondmimic_data.tracking.pictures import plot_training
        from beyondmimic_data.tracking.policy import TrackingPolicy
        from beyondmimic_data.tracking.train import train_policy

        clips = [Clip.load(path) for path in clip_paths]
        threads = max(1, int(preset.training.cpus_per_skill))
        last = [0.0]

        def report(figures: dict[str, float]) -> None:
            if time.monotonic() - last[0] >= 5:
                last[0] = time.monotonic()
                write_json(folder / "scratch" / PROGRESS_FILE, figures)

        # An actor lost after its training need not train again, unless damaged weights were taken out since.
        if (folder / TRAINING).exists() and (folder / WEIGHTS).exists():
            record = read_json(folder / TRAINING)
        else:
            record = train_policy(
                clips,
                preset,
                folder,
                warm_start=warm_start,
                foreign=foreign,
                num_threads=threads,
                progress=report,
                logs=logs,
            )
        (folder / "scratch" / PROGRESS_FILE).unlink(missing_ok=True)
        policy = TrackingPolicy.load(folder)
        evaluation = evaluate_gate(policy, clips, preset, num_threads=threads)
        evaluation["training"] = {
            k: record[k] for k in ("steps", "seconds", "steps_per_s", "ended", "physics_failures")
        }
        evaluation["onnx_max_abs_err"] = export_onnx(policy, clips[0], preset, folder / "policy.onnx")
        write_json(folder / EVALUATION, evaluation)
        plot_training(record, evaluation, folder / "curve.png")
        return evaluation


def train_skill(
    skill: str,
    clip_paths: Sequence[Path],
    preset: Preset,
    folder: Path,
    *,
    warm_start: Path | None = None,
    foreign: bool = False,
    logs: Path | None = None,
    progress: Callable[[str], None] = log.info,
    poll_seconds: float = 15.0,
) -> dict[str, Any]:
    """Train one skill in a Ray actor and wait for it; skills called from several threads queue for CPUs.

    Args:
        skill: name for progress lines.
        clip_paths: clips, readable where the actor runs.
        preset: every number; ``training.cpus_per_skill`` is what the actor reserves.
        folder: the policy's folder.
        warm_start: folder of the policy to start from.
        foreign: that policy is of another skill; see ``Trainer.warm_start``.
        logs: folder of TensorBoard curves.
        progress: receives a line while training runs.
        poll_seconds: time between lines.

    Returns:
        The gate's report.
    """
    import ray

    cpus, gpus = preset.training.cpus_per_skill, preset.training.gpus_per_skill
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=2, max_task_retries=2)(SkillTrainer)
    actor: Any = remote.remote()
    task = actor.run.remote(list(clip_paths), preset, folder, warm_start, foreign, logs)
    try:
        while not ray.wait([task], timeout=poll_seconds)[0]:
            line = _progress_line(folder / "scratch" / PROGRESS_FILE, preset)
            if line:
                progress(f"{skill}: {line}")
        return ray.get(task)
    finally:
        ray.kill(actor)


def _progress_line(path: Path, preset: Preset) -> str | None:
    """Say how far a training is, from the file its actor keeps."""
    try:
        f = read_json(path)
    except (OSError, ValueError):
        return None
    budget = preset.training.minutes
    failures = f.get("physics_failures")
    unstable = f", {failures} unstable simulations" if failures else ""
    tried = f", {f['completion']:.0%} of starts complete" if "completion" in f else ""
    left = f", {max(budget - f['minutes'], 0):.1f} min left at most" if budget else ""
    return (
        f"{f['minutes']:.1f} min, {f['steps'] / 1e6:.2f} M steps, {f['steps_per_s']:.0f} steps/s, "
        f"reward {f['reward_per_step']:.3f}, {f['falls_per_1000_steps']:.1f} falls/1000 steps"
        f"{unstable}{tried}{left}"
    )
