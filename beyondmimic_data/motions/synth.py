"""The project's own motions: footstep plan and inverse kinematics, no recording needed."""

import dataclasses
from pathlib import Path

import numpy as np

from beyondmimic_data.config import SYNTH_SKILLS, SynthConfig
from beyondmimic_data.errors import ConfigError, MotionError
from beyondmimic_data.motions import standing, walking
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.posture import frame_times
from beyondmimic_data.motions.walk_commands import walk_commands

SYNTH_VERSION = "3"
"""Raised by hand when a synthesised motion changes."""

MIN_SECONDS = {"stand": 1.5, "squat": 1.5, "walk": 6.0, "locomotion": 6.0}
"""Shortest clips that leave room for a start and a stop."""
MAX_SECONDS = 600.0


def clip_configs(skill: str, config: SynthConfig) -> list[SynthConfig]:
    """Return what each clip of a skill is made from: one, or of ``locomotion`` several walks.

    Raises:
        ConfigError: ``locomotion`` without walks.
    """
    if skill != "locomotion":
        return [config]
    if config.locomotion_clips < 1:
        raise ConfigError("synth.locomotion_clips", config.locomotion_clips, "at least 1")
    brisk = dataclasses.replace(config, segment_seconds=config.brisk_segment_seconds)
    walks = [config] * config.locomotion_clips + [brisk] * config.locomotion_brisk_clips
    return [dataclasses.replace(walk, seed=config.seed + 1 + k) for k, walk in enumerate(walks)]


def synthesise_skill(skill: str, config: SynthConfig, control_hz: float) -> list[Clip]:
    """Synthesise all clips of a skill: one, or of ``locomotion`` several walks with seeds of their own.

    Raises:
        ConfigError: as ``synthesise``.
    """
    return [synthesise(skill, made_from, control_hz) for made_from in clip_configs(skill, config)]


def skill_files(skill: str, config: SynthConfig, control_hz: float) -> dict[str, Clip]:
    """Synthesise a skill's clips by file name: ``stand.npz``, or of several ``locomotion/1.npz`` and so on.

    Raises:
        ConfigError: as ``synthesise``.
    """
    clips = synthesise_skill(skill, config, control_hz)
    if len(clips) == 1:
        return {f"{skill}.npz": clips[0]}
    return {f"{skill}/{k}.npz": clip for k, clip in enumerate(clips, 1)}


def write_clip(skill: str, config: SynthConfig, control_hz: float, path: Path) -> None:
    """Synthesise one clip and write it under the name of its file.

    Raises:
        ConfigError: as ``synthesise``.
    """
    dataclasses.replace(synthesise(skill, config, control_hz), name=path.stem).save(path)


def write_skills(config: SynthConfig, control_hz: float, folder: Path) -> list[Path]:
    """Write the clips of ``config.skills`` into a folder that has none of their files; returns their paths.

    Raises:
        ConfigError: as ``synthesise``.
        MotionError: a file of that name exists; nothing is written then.
    """
    clips: dict[Path, Clip] = {}
    for skill in config.skills:
        clips |= {folder / name: clip for name, clip in skill_files(skill, config, control_hz).items()}
    for path in clips:
        if path.exists():
            raise MotionError(
                path, "file", "one that exists", "none of this name; remove it or name another folder"
            )
    for path, clip in clips.items():
        clip.save(path)
    return list(clips)


def synthesise(skill: str, config: SynthConfig, control_hz: float) -> Clip:
    """Synthesise one clip that starts and ends at rest.

    Args:
        skill: one of ``SYNTH_SKILLS``; ``locomotion`` is a longer walk.
        config: length and seed; equal values give equal clips.
        control_hz: frames a second.

    Raises:
        ConfigError: an unknown skill, a clip too short to start and stop in, or walking commands beyond
            what the gait can do.
    """
    if skill not in SYNTH_SKILLS:
        raise ConfigError("synth.skills", skill, "one of " + ", ".join(SYNTH_SKILLS))
    field = {"walk": "walk_seconds", "locomotion": "locomotion_seconds"}.get(skill, "seconds")
    seconds = getattr(config, field)
    if not MIN_SECONDS[skill] <= seconds <= MAX_SECONDS:
        expected = f"{MIN_SECONDS[skill]:g} to {MAX_SECONDS:g} s for {skill}"
        raise ConfigError(f"synth.{field}", seconds, expected)
    if skill in ("walk", "locomotion"):
        walk = dataclasses.replace(config, walk_seconds=seconds)
        qpos = walking.walk_qpos(walk_commands(walk, control_hz), control_hz)
    else:
        rng = np.random.default_rng([config.seed, SYNTH_SKILLS.index(skill)])
        make = {"stand": standing.stand_qpos, "squat": standing.squat_qpos}[skill]
        qpos = make(frame_times(seconds, control_hz), rng)
    source = {"importer": "synth", "skill": skill, "synth_version": SYNTH_VERSION, "seed": str(config.seed)}
    return clip_from_qpos(f"synth__{skill}", qpos, control_hz, control_hz, source)
