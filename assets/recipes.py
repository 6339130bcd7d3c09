"""Recipes: hashes of everything that decides what a stage gives, computed without running it.

A recipe holds the versions of the parents, the configuration that matters, the code version and the seeds
(they are part of the configuration). How many cores or which cluster do the work is left out on purpose.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from beyondmimic_data import versions
from beyondmimic_data.config import Preset, TrainingConfig
from beyondmimic_data.diffusion.policy_files import WEIGHTS
from beyondmimic_data.hashing import hash_file, hash_value
from beyondmimic_data.rollouts.student_source import student_folder

ENGINE_PACKAGES = ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx")


def motion_recipe(signature: str, preset: Preset) -> str:
    """Return the recipe of a skill's clips.

    Args:
        signature: hash of its files' bytes, names and facts and of the importer's version.
        preset: gives the control rate and the limits of quality.
    """
    return hash_value(["motion", signature, preset.control, preset.quality])


def policy_base(motion_version: str, preset: Preset) -> str:
    """Return the recipe of a policy before it is known where it starts from, and for how long it is trained.

    A longer budget is for the skills that failed their gate with the shorter one; see ``find_policy``.
    """
    return hash_value(
        [
            "tracking_policy",
            versions.TRACKING,
            motion_version,
            preset.control,
            preset.task,
            preset.sampling,
            preset.randomisation,
            preset.ppo,
            _training(preset.training),
            preset.gate,
        ]
    )


def warm_started(base: str, parent_version: str | None) -> str:
    """Return the recipe of what is trained from a parent; without one it is ``base``."""
    return base if parent_version is None else hash_value([base, parent_version])


def rollouts_recipe(motion_version: str, policy_version: str, preset: Preset) -> str:
    """Return the recipe of a skill's rollouts; what they have to reach to teach changes no byte of them."""
    rollouts, closed_loop = preset.rollouts, preset.closed_loop
    bursts = ("student_share", "student_seconds", "teacher_seconds")
    config = _without(rollouts, "cpus_per_worker", "min_kept_share", "student", *bursts)
    parents: list[Any] = [motion_version, policy_version]
    student = student_folder(rollouts)
    if student is not None:
        drives = [getattr(rollouts, name) for name in bursts]
        parents.append([hash_file(student / WEIGHTS), drives, closed_loop.planning, closed_loop.guidance])
    return hash_value(
        ["rollouts", versions.ROLLOUTS, parents, config, preset.control, preset.task, preset.randomisation]
    )


def dataset_recipe(included: Sequence[tuple[str, str]], preset: Preset) -> str:
    """Return the recipe of what a dataset teaches: skills with the versions of their rollouts.

    What is left out does not enter: a motion that fails its gate must not retrain the diffusion policy.
    """
    return hash_value(["dataset", versions.DATASET, sorted(included), preset.dataset])


def diffusion_base(dataset_version: str, preset: Preset) -> str:
    """Return the recipe of a diffusion policy before it is known where it starts from."""
    config = _without(preset.diffusion, "shipped_start", "workers")
    parts = ["diffusion_policy", versions.DIFFUSION, dataset_version, config, preset.control]
    if preset.diffusion.check_minutes is not None:
        # Trials choose the weights, and these decide what is tried.
        parts += [preset.closed_loop.planning, preset.closed_loop.guidance]
    return hash_value(parts)


def report_recipe(diffusion_version: str, preset: Preset) -> str:
    """Return the recipe of a closed-loop report."""
    return hash_value(
        [
            "closed_loop_report",
            versions.CLOSED_LOOP,
            diffusion_version,
            preset.closed_loop,
            preset.control,
            preset.task,
            preset.randomisation,
        ]
    )


def bundle_recipe(diffusion_version: str, report_version: str, preset: Preset) -> str:
    """Return the recipe of a deployment bundle; engines depend on which TensorRT is installed."""
    tools = {name: _installed(name) for name in ENGINE_PACKAGES}
    return hash_value(
        ["deployment_bundle", versions.DEPLOYMENT, diffusion_version, report_version, tools, preset.deploy]
    )


def _installed(package: str) -> str | None:
    """Return the version of a package without importing it, or ``None``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _training(config: TrainingConfig) -> Mapping[str, Any]:
    starts = ("shipped_start", "start")
    about_the_run = ("cpus_per_skill", "gpus_per_skill", "checkpoint_minutes", "minutes")
    return _without(config, *starts, *about_the_run)


def _without(config: Any, *names: str) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in names}
