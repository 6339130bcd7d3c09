"""Videos of recorded motion, rendered off screen by MuJoCo."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import mujoco
import numpy as np

from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.files import atomic_path
from beyondmimic_data.rendering import OffscreenRenderer, picture_spec

FPS = 25.0
ARROW_SECONDS = 0.4
"""s for which a push is drawn."""
PUSH_COLOUR = (0.85, 0.25, 0.2, 1.0)
GHOST_COLOUR = (0.2, 0.45, 0.8, 0.35)
COMMAND_COLOUR = (0.15, 0.55, 0.3, 1.0)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One shot: a robot's motion with what acted on it."""

    qpos: np.ndarray
    """(S, 36) generalised positions."""
    control_hz: float
    """Rate of ``qpos``."""
    pushes: np.ndarray | None = None
    """(S, 3) m/s added to the base, drawn as red arrows."""
    commands: np.ndarray | None = None
    """(S, 3) m/s commanded velocity in the world, drawn as green arrows."""
    ghost: np.ndarray | None = None
    """(S, 36) another robot, such as the reference, drawn through which one sees."""


def write_video(scenes: Sequence[Scene], path: Path, *, width: int = 640, height: int = 480) -> None:
    """Render shots one after the other into an MP4 with a camera that follows the robot.

    Args:
        scenes: at least one shot.
        path: file to write.
        width: pixels, even.
        height: pixels, even.

    Raises:
        MissingToolError: off-screen rendering does not work on this machine, or the encoder is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingToolError("imageio-ffmpeg is not installed") from error
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (width, height), fps=FPS, quality=6, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        try:
            for image in render(scenes, width=width, height=height):
                writer.send(np.ascontiguousarray(image))
        finally:
            writer.close()


def render(scenes: Sequence[Scene], *, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield images (height, width, 3) uint8 of shots, 25 a second.

    Raises:
        MissingToolError: off-screen rendering does not work on this machine.
    """
    model = picture_spec().compile()
    data, ghost = mujoco.MjData(model), mujoco.MjData(model)
    lookat = np.zeros(3)
    with OffscreenRenderer(model, width, height) as renderer:
        for scene in scenes:
            for index in _shown(scene):
                data.qpos[:] = np.nan_to_num(scene.qpos[index])
                mujoco.mj_forward(model, data)
                if scene.ghost is not None:
                    ghost.qpos[:] = scene.ghost[index]
                    mujoco.mj_forward(model, ghost)
                target = np.array([data.qpos[0], data.qpos[1], 0.7])
                lookat = target if index == 0 else 0.8 * lookat + 0.2 * target
                yield renderer.render(
                    data,
                    lookat,
                    distance=2.8,
                    azimuth=125.0,
                    elevation=-14.0,
                    decorate=functools.partial(_decorate, scene=scene, index=index, model=model, ghost=ghost),
                )


def _shown(scene: Scene) -> np.ndarray:
    """Return which rows of a shot become images."""
    count = max(1, int((len(scene.qpos) - 1) / scene.control_hz * FPS) + 1)
    return np.minimum(np.round(np.arange(count) * scene.control_hz / FPS).astype(int), len(scene.qpos) - 1)


def _decorate(
    graph: mujoco.MjvScene, scene: Scene, index: int, model: mujoco.MjModel, ghost: mujoco.MjData
) -> None:
    """Draw what a row shows beside the robot."""
    if scene.ghost is not None:
        first = graph.ngeom
        moving = mujoco.mjtCatBit.mjCAT_DYNAMIC.value
        mujoco.mjv_addGeoms(model, ghost, mujoco.MjvOption(), mujoco.MjvPerturb(), moving, graph)
        for geom in graph.geoms[first : graph.ngeom]:
            geom.rgba[:] = GHOST_COLOUR
            geom.transparent = 1
    _draw_arrows(graph, scene, index)


def _draw_arrows(graph: mujoco.MjvScene, scene: Scene, index: int) -> None:
    """Draw the command of a row, and the last push if it was just felt."""
    x, y, z = np.nan_to_num(scene.qpos[index, :3])
    if scene.commands is not None and np.linalg.norm(scene.commands[index]) > 0.01:
        _add_arrow(graph, np.array([x, y, 0.05]), scene.commands[index], COMMAND_COLOUR)
    if scene.pushes is not None:
        recent = scene.pushes[max(0, index - round(ARROW_SECONDS * scene.control_hz)) : index + 1]
        felt = recent[np.linalg.norm(recent, axis=-1) > 0]
        if len(felt):
            _add_arrow(graph, np.array([x, y, z + 0.3]), felt[-1], PUSH_COLOUR)


def _add_arrow(
    graph: mujoco.MjvScene, start: np.ndarray, vector: np.ndarray, colour: tuple[float, float, float, float]
) -> None:
    """Add an arrow, one metre long for a metre a second."""
    geom = graph.geoms[graph.ngeom]
    arrow = mujoco.mjtGeom.mjGEOM_ARROW
    mujoco.mjv_initGeom(geom, arrow, np.zeros(3), np.zeros(3), np.zeros(9), np.array(colour, np.float32))
    mujoco.mjv_connector(geom, arrow, 0.03, start, start + vector)
    graph.ngeom += 1
