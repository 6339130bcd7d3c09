import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from beyondmimic_data import rotations
from beyondmimic_data.diffusion.frames import Frames, frames_from_rows, require_columns
from beyondmimic_data.diffusion.representation import Representation, character_frame
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions import kinematics
from beyondmimic_data.robots import g1, symmetry

CURRENT = 4


@pytest.fixture
def rows(windows) -> torch.Tensor:
    return windows.sample("train", 6, np.random.default_rng(0))


def body_pos_reference(row: dict[str, np.ndarray], current: dict[str, np.ndarray]) -> np.ndarray:
    """Features of one step, written with rotation matrices, one body at a time."""

    def turn(quat_wxyz: np.ndarray) -> np.ndarray:
        yaw = Rotation.from_quat(np.roll(quat_wxyz, -1)).as_euler("ZYX")[0]
        return Rotation.from_euler("z", -yaw).as_matrix()

    own, nominal = turn(row["root_quat_w"]), turn(current["root_quat_w"])
    flat = row["root_pos_w"] * [1, 1, 0]
    out = [own @ (p - flat) for p in row["body_pos_w"].reshape(30, 3)]
    out += [own @ (v - row["root_lin_vel_w"]) for v in row["body_lin_vel_w"].reshape(30, 3)]
    out.append(nominal @ (row["root_pos_w"] - current["root_pos_w"] * [1, 1, 0]))
    relative = nominal @ Rotation.from_quat(np.roll(row["root_quat_w"], -1)).as_matrix()
    out.append(Rotation.from_matrix(relative).as_rotvec())
    out += [nominal @ row["root_lin_vel_w"], nominal @ row["root_ang_vel_w"]]
    return np.concatenate(out)


def test_body_pos_features_equal_a_reference_written_step_by_step(rows, windows) -> None:
    representation = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    features = representation.encode(frames_from_rows(rows, windows.columns), CURRENT)
    assert features.shape == (6, 21, 192)
    cut = [
        [{k: rows[b, t, s].double().numpy() for k, s in windows.columns.items()} for t in range(21)]
        for b in range(6)
    ]
    expected = [[body_pos_reference(row, episode[CURRENT]) for row in episode] for episode in cut]
    np.testing.assert_allclose(features.numpy(), expected, atol=2e-5)


def test_joint_rot_features_are_joints_and_the_same_root(rows, windows) -> None:
    frames = frames_from_rows(rows, windows.columns)
    joint_rot = Representation("joint_rot", g1.JOINT_NAMES, g1.BODY_NAMES)
    body_pos = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    features = joint_rot.encode(frames, CURRENT)
    assert features.shape == (6, 21, 70)
    torch.testing.assert_close(features[..., joint_rot.slices["joint_vel"]], frames.joint_vel)
    torch.testing.assert_close(features[..., -12:], body_pos.encode(frames, CURRENT)[..., -12:])


@pytest.mark.parametrize("name", ["body_pos", "joint_rot"])
def test_features_do_not_see_where_in_the_world_the_robot_is(name, rows, windows) -> None:
    frames = frames_from_rows(rows, windows.columns)
    turn = rotations.from_yaw(torch.tensor(2.0))
    shift = torch.tensor([5.0, -7.0, 0.0])
    moved = Frames(
        root_pos_w=rotations.rotate(turn, frames.root_pos_w) + shift,
        root_quat_w=rotations.multiply(turn, frames.root_quat_w),
        root_lin_vel_w=rotations.rotate(turn, frames.root_lin_vel_w),
        root_ang_vel_w=rotations.rotate(turn, frames.root_ang_vel_w),
        body_pos_w=rotations.rotate(turn, frames.body_pos_w) + shift,
        body_lin_vel_w=rotations.rotate(turn, frames.body_lin_vel_w),
        joint_pos=frames.joint_pos,
        joint_vel=frames.joint_vel,
    )
    representation = Representation(name, g1.JOINT_NAMES, g1.BODY_NAMES)
    torch.testing.assert_close(
        representation.encode(moved, CURRENT), representation.encode(frames, CURRENT), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["body_pos", "joint_rot"])
def test_features_move_from_one_character_frame_to_another(name, rows, windows) -> None:
    frames = frames_from_rows(rows, windows.columns)
    representation = Representation(name, g1.JOINT_NAMES, g1.BODY_NAMES)
    old, new = character_frame(frames, CURRENT), character_frame(frames, CURRENT + 9)
    moved = representation.rebase(representation.encode(frames, CURRENT), old, new)
    torch.testing.assert_close(moved, representation.encode(frames, CURRENT + 9), atol=2e-5, rtol=0)


