"""One script of writes, steps and pushes for any back end, recorded: what two simulators are compared by.

Simulators that cannot share an environment share files instead. Recorded in each environment, every array of
the two traces has the same name, shape and meaning:

    python -m beyondmimic_data.sim.conformance isaaclab CLIP POLICY OUT.npz
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import ControlConfig, RandomisationConfig, TaskConfig
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.sim import randomisation as rand
from beyondmimic_data.sim.backend import Backend, RobotState
from beyondmimic_data.tracking import task
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.world import TrackingWorld

NUM_ENVS = 2
"""The least number that shows a mixed-up environment."""
NUM_POSES = 3
EVERYONE = np.arange(NUM_ENVS)
CONTROL = ControlConfig()
QUIET = RandomisationConfig(push=False)

COM_SHIFT = np.array([0.025, 0.05, 0.05])
"""m, of the torso's centre of mass."""

Trace = dict[str, np.ndarray]

CHANGES: dict[str, Callable[[rand.Randomisation], rand.Randomisation]] = {
    "nothing": lambda draw: draw,
    "friction": lambda draw: dataclasses.replace(draw, friction=draw.friction / 3),
    "mass": lambda draw: dataclasses.replace(draw, mass_scale=draw.mass_scale * 1.2),
    "damping": lambda draw: dataclasses.replace(draw, damping_scale=draw.damping_scale * 1.5),
    "stiffness": lambda draw: dataclasses.replace(draw, stiffness_scale=draw.stiffness_scale * 1.2),
    "com": lambda draw: dataclasses.replace(draw, com_offset=draw.com_offset + COM_SHIFT),
    "latency": lambda draw: dataclasses.replace(draw, latency_steps=draw.latency_steps + 6),
}
"""One physical parameter at a time, applied to the second environment only."""


def record(backend: Backend, clip: Clip, policy: TrackingPolicy) -> Trace:
    """Run the whole script on a back end of ``NUM_ENVS`` environments.

    Args:
        backend: control at 50 Hz, physics at 200 Hz.
        clip: reference motion of at least two seconds.
        policy: a policy that can track the clip.
    """
    return {
        **_kinematics(backend),
        **_terms(backend, clip),
        **_free_fall(backend),
        **_lying(backend),
        **_parameters(backend),
        **_episode(backend, clip, policy),
    }


def place(
    backend: Backend, qpos: np.ndarray, qvel: np.ndarray | None = None, ids: np.ndarray = EVERYONE
) -> None:
    """Write positions (n, 36) and velocities (n, 35), both in the world frame, to some environments."""
    qvel = np.zeros((len(qpos), qpos.shape[1] - 1)) if qvel is None else qvel
    parts = qpos[:, :3], qpos[:, 3:7], qvel[:, :3], qvel[:, 3:6], qpos[:, 7:], qvel[:, 6:]
    backend.write(ids, *parts)


def _poses() -> tuple[np.ndarray, np.ndarray]:
    """Return positions (S, 36) and velocities (S, 35): with every joint bent, then one joint at a time."""
    rng, table = np.random.default_rng(0), g1.joint_table()
    qpos = np.tile(g1.default_qpos(), (NUM_POSES + g1.NUM_JOINTS, 1))
    qpos[:NUM_POSES, 7:] = rng.uniform(table.lower, table.upper, (NUM_POSES, g1.NUM_JOINTS))
    turns = rotations.from_rotation_vector(rng.uniform(-1, 1, (NUM_POSES, 3)))
    qpos[:NUM_POSES, :3], qpos[:NUM_POSES, 3:7] = rng.uniform(1, 2, (NUM_POSES, 3)), turns
    for joint in range(g1.NUM_JOINTS):
        qpos[NUM_POSES + joint, 7 + joint] = (table.lower[joint] + 3 * table.upper[joint]) / 4
    return qpos, rng.uniform(-1, 1, (len(qpos), qpos.shape[1] - 1))


def _kinematics(backend: Backend) -> Trace:
    """Write poses and read every link: in reverse order in the second environment, and once in it alone."""
    states = []
    qpos, qvel = _poses()
    for i in range(len(qpos)):
        pair = [i, len(qpos) - 1 - i]
        place(backend, qpos[pair], qvel[pair])
        states.append(backend.read())
    place(backend, qpos[:1], qvel[:1], EVERYONE[1:])
    return _stacked("kinematics", [*states, backend.read()])


def _stacked(name: str, states: list[RobotState]) -> Trace:
    fields = ("body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w", "joint_pos", "joint_vel")
    return {f"{name}/{f}": torch.stack([getattr(state, f) for state in states]).numpy() for f in fields}


def _terms(backend: Backend, clip: Clip) -> Trace:
    """Reset the tracking task with noise and record each term of observation and reward of that state."""
    world = TrackingWorld(backend, [clip], CONTROL, TaskConfig(observation_noise=False), QUIET, seed=1)
    rng = np.random.default_rng(2)
    trace: dict[str, list[np.ndarray]] = {}
    for _ in range(4):
        world.reset(EVERYONE, rng.integers(0, clip.num_frames - 1, NUM_ENVS))
        world.refresh()
        last = torch.from_numpy(rng.normal(size=(NUM_ENVS, g1.NUM_JOINTS))).float()
        offset = torch.from_numpy(rng.normal(size=(NUM_ENVS, g1.NUM_JOINTS)) * 0.01).float()
        actor = task.actor_terms(world.state, world.tracked, world.reference, last, offset, world.bodies)
        critic = task.critic_terms(actor, world.tracked, torch.zeros(NUM_ENVS, 1), world.bodies)
        rewards = task.rewards(
            world.state, world.tracked, world.reference, 2 * last, last, world.bodies, world.config
        )
        for name, value in (*critic.items(), *rewards.items()):
            trace.setdefault(f"terms/{name}", []).append(value.numpy())
    return {name: np.stack(values) for name, values in trace.items()}


