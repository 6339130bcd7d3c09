"""The command line's verbs and their options, as dataclasses that tyro reads."""

import dataclasses
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from beyondmimic_data.config import LearnedGuidanceConfig, Preset, SynthConfig, get_preset
from beyondmimic_data.play import gamepad

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclasses.dataclass(frozen=True)
class Run:
    """Run the whole graph here, without the UI; `make demo` calls this."""

    preset: str = "quick"
    """One of test, quick, paper; it fixes every number below."""
    motions: tuple[str, ...] = ()
    """Files or folders with BVH, G1 CSV or NPZ motions; commas may join several."""
    train_minutes: float | None = None
    """Longest training of one skill, in minutes; the same as --training.minutes."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Train(Run):
    """Train tracking policies as far as their gates: no rollouts, no diffusion policy."""

    skills: tuple[str, ...] = ()
    """Keys of the skills to train, such as synth__stand; every skill by default."""


@dataclasses.dataclass(frozen=True)
class Collect(Run):
    """Collect rollouts, training skills that lack a policy first, and make a dataset version of them."""

    skills: tuple[str, ...] = ()
    """Keys of the skills to collect, such as synth__stand; every skill by default."""


@dataclasses.dataclass(frozen=True)
class Distill(Run):
    """Train the diffusion policy on what `collect` with the same options left; no report, no bundle."""


@dataclasses.dataclass(frozen=True)
class Ui:
    """Open the Dagster UI, with the sensors and schedules that keep the graph up to date."""

    preset: str | None = None
    """Preset of what is built from the UI; the settings of the last run by default."""
    port: int = 3000
    """Port on 127.0.0.1."""
    json: Flag = False
    """Print one JSON document on standard output when the UI answers."""


@dataclasses.dataclass(frozen=True)
class MotionsCheck:
    """Import or retarget motions without storing them and report their quality; exits 1 if one is refused."""

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders."""
    fps: float | None = None
    """Frames a second; a motions.toml says so otherwise."""
    quat: Literal["wxyz", "xyzw"] | None = None
    """Order of the root quaternion; a motions.toml says so otherwise."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class MotionsSynth:
    """Write the project's own motions as files, for a motions.toml to group, cut, loop or mirror."""

    out: tyro.conf.Positional[Path]
    """Folder to write them into."""
    synth: SynthConfig = dataclasses.field(default_factory=SynthConfig)
    """Which motions, how long, and their seed."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class MotionsGait:
    """Measure how motions walk, beside the project's own gait; only steady walking steps count."""

    paths: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Files or folders; none shows the project's own gait alone."""
    fps: float | None = None
    """Frames a second; a motions.toml says so otherwise."""
    quat: Literal["wxyz", "xyzw"] | None = None
    """Order of the root quaternion; a motions.toml says so otherwise."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Time a hot path against its own limit in the same run; takes up to three minutes."""

    name: tyro.conf.Positional[Literal["physics", "windows", "ppo", "collect", "train", "retarget"]]
    """What to time."""
    motions: Path | None = None
    """BVH file or folder for `retarget`, which needs one and exits 1 if a figure is over its limit."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Fuzz:
    """Damage valid files and read them; exits 1 if one is neither accepted nor refused in one line."""

    targets: tuple[str, ...] = ()
    """Names of what is read, such as motion_npz; everything by default."""
    mutants: int = 300
    """Damaged files of each."""
    seed: int = 1
    """Decides what is done to each."""
    first: int = 0
    """Number of the first; with one mutant it repeats that one alone."""
    keep: Path | None = None
    """Folder to leave the last damaged files of each target in."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class StudyClosedLoop:
    """Play one protocol with every combination of some settings of the closed loop, at the same seeds."""

    protocol: str
    """What the policy has to do, such as joystick."""
    vary: tuple[str, ...]
    """`field=value,value` each; fields as in the preset's closed loop, such as guidance.scale=1,2,4."""
    policy: str | None = None
    """`shipped`, or the folder of a diffusion policy; the store's last one by default."""
    seeds: int = 32
    """Runs of each combination, all at once."""
    seed: int | None = None
    """Seed of starts, latency, pushes, commands and noise; the preset's by default."""
    picture: Path | None = None
    """PNG file to draw success and falls into."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class StudyTraining:
    """Train Stage 2 with one setting changed at a time, for equal minutes, and compare in closed loop."""

    out: Path
    """Folder of the study; an interrupted one goes on there."""
    vary: tuple[str, ...]
    """`field=value,value` each; fields as in the preset, such as diffusion.emphasis=0,4,6, and
    data.noise_kind=none,white,ou and data.hours=0.5,2, which choose episodes."""
    minutes: float = 5.0
    """Of each training, from nothing, on the store's last dataset."""
    protocols: tuple[str, ...] = ("walk_perturb", "joystick")
    """What each policy is judged by."""
    seeds: int = 100
    """Runs of each protocol, equal for every policy."""
    seed: int | None = None
    """Seed of starts, latency, pushes, commands and noise; the preset's by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class StudyLearnedGuidance:
    """Train a policy that sets guidance, and compare it with the fixed settings at the same seeds."""

    out: Path
    """Folder for policy, record, curve and comparison; a training needs a new or an empty one."""
    policy: str | None = None
    """`shipped`, or the folder of a diffusion policy; the store's last one by default."""
    learned: Path | None = None
    """Folder of an earlier study, whose learned guidance is compared; nothing is trained then."""
    training: Annotated[LearnedGuidanceConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=LearnedGuidanceConfig
    )
    """How long, how many robots, bounds and PPO's numbers."""
    protocols: tuple[str, ...] = ("joystick", "forest")
    """What is compared; robots have to follow commands there."""
    seeds: int = 100
    """Runs of each protocol with each of the two, all at once."""
    first_seed: int | None = None
    """Seed of starts, latency, commands, goals and noise in the comparison; the preset's by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class StudySampling:
    """Train one clip with each way of drawing starts, and show which seconds fail; takes an hour and more."""

    motion: tyro.conf.Positional[Path]
    """A motion file, such as a BVH file."""
    steps: float = 3e6
    """Environment steps of each training."""
    seeds: int = 3
    """Trainings of each way."""
    preset: str = "quick"
    """Every other number; trained from nothing, without pushes, on all cores."""
    folder: Path = Path("study")
    """Keeps what is done: an interrupted study goes on."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class EvaluateTracking:
    """Play the clips of a skill with its last policy on fresh seeds, in two contact models.

    Exits 1 if the policy fails the preset's gate, as it is with the options below.
    """

    skill: str
    """Key of the skill, such as synth__stand."""
    clips: tuple[str, ...] = ()
    """Names of clips to play, such as synth__stand; all of the skill's by default."""
    seeds: int | None = None
    """Starts of each clip; the gate's by default."""
    first_seed: int | None = None
    """Seed of the first start, the others follow it; the gate's by default."""
    push: bool | None = None
    """Push the robot, in its starts and every few seconds; as the preset's gate does by default."""
    seconds: float | None = None
    """Length to complete, or the clip's if it is shorter; the gate's by default."""
    video: Path | None = None
    """MP4 to write of one start of each clip, the reference in blue, instead of examining."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class EvaluateClosedLoop:
    """Run a diffusion policy in closed loop in MuJoCo.

    Exits 1 if it succeeds less often than the preset's closed_loop.min_success asks of this protocol, or if
    no recorded start fits the protocol. One that min_success does not name has nothing to reach.
    """

    protocol: str
    """What it has to do, such as walk_perturb, commanded_walk, joystick or waypoint."""
    policy: str | None = None
    """`shipped`, or the folder of a diffusion policy; the store's last one by default."""
    seeds: int = 50
    """Number of runs, all at once."""
    seed: int | None = None
    """Seed of starts, latency, pushes, commands, goals and noise; the preset's by default."""
    latency_ms: tuple[float, float] | None = None
    """Range of the delay after the policy in ms; the preset's by default."""
    latency_sweep: Flag = False
    """Also run with each fixed delay of 0 to 100 ms in steps of 20 ms."""
    second_contact_model: Flag = False
    """Also run with capsules for feet and another solver, which no policy was trained with."""
    out: Path | None = None
    """Folder for figures, picture, video and report; none is written by default."""
    record: Flag = False
    """Keep the figures beside the shipped policy, which has to be the one examined."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Play:
    """Steer one robot live in the browser, or by a script into a video with --record and --script."""

    policy: str = "shipped"
    """`shipped`, `latest` or the folder of a diffusion policy."""
    port: int = 8080
    """Port on 127.0.0.1."""
    gamepad: Path | None = gamepad.DEVICE
    """Joystick device of this machine to steer with, once it is plugged in; `None` looks for none."""
    record: Path | None = None
    """MP4 to write instead of opening the viewer; needs --script."""
    script: Path | None = None
    """TOML file with commands, pillars and pushes; docs/play.md has every key."""
    camera: Literal["behind", "side"] = "behind"
    """Where the video is seen from."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataDiff:
    """Show what changed from one dataset version to another; reads no step."""

    old: tyro.conf.Positional[str]
    """Recipe or version of a dataset, or the beginning of one, or `latest` or `previous`."""
    new: tyro.conf.Positional[str]
    """The same for the other one."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataExport:
    """Write a dataset version for other tools, as a LeRobot dataset or as motion NPZ files."""

    format: Literal["lerobot", "npz"]
    """LeRobot v3.0, or one NPZ an episode in the layout of whole_body_tracking and mjlab."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    version: str = "latest"
    """Recipe or version of a dataset, or the beginning of one, or `latest` or `previous`."""
    skills: tuple[str, ...] = ()
    """Keys of the skills to export, such as synth__stand; every skill by default."""
    order: Literal["breadth-first", "depth-first"] = "breadth-first"
    """Of joints and bodies in NPZ files: whole_body_tracking's, or MuJoCo's and so mjlab's."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataPush:
    """Copy a dataset version and all that it was made from to an object store; goes on if interrupted."""

    url: tyro.conf.Positional[str]
    """Where to, such as s3://bucket/prefix."""
    version: str = "latest"
    """Recipe or version of a dataset, or the beginning of one, or `latest` or `previous`."""
    skills: tuple[str, ...] = ()
    """Keys of the skills whose rollouts are copied, such as synth__stand; every skill by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataPull:
    """Copy a dataset version and all that it was made from into the store, and check every byte."""

    url: tyro.conf.Positional[str]
    """Where a push put it, such as s3://bucket/prefix."""
    version: str = "latest"
    """Recipe or version of a dataset there, or the beginning of one, or `latest` or `previous`."""
    skills: tuple[str, ...] = ()
    """Keys of the skills whose rollouts are copied, such as synth__stand; every skill by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataVerify:
    """Read every byte of the store and compare it with what was recorded; exits 1 if something is damaged."""

    heal: Flag = False
    """Set aside what is damaged; the next collection or run makes just that again."""
    kinds: tuple[str, ...] = ()
    """Kinds of artifacts, such as rollouts; every kind by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class DataGc:
    """List what neither the newest artifacts nor their ancestors need; removes nothing unless told to."""

    remove: Flag = False
    """Remove what is listed; what a process is building stays."""
    partials: Flag = False
    """Count interrupted builds too; a build of the same recipe would go on with them."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class ChaosCollect:
    """Disturb a collection in every way, and compare its bytes with those of a calm one; needs no motions."""

    kills: int = 50
    """Times that a worker or the driver is killed with SIGKILL."""
    seed: int = 0
    """Of the moments and the victims."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a skill's last policy with one of its clips as a single ONNX file, for deployers."""

    skill: str
    """Key of the skill, such as synth__stand."""
    out: Path
    """File to write."""
    clip: str | None = None
    """Name of the clip whose frames travel inside the file; the skill's first by default."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


@dataclasses.dataclass(frozen=True)
class Ship:
    """Put a skill's last policy, or the last diffusion policy, where first trainings start from.

    It is examined first; one that fails is not written, and the verb exits 1.
    """

    skill: str | None = None
    """Key of the skill, such as synth__stand; without it, the last diffusion policy ships."""
    seeds: int | None = None
    """Pushed starts of each clip in a skill's examination, by default 200 in all; runs of each protocol in
    that of the diffusion policy, by default 100."""
    seconds: float = 20.0
    """Length that each start has to complete, or the clip's if it is shorter."""
    protocols: tuple[str, ...] = ()
    """What the diffusion policy is examined by; by default stand_perturb, walk_perturb and joystick."""
    json: Flag = False
    """Print one JSON document on standard output and everything else on standard error."""


def with_settings(verb: type[Run], preset: str) -> type[Run]:
    """Return a verb's options with all of a preset's fields as further ones.

    Raises:
        ConfigError: no such preset.
    """
    base = get_preset(preset)
    hints = typing.get_type_hints(Preset)
    names = [field.name for field in dataclasses.fields(Preset) if field.name != "name"]
    settings = dataclasses.make_dataclass(
        "Settings",
        [(name, hints[name], dataclasses.field(default=getattr(base, name))) for name in names],
        frozen=True,
    )
    field: Any = (
        "settings",
        Annotated[settings, tyro.conf.arg(name="")],
        dataclasses.field(default=settings()),
    )
    made = dataclasses.make_dataclass(verb.__name__, [field], bases=(verb,), frozen=True)
    made.__doc__ = verb.__doc__
    return made


def chosen_preset(options: Run) -> Preset:
    """Return the preset that parsed options describe."""
    settings = options.settings  # type: ignore[attr-defined]
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    preset = Preset(name=options.preset, **values)
    if options.train_minutes is None:
        return preset
    training = dataclasses.replace(preset.training, minutes=options.train_minutes)
    return dataclasses.replace(preset, training=training)