def test_root_is_at_the_origin_at_the_current_step_and_keeps_its_height(rows, windows) -> None:
    frames = frames_from_rows(rows, windows.columns)
    representation = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    root = representation.encode(frames, CURRENT)[..., representation.slices["root_pos"]]
    torch.testing.assert_close(root[:, CURRENT, :2], torch.zeros(6, 2))
    torch.testing.assert_close(root[..., 2], frames.root_pos_w[..., 2])


def test_body_positions_of_the_features_lead_back_to_the_world(rows, windows) -> None:
    frames = frames_from_rows(rows, windows.columns)
    representation = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    frame = character_frame(frames, CURRENT)
    back = frame.to_world(representation.body_positions(representation.encode(frames, CURRENT)))
    torch.testing.assert_close(back, frames.body_pos_w, atol=2e-5, rtol=0)
    torch.testing.assert_close(frame.to_local(back), frame.to_local(frames.body_pos_w), atol=3e-5, rtol=0)


def test_joint_rot_has_no_body_positions() -> None:
    representation = Representation("joint_rot", g1.JOINT_NAMES, g1.BODY_NAMES)
    with pytest.raises(ConfigError, match="cost on body positions"):
        representation.body_positions(torch.zeros(1, 1, 70))


@pytest.mark.parametrize("name", ["body_pos", "joint_rot"])
def test_mirroring_twice_changes_nothing_and_once_does(name, rows, windows) -> None:
    representation = Representation(name, g1.JOINT_NAMES, g1.BODY_NAMES)
    features = representation.encode(frames_from_rows(rows, windows.columns), CURRENT)
    once = representation.mirror_states(features)
    assert (once - features).abs().max() > 0.01
    torch.testing.assert_close(representation.mirror_states(once), features)
    actions = torch.randn(3, 29)
    torch.testing.assert_close(representation.mirror_actions(representation.mirror_actions(actions)), actions)


def test_mirrored_joints_give_the_mirrored_robot() -> None:
    representation = Representation("joint_rot", g1.JOINT_NAMES, g1.BODY_NAMES)
    qpos = g1.default_qpos()
    qpos[7:] += np.random.default_rng(0).uniform(-0.4, 0.4, 29)
    image = qpos.copy()
    image[7:] = representation.mirror_actions(torch.from_numpy(qpos[7:]))
    bodies, _ = kinematics.forward(np.stack([qpos, image]))
    expected = bodies[0][symmetry.counterparts(g1.BODY_NAMES)] * [1, -1, 1]
    # The robot's own shoulders differ by 0.01 mm from side to side.
    np.testing.assert_allclose(bodies[1], expected, atol=1e-3)
    assert np.abs(bodies[0] - bodies[1]).max() > 0.05


def test_default_pose_and_scales_are_symmetric() -> None:
    representation = Representation("joint_rot", g1.JOINT_NAMES, g1.BODY_NAMES)
    table = g1.joint_table()
    default = torch.from_numpy(table.default_pos)
    torch.testing.assert_close(representation.mirror_actions(default), default)
    scale = torch.from_numpy(table.action_scale)
    torch.testing.assert_close(scale[representation.action_permutation], scale)


def test_missing_and_narrow_columns_are_refused(windows) -> None:
    columns = dict(windows.columns)
    require_columns(columns, "action_clean")
    with pytest.raises(ConfigError, match=r"joint_vel.*width 28"):
        require_columns({**columns, "joint_vel": slice(0, 28)}, "action_clean")
    del columns["action_clean"]
    with pytest.raises(ConfigError, match=r"action_clean.*missing"):
        require_columns(columns, "action_clean")


def test_rows_kept_as_float16_cost_the_features_what_the_document_says(rows, windows) -> None:
    """The edge of what docs/store.md speaks of: a robot 8 m from the origin, in one direction."""
    representation = Representation("body_pos", g1.JOINT_NAMES, g1.BODY_NAMES)
    rows = rows.clone()
    for name in ("root_pos_w", "body_pos_w"):
        rows[..., windows.columns[name]].unflatten(-1, (-1, 3))[..., 0] += 6.5
    exact, rounded = (
        representation.encode(frames_from_rows(kept, windows.columns), CURRENT)
        for kept in (rows, rows.half().float())
    )
    error = (exact - rounded).abs()
    places = [error[..., representation.slices[name]].max() for name in ("body_pos", "root_pos")]
    speeds = [error[..., representation.slices[name]].max() for name in ("body_lin_vel", "root_lin_vel")]
    assert 0.001 < max(places) < 0.006
    assert max(speeds) < 0.01