def _free_fall(backend: Backend) -> Trace:
    """Let the robot fall with swinging joints, touching nothing, every servo below its torque limit."""
    backend.randomise(EVERYONE, rand.nominal(NUM_ENVS))
    rng, qpos = np.random.default_rng(3), np.tile(g1.default_qpos(), (NUM_ENVS, 1))
    qpos[:, 2] = 3.0
    targets = qpos[:, 7:] + rng.uniform(-0.15, 0.15, (NUM_ENVS, g1.NUM_JOINTS))
    place(backend, qpos)
    return _stacked("free_fall", _run(backend, targets, 10))


def _run(backend: Backend, targets: np.ndarray, steps: int) -> list[RobotState]:
    states = []
    for _ in range(steps):
        backend.step(targets)
        states.append(backend.read())
    return states


def _lying(backend: Backend) -> Trace:
    """Drop the robot on its back and record which bodies touch the floor, and how hard."""
    qpos = np.tile(g1.default_qpos(), (NUM_ENVS, 1))
    qpos[:, 2], qpos[:, 3:7] = 0.2, [np.sqrt(0.5), 0, -np.sqrt(0.5), 0]
    place(backend, qpos)
    states = _run(backend, qpos[:, 7:], 50)
    qpos[:, 2] = 3.0
    place(backend, qpos)
    return {
        "lying/force": torch.stack([state.contact_force for state in states[-10:]]).numpy(),
        "lying/force_when_lifted": backend.read().contact_force.numpy(),
    }


def _parameters(backend: Backend) -> Trace:
    """Change one parameter of the second environment, push both, and record where they go."""
    trace: Trace = {}
    qpos = np.tile(g1.default_qpos(), (NUM_ENVS, 1))
    targets = qpos[:, 7:] + 0.1 * np.sin(np.arange(g1.NUM_JOINTS))
    for name, change in CHANGES.items():
        backend.randomise(EVERYONE[:1], rand.nominal(1))
        backend.randomise(EVERYONE[1:], change(rand.nominal(1)))
        place(backend, qpos)
        _run(backend, qpos[:, 7:], 5)
        backend.push(EVERYONE, np.tile([0.0, 1.0, 0.0], (NUM_ENVS, 1)), np.tile([0.0, 0, 2.0], (NUM_ENVS, 1)))
        states = _run(backend, targets, 10)
        trace[f"parameters/{name}/joint_pos"] = states[-1].joint_pos.numpy()
        trace[f"parameters/{name}/body_pos_w"] = states[-1].body_pos_w.numpy()
    backend.randomise(EVERYONE, rand.nominal(NUM_ENVS))
    return trace


def _episode(backend: Backend, clip: Clip, policy: TrackingPolicy) -> Trace:
    """Track the clip from its first frame with a policy; the second environment acts 20 ms late."""
    world = TrackingWorld(backend, [clip], CONTROL, TaskConfig().without_noise(), QUIET, seed=0)
    draw = dataclasses.replace(rand.nominal(NUM_ENVS), latency_steps=np.array([0, 4]))
    world.randomise(EVERYONE, draw)
    world.reset(EVERYONE, np.zeros(NUM_ENVS, int))
    world.refresh()
    trace: dict[str, list[np.ndarray]] = {}
    started = time.perf_counter()
    for _ in range(min(clip.num_frames - 2, 150)):
        actor, critic = world.observe()
        step = world.step(policy.act(actor))
        feet = [world.state.contact_bodies.index(name) for name in g1_facts.FOOT_BODIES]
        values = {
            "actor": actor,
            "critic": critic,
            "reward": step.reward,
            "fell": step.fell,
            "body_pos_w": world.state.body_pos_w,
            "foot_force": world.state.contact_force[:, feet].sum(-1),
            **step.reward_terms,
            **world.errors(),
        }
        for name, value in values.items():
            trace.setdefault(f"episode/{name}", []).append(value.numpy().copy())
        world.advance_reference()
    seconds = time.perf_counter() - started
    stacked = {name: np.stack(values) for name, values in trace.items()}
    rate = stacked["episode/reward"].size / seconds
    return {**stacked, "episode/steps_per_second": np.array(rate)}


def build(name: str, num_envs: int) -> Backend:
    """Build a back end by name, ``mujoco`` or ``isaaclab``; each needs its own environment."""
    if name == "isaaclab":
        from beyondmimic_data.sim.isaaclab_backend import IsaacLabBackend

        return IsaacLabBackend(num_envs, CONTROL)
    from beyondmimic_data.sim.mujoco_backend import MujocoBackend

    return MujocoBackend(num_envs, CONTROL, num_threads=1)


def main() -> None:
    """Record a trace from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=("mujoco", "isaaclab"))
    parser.add_argument("clip", type=Path, help="clip as NPZ")
    parser.add_argument("policy", type=Path, help="folder of a tracking policy")
    parser.add_argument("out", type=Path, help="trace to write")
    arguments = parser.parse_args()
    clip, policy = Clip.load(arguments.clip), TrackingPolicy.load(arguments.policy)
    trace = record(build(arguments.backend, NUM_ENVS), clip, policy)
    np.savez(arguments.out, allow_pickle=False, **trace)


if __name__ == "__main__":
    main()
