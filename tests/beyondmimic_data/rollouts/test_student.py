"""Collections in which a diffusion policy drives for bursts: who drives, the labels, the recipe."""

import dataclasses

import numpy as np
import pytest
import torch

from assets import recipes
from beyondmimic_data.config import Preset, RolloutConfig, get_preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.robots import g1, g1_facts
from beyondmimic_data.rollouts.collect import ROW_SLICES, Unit, UnitCollector
from beyondmimic_data.rollouts.student import stride_velocity
from beyondmimic_data.rollouts.student_source import is_student_unit, student_folder
from beyondmimic_data.tracking.policy import TrackingPolicy
from beyondmimic_data.tracking.reference import MotionLibrary


def clip_along(velocity: tuple[float, float], turn: float, start_yaw: float = 0.0) -> Clip:
    """Return four seconds of a rigid robot that slides with a velocity in its own heading and turns."""
    t = np.arange(201) / 50
    yaw = start_yaw + turn * t
    qpos = np.tile(g1.default_qpos(), (201, 1))
    step = np.stack(
        [
            np.cos(yaw) * velocity[0] - np.sin(yaw) * velocity[1],
            np.sin(yaw) * velocity[0] + np.cos(yaw) * velocity[1],
        ],
        -1,
    )
    qpos[1:, :2] = np.cumsum((step[1:] + step[:-1]) / 2, axis=0) / 50
    qpos[:, 2] = 0.785
    qpos[:, 3:7] = np.stack([np.cos(yaw / 2), 0 * t, 0 * t, np.sin(yaw / 2)], -1)
    return clip_from_qpos("slide", qpos, 50, 50)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_along((0.0, 0.0), 0.0)


@pytest.fixture(scope="module")
def preset(policy_folder) -> Preset:
    rollouts = RolloutConfig(
        num_envs=4,
        chunk_steps=500,
        drop_before_fall_seconds=0.1,
        min_episode_seconds=0.5,
        noise_shares=(1.0, 0.0, 0.0),
        student=str(policy_folder),
        student_share=0.5,
        student_seconds=(0.1, 0.2),
        teacher_seconds=(0.2, 0.3),
    )
    return dataclasses.replace(get_preset("test"), rollouts=rollouts)


def collect(teacher: TrackingPolicy, clip: Clip, preset: Preset, unit: int) -> Unit:
    student = student_folder(preset.rollouts)
    return UnitCollector(teacher, [clip], preset, "stand", 0.0, student).collect(unit)


@pytest.mark.parametrize("start_yaw", [0.0, 3.0])
@pytest.mark.parametrize("wanted", [(0.6, 0.0, 0.0), (-0.3, 0.2, 0.0), (0.0, 0.0, 1.2), (0.5, 0.0, -0.7)])
def test_the_velocity_around_a_frame_is_that_of_the_motion(wanted, start_yaw):
    clips = [clip_along((0.0, 0.0), 0.0), clip_along(wanted[:2], wanted[2], start_yaw)]
    library = MotionLibrary(clips, g1_facts.TRACKED_BODIES, clips[0].joint_names)
    found = stride_velocity(library)
    assert found[:201].abs().max() < 1e-4, "no clip reaches into another"
    middle = found[201 + 30 : 402 - 30]
    # A chord is a little shorter than its arc.
    torch.testing.assert_close(middle, torch.tensor(wanted).expand_as(middle), atol=0.02, rtol=0.07)
    assert found[-1, 2] == pytest.approx(wanted[2], abs=1e-3)


def test_the_student_drives_in_its_share_of_units():
    config = RolloutConfig(student="shipped", student_share=0.3)
    taken = [is_student_unit(config, unit) for unit in range(1000)]
    assert sum(taken) == 300
    assert all(2 <= sum(taken[k : k + 10]) <= 4 for k in range(990))
    assert not any(is_student_unit(dataclasses.replace(config, student=None), unit) for unit in range(10))
    everywhere = dataclasses.replace(config, student_share=1.0)
    assert all(is_student_unit(everywhere, unit) for unit in range(100))


def test_the_teacher_labels_what_the_student_executes(teacher, clip, preset):
    unit = collect(teacher, clip, preset, 1)
    rows = np.concatenate(unit.pieces)
    executed, labels = (rows[:, ROW_SLICES[name]] for name in ("action_cmd", "action_noise_free"))
    assert not labels.any(), "this teacher asks for the default pose whatever happens"
    driven = executed.any(-1)
    share = sum(e["student_share"] * e["length"] for e in unit.episodes) / len(rows)
    assert driven.mean() == pytest.approx(share)
    assert 0.1 < share < 0.6
    first = 0
    for piece in unit.pieces:
        assert not driven[first : first + 4].any(), "a plan needs a whole history"
        first += len(piece)


def test_a_unit_of_the_student_depends_on_its_number_alone(teacher, clip, preset):
    first, again, other = (collect(teacher, clip, preset, unit) for unit in (1, 1, 3))
    assert [piece.tobytes() for piece in first.pieces] == [piece.tobytes() for piece in again.pieces]
    assert first.episodes == again.episodes
    assert [piece.tobytes() for piece in first.pieces] != [piece.tobytes() for piece in other.pieces]


def test_the_other_units_are_as_they_would_be_without_a_student(teacher, clip, preset):
    alone = dataclasses.replace(preset, rollouts=dataclasses.replace(preset.rollouts, student=None))
    with_student, without = (collect(teacher, clip, p, 0) for p in (preset, alone))
    assert [piece.tobytes() for piece in with_student.pieces] == [p.tobytes() for p in without.pieces]
    assert {e["student_share"] for e in with_student.episodes} == {0.0}


def test_a_student_of_another_rate_is_refused(teacher, clip, preset):
    control = dataclasses.replace(preset.control, control_hz=25.0)
    with pytest.raises(ConfigError, match=r"rollouts.student.*50 Hz.*25 Hz"):
        collect(teacher, clip, dataclasses.replace(preset, control=control), 1)


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"rollouts\.student.*model\.safetensors"):
        student_folder(RolloutConfig(student=str(tmp_path)))
    assert student_folder(RolloutConfig(student=str(tmp_path), student_share=0.0)) is None
    assert student_folder(RolloutConfig()) is None
    shipped = student_folder(RolloutConfig(student="shipped"))
    assert shipped is not None
    assert shipped.name == "shipped_policy"


def test_the_students_weights_decide_the_recipe_not_where_they_lie(preset, policy_folder, tmp_path):
    def recipe(**changes: object) -> str:
        rollouts = dataclasses.replace(preset.rollouts, **changes)  # type: ignore[arg-type]
        return recipes.rollouts_recipe("motion", "policy", dataclasses.replace(preset, rollouts=rollouts))

    weights = (policy_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert recipe(student=str(tmp_path)) == recipe()
    (tmp_path / "model.safetensors").write_bytes(weights + b" ")
    assert (
        len({recipe(student=str(tmp_path)), recipe(), recipe(student=None), recipe(student_share=0.3)}) == 4
    )
    assert recipe(student=None) == recipe(student=None, student_share=0.7)
