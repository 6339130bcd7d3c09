"""Pictures of a clip: a plot of its figures over time, and a contact sheet of the moving robot."""

from pathlib import Path

import mujoco
import numpy as np
from matplotlib.figure import Figure

from beyondmimic_data import rotations
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.plausible import FEET, sole_points_of
from beyondmimic_data.motions.quality import QualityReport
from beyondmimic_data.plots import save_figure
from beyondmimic_data.rendering import OffscreenRenderer, picture_spec

LEGS = ("hip_pitch", "knee", "ankle_pitch")
CELL = (240, 300)
"""Width and height in pixels of one frame of a contact sheet."""


def plot_clip(clip: Clip, report: QualityReport, path: Path) -> None:
    """Draw heights, path, leg joints and joint speeds of a clip into a PNG of at most 50 kB."""
    time = np.arange(clip.num_frames) / clip.fps
    soles = sole_points_of(clip.body_pos_w[:, FEET].astype(float), clip.body_quat_w[:, FEET].astype(float))
    lowest = soles[..., 2].min(-1)
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    heights, track, legs, speeds = figure.subplots(2, 2).ravel()
    heights.plot(time, clip.body_pos_w[:, 0, 2], label="pelvis")
    for s, side in enumerate(("left", "right")):
        heights.plot(time, lowest[:, s], label=f"{side} sole", linewidth=1)
    heights.set(xlabel="time (s)", ylabel="height (m)", title="heights of pelvis and soles")
    heights.axhline(0, color="grey", linewidth=0.5)
    heights.legend(fontsize=8)
    track.plot(clip.body_pos_w[:, 0, 0], clip.body_pos_w[:, 0, 1], label="pelvis")
    for s, side in enumerate(("left", "right")):
        stands = lowest[:, s] < 0.01
        ankle = clip.body_pos_w[:, FEET[s]]
        track.plot(ankle[stands, 0], ankle[stands, 1], ".", markersize=2, label=f"{side} ankle, standing")
    track.set(xlabel="x (m)", ylabel="y (m)", title="seen from above")
    track.set_aspect("equal", "datalim")
    track.legend(fontsize=8)
    for joint in LEGS:
        legs.plot(
            time, clip.joint_pos[:, clip.joint_names.index(f"left_{joint}_joint")], label=f"left {joint}"
        )
    legs.set(xlabel="time (s)", ylabel="angle (rad)", title="left leg")
    legs.legend(fontsize=8)
    speeds.plot(time, np.abs(clip.joint_vel).max(1), linewidth=1)
    fastest = clip.joint_names[int(np.abs(clip.joint_vel).max(0).argmax())]
    speeds.set(xlabel="time (s)", ylabel="speed (rad/s)", title=f"fastest joint (peak: {fastest})")
    verdict = "accepted" if report.accepted else f"refused: {report.reason}"
    figure.suptitle(f"{clip.name}: {clip.duration:.1f} s, {verdict}", fontsize=10)
    save_figure(figure, path)


def contact_sheet(clip: Clip, path: Path, frames: int = 8) -> None:
    """Draw the robot at moments spread over a clip into one PNG.

    Raises:
        MissingToolError: the machine cannot render without a display.
    """
    model = picture_spec().compile()
    data = mujoco.MjData(model)
    chosen = np.linspace(0, clip.num_frames - 1, min(frames, clip.num_frames)).astype(int)
    middle = rotations.yaw(clip.body_quat_w[clip.num_frames // 2, 0].astype(float))
    azimuth = float(np.degrees(middle)) + 120.0
    columns = -(-len(chosen) // 2)
    figure = Figure(
        figsize=(columns * CELL[0] / 100, 2 * (CELL[1] + 22) / 100), dpi=100, layout="constrained"
    )
    axes = figure.subplots(2, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    with OffscreenRenderer(model, *CELL) as renderer:
        for axis, frame in zip(axes, chosen):
            data.qpos[:] = clip.qpos[frame]
            mujoco.mj_forward(model, data)
            lookat = np.array([*clip.body_pos_w[frame, 0, :2], 0.62])
            axis.imshow(renderer.render(data, lookat, azimuth=azimuth))
            axis.set_title(f"{frame / clip.fps:.2f} s", fontsize=9)
    save_figure(figure, path)
