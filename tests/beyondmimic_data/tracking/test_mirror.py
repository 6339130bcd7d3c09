"""A robot and its mirror image live through the same."""

import dataclasses

import numpy as np
import torch

from beyondmimic_data import rotations
from beyondmimic_data.config import get_preset
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1
from beyondmimic_data.sim.mujoco_backend import MujocoBackend
from beyondmimic_data.tracking.mirror import TaskMirror
from beyondmimic_data.tracking.trainer import Trainer
from beyondmimic_data.tracking.world import TrackingWorld

TEST = get_preset("test")
QUIET = dataclasses.replace(TEST, task=TEST.task.without_noise())
STILL = dataclasses.replace(QUIET.randomisation, push=False, latency_ms=(0, 0), joint_offset=0.0)


def lopsided_clip(mirror: TaskMirror | None = None) -> Clip:
    """A clip that bends, turns and drifts to one side; with ``mirror`` to the other."""
    time = np.linspace(0, 1, 31)[:, None]
    qpos = np.tile(g1.default_qpos(), (31, 1))
    sway = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 29))
    joints = torch.from_numpy(qpos[:, 7:] + sway * (0.5 + time))
    side = 1.0 if mirror is None else -1.0
    qpos[:, 7:] = joints if mirror is None else mirror.reflect_actions(joints)
    qpos[:, 1:2] = side * 0.3 * time
    qpos[:, 2] = 0.9
    vector = np.array([0.1, 0.2, 0.3]) * [side, 1, side] * (0.5 + time)
    qpos[:, 3:7] = rotations.from_rotation_vector(vector)
    return clip_from_qpos("lopsided", qpos, 30, 50)


def test_reflected_observations_are_those_of_the_reflected_robot():
    backend = MujocoBackend(2, QUIET.control, num_threads=1)
    mirror = TaskMirror(backend.joint_names)
    clips = [lopsided_clip(), lopsided_clip(mirror)]
    world = TrackingWorld(backend, clips, QUIET.control, QUIET.task, STILL, 0)
    world.reset(np.arange(2), world.library.starts.numpy() + 7)
    world.refresh()
    actions = 0.5 * torch.randn(5, 29, generator=torch.Generator().manual_seed(1))
    for action in actions:
        step = world.step(torch.stack([action, mirror.reflect_actions(action)]))
        world.advance_reference()
        groups = dict(zip(("actor", "critic"), world.observe(), strict=True))
        for name, values in groups.items():
            order, signs = mirror.groups[name]
            assert float((values[0] - values[1]).abs().max()) > 0.5
            # The robot's own shoulders differ a little from side to side.
            torch.testing.assert_close(values[0][order] * signs, values[1], atol=2e-2, rtol=0)
        for reward in step.reward_terms.values():
            torch.testing.assert_close(reward[0], reward[1], atol=5e-3, rtol=0)


def test_training_with_mirror_images_keeps_observation_sizes_with_and_without_state_estimation():
    base = get_preset("test")
    clip = lopsided_clip()
    for state_estimation in (True, False):
        preset = dataclasses.replace(
            base,
            task=dataclasses.replace(base.task, state_estimation=state_estimation),
            ppo=dataclasses.replace(base.ppo, mirror=True),
            training=dataclasses.replace(base.training, num_envs=8),
        )
        trainer = Trainer([clip], preset, 1)
        observations = trainer.env.get_observations()
        augmented, actions = trainer.mirror.augment(None, observations, torch.zeros(8, 29))
        assert augmented["actor"].shape == (16, 160 if state_estimation else 154)
        assert actions.shape == (16, 29)
        twice = trainer.mirror.reflect_observations(trainer.mirror.reflect_observations(observations))
        for name in ("actor", "critic"):
            torch.testing.assert_close(twice[name], observations[name])
        assert np.isfinite(trainer.iterate()["loss/symmetry"])
