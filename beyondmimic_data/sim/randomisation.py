"""Domain randomisation: what is drawn for an environment, before any simulator sees it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from beyondmimic_data.config import ControlConfig, RandomisationConfig, Range
from beyondmimic_data.robots import g1


@dataclasses.dataclass(frozen=True)
class Randomisation:
    """Parameters of n environments."""

    friction: np.ndarray
    """(n,) sliding friction of the feet on the floor."""
    mass_scale: np.ndarray
    """(n, 30) factor on each link's mass and inertia."""
    damping_scale: np.ndarray
    """(n,) factor on every servo's kd; the joints themselves have no damping."""
    stiffness_scale: np.ndarray
    """(n,) factor on every servo's kp."""
    com_offset: np.ndarray
    """(n, 3) m, shift of the torso's centre of mass."""
    joint_offset: np.ndarray
    """(n, 29) rad, zero error of each joint; shifts targets and observations."""
    latency_steps: np.ndarray
    """(n,) physics steps between a command and its effect."""

    def __len__(self) -> int:
        return len(self.friction)


def join(draws: Sequence[Randomisation]) -> Randomisation:
    """Return the environments of several draws, one after the other."""
    names = [field.name for field in dataclasses.fields(Randomisation)]
    return Randomisation(**{name: np.concatenate([getattr(d, name) for d in draws]) for name in names})


def nominal(n: int) -> Randomisation:
    """Return the model as built, without latency, for n environments."""
    return Randomisation(
        friction=np.full(n, 0.6),
        mass_scale=np.ones((n, g1.NUM_BODIES)),
        damping_scale=np.ones(n),
        stiffness_scale=np.ones(n),
        com_offset=np.zeros((n, 3)),
        joint_offset=np.zeros((n, g1.NUM_JOINTS)),
        latency_steps=np.zeros(n, np.int64),
    )


def draw(
    config: RandomisationConfig, control: ControlConfig, generators: Sequence[np.random.Generator]
) -> Randomisation:
    """Draw the parameters of one environment from each generator, so that a seed decides one environment."""
    n = len(generators)
    out = nominal(n)
    for i, rng in enumerate(generators):
        out.friction[i] = rng.uniform(*config.friction)
        out.mass_scale[i] = rng.uniform(*config.mass_scale, g1.NUM_BODIES)
        out.damping_scale[i] = rng.uniform(*config.damping_scale)
        out.com_offset[i] = rng.uniform(-1, 1, 3) * config.com_offset
        out.joint_offset[i] = rng.uniform(-1, 1, g1.NUM_JOINTS) * config.joint_offset
        out.latency_steps[i] = draw_latency(config.latency_ms, control, 1, rng)[0]
        out.stiffness_scale[i] = rng.uniform(*config.stiffness_scale)
    return out


def draw_latency(latency_ms: Range, control: ControlConfig, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw latencies (n,) in physics steps, uniform over those that lie inside a range in ms."""
    first = int(np.ceil(latency_ms[0] / 1e3 / control.physics_dt - 1e-9))
    last = int(np.floor(latency_ms[1] / 1e3 / control.physics_dt + 1e-9))
    return rng.integers(first, last + 1, n)
