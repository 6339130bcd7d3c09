"""What the command can be told, and what follows from it."""

import dataclasses
import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import tyro

from beyondmimic_data.config import (
    SYNTH_KEYS,
    DiffusionConfig,
    GuidanceConfig,
    PlanningConfig,
    Preset,
    RandomisationConfig,
    RolloutConfig,
    SynthConfig,
    named_numbers,
    quick,
)
from beyondmimic_data.errors import ConfigError

SIZES = {"quick": (160, 4), "paper": (512, 6)}
"""Width and layers by name."""
EPISODE_ROWS = 512
"""Rows of a unit for each of its environments: an episode of ten seconds fits."""
UNIT_ENVS = (4, 64)
"""Fewest and most environments of a unit."""
HOURS_A_WALK = 0.5
"""Hours of rollouts that one synthesised walk of each kind is worth: few hours need few of them."""
UNITS_A_CORE = 4
"""Units that each core should have to do, so that all end at about the same time."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Synthesise motions, collect rollouts, train a diffusion policy and examine it, all within minutes."""

    out: Path | None = None
    """Folder for the results; that named by the environment variable OUT by default."""
    total_minutes: float = 9.5
    """Minutes for everything; what is late is cut short."""
    hours: float = 20.0
    """Hours of rollouts."""
    student_hours: float = 0.0
    """Hours of further rollouts in which the policy to start from drives for bursts (DAgger), or one that is
    trained first; training then goes on with all of them. 0 for none."""
    shares: tuple[str, ...] = ("synth__stand=1", "synth__squat=0.5", "synth__walk=1", "synth__locomotion=7.5")
    """`skill=share` each, of the hours; 0 leaves a skill out."""
    minutes: float | None = None
    """Longest training, its trials included; by default what is left."""
    size: str = "quick"
    """quick (160x4), paper (512x6) or WIDTHxLAYERS; decides the defaults of --diffusion."""
    start: Literal["nothing", "shipped"] = "nothing"
    """Train from nothing, or from the policy that ships, whose size it has to be."""
    trials: int = 3
    """Trials in closed loop during training, whose best weights are kept; 0 keeps the last."""
    compile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Have torch compile the network."""
    protocols: tuple[str, ...] = ("stand_perturb", "walk_perturb", "commanded_walk", "joystick", "waypoint")
    """What the policy is examined in, as far as the time goes."""
    seeds: int = 64
    """Runs of each protocol, all at once."""
    cores: int | None = None
    """Processes that collect; every core by default."""
    synth: SynthConfig = dataclasses.field(
        default_factory=lambda: SynthConfig(
            locomotion_clips=20,
            locomotion_brisk_clips=12,
            locomotion_seconds=62.0,
            forward=(-0.7, 1.0),
            segment_shares=("backward=0.2", "reverse=0.15"),
        )
    )
    """The skills follow from the shares; there are fewer walks where there are few hours."""
    randomisation: RandomisationConfig = dataclasses.field(default_factory=lambda: quick().randomisation)
    rollouts: RolloutConfig = dataclasses.field(
        default_factory=lambda: RolloutConfig(noise_shares=(0.1, 0.75, 0.15), noise_scale=(0.5, 1.2))
    )
    """Size and number of units follow from the hours."""
    diffusion: DiffusionConfig = dataclasses.field(default_factory=DiffusionConfig)
    """Minutes, and minutes between trials, follow from the above."""
    planning: PlanningConfig = dataclasses.field(default_factory=PlanningConfig)
    guidance: GuidanceConfig = dataclasses.field(default_factory=GuidanceConfig)

    @property
    def num_cores(self) -> int:
        """Processes that collect."""
        return self.cores or os.cpu_count() or 1

    @property
    def skill_shares(self) -> dict[str, float]:
        """Share of the hours of each skill that has one; they sum to 1.

        Raises:
            ConfigError: a share of an unknown skill, or none above 0.
        """
        given = {skill: s for skill, s in named_numbers("shares", self.shares, SYNTH_KEYS).items() if s > 0}
        if not given:
            raise ConfigError("shares", self.shares, "a share above 0")
        return {skill: share / sum(given.values()) for skill, share in given.items()}

    def results_folder(self) -> Path:
        """Return where results go.

        Raises:
            ConfigError: nothing says so.
        """
        named = self.out or os.environ.get("OUT")
        if not named:
            raise ConfigError("out", None, "a folder, or the environment variable OUT that names one")
        return Path(named)

    def check(self) -> None:
        """Refuse what cannot be used before minutes are spent.

        Raises:
            ConfigError: the first such option.
        """
        from beyondmimic_data.control.protocols import get_protocol
        from beyondmimic_data.diffusion.policy import require_usable

        for name in ("total_minutes", "hours", "minutes", "seeds", "cores"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(name, value, "a number above 0")
        for name in ("trials", "student_hours"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "a number of at least 0")
        require_usable(self.diffusion)
        named_numbers("diffusion.skill_weights", self.diffusion.skill_weights, self.skill_shares)
        for name in self.protocols:
            get_protocol(name)

    def preset(self) -> Preset:
        """Return every number of the run."""
        base = quick()
        rows = max(self.hours, self.student_hours) * 3600 * base.control.control_hz
        envs = round(rows / (EPISODE_ROWS * UNITS_A_CORE * self.num_cores))
        envs = min(max(envs, UNIT_ENVS[0]), UNIT_ENVS[1])
        walks = math.ceil(self.skill_shares.get("synth__locomotion", 0.0) * self.hours / HOURS_A_WALK)
        return dataclasses.replace(
            base,
            name="stage2_bare",
            synth=dataclasses.replace(
                self.synth,
                locomotion_clips=min(self.synth.locomotion_clips, max(walks, 1)),
                locomotion_brisk_clips=min(self.synth.locomotion_brisk_clips, walks),
            ),
            randomisation=self.randomisation,
            rollouts=dataclasses.replace(self.rollouts, num_envs=envs, chunk_steps=envs * EPISODE_ROWS),
            diffusion=self.diffusion,
            closed_loop=dataclasses.replace(
                base.closed_loop,
                protocols=self.protocols,
                min_success=(),
                seeds=self.seeds,
                planning=self.planning,
                guidance=self.guidance,
            ),
        )


def default_options(size: str | None) -> Options:
    """Return the defaults for a size of model.

    Raises:
        ConfigError: no such size.
    """
    size = size or Options.size
    width, layers = size_of(size)
    return Options(
        size=size,
        diffusion=dataclasses.replace(
            quick().diffusion,
            embedding=width,
            layers=layers,
            dropout=0.0,
            action_label="action_noise_free",
            shared_levels=0.5,
            skill_weights=(),  # the hours are dealt out already
            batch_size=512,
            # Wider networks take smaller steps; 1e-3 is what 128 wide was tuned with.
            learning_rate=1e-3 * min(1.0, (128 / width) ** 0.5),
            warm_learning_rate=6e-4 * min(1.0, (128 / width) ** 0.5),
            warmup_steps=200,
            max_grad_norm=1.0,
            max_steps=1_000_000,
            minutes=None,
            ema_max=0.999,
            # The run is over before a checkpoint would be of use.
            checkpoint_minutes=1e6,
        ),
    )


def size_of(size: str) -> tuple[int, int]:
    """Return width and layers of a size.

    Raises:
        ConfigError: no such size.
    """
    if size in SIZES:
        return SIZES[size]
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None:
        raise ConfigError("size", size, "quick, paper or WIDTHxLAYERS such as 256x4")
    return int(found[1]), int(found[2])
