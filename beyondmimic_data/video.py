"""Videos of recorded motion, rendered off screen by MuJoCo."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import mujoco
import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.files import atomic_path
from beyondmimic_data.rendering import OffscreenRenderer, picture_spec

Colour = tuple[float, float, float, float]
"""Red, green, blue, opacity, each 0 to 1."""

FPS = 25.0
ARROW_SECONDS = 0.4
"""s for which a push is drawn."""
HEADING_SHARE = 0.06
"""How much of the robot's turn a camera that turns with it follows from one image to the next."""
PUSH_COLOUR = (0.85, 0.25, 0.2, 1.0)
GHOST_COLOUR = (0.2, 0.45, 0.8, 0.35)
COMMAND_COLOUR = (0.15, 0.55, 0.3, 1.0)


@dataclasses.dataclass(frozen=True)
class Camera:
    """Where a shot is seen from; the robot stays in the middle."""

    azimuth: float
    """Degrees about z of the direction in which the camera looks."""
    elevation: float
    """Degrees, negative looks down."""
    distance: float
    """m from the robot."""
    turns: bool = False
    """Whether the azimuth counts from the robot's heading, or from x."""


CORNER = Camera(azimuth=125.0, elevation=-14.0, distance=2.8)
BEHIND = Camera(azimuth=0.0, elevation=-22.0, distance=3.6, turns=True)
SIDE = Camera(azimuth=90.0, elevation=-12.0, distance=4.0)


@dataclasses.dataclass(frozen=True)
class Polyline:
    """A line in the world that may change from row to row."""

    points: np.ndarray
    """(S, P, 3) m; a segment with a point that is not finite is left out."""
    colour: Colour
    radius: float = 0.012
    """m."""


@dataclasses.dataclass(frozen=True)
class Column:
    """An upright cylinder, flat or tall, in the world; it may move from row to row."""

    positions: np.ndarray
    """(S, 3) m, middle of its foot; a row that is not finite is left out."""
    colour: Colour
    radius: float
    """m."""
    height: float
    """m."""


Overlay = Polyline | Column


PILLAR_HEIGHT = 1.6
"""m."""


def waypoint_marker(positions: np.ndarray) -> Column:
    """Return the mark of a waypoint at positions (S, 2) in m; rows that are not finite lack it."""
    return Column(np.insert(positions, 2, 0.0, axis=1), (0.15, 0.55, 0.3, 1.0), 0.15, 0.02)


def pillar_column(positions: np.ndarray, radius: float) -> Column:
    """Return a pillar that stands at positions (S, 2) in m."""
    return Column(np.insert(positions, 2, 0.0, axis=1), (0.75, 0.45, 0.35, 1.0), radius, PILLAR_HEIGHT)


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
    overlays: Sequence[Overlay] = ()
    """Lines and cylinders, such as plans and pillars."""
    camera: Camera = CORNER
    """Where it is seen from."""


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
    lookat, heading = np.zeros(3), 0.0
    with OffscreenRenderer(model, width, height) as renderer:
        for scene in scenes:
            for index in _shown(scene):
                data.qpos[:] = np.nan_to_num(scene.qpos[index])
                mujoco.mj_forward(model, data)
                if scene.ghost is not None:
                    ghost.qpos[:] = scene.ghost[index]
                    mujoco.mj_forward(model, ghost)
                target = np.array([data.qpos[0], data.qpos[1], 0.7])
                turned = float(rotations.yaw(data.qpos[3:7])) - heading
                turned = (turned + np.pi) % (2 * np.pi) - np.pi
                lookat = target if index == 0 else 0.8 * lookat + 0.2 * target
                heading += turned if index == 0 else HEADING_SHARE * turned
                yield renderer.render(
                    data,
                    lookat,
                    distance=scene.camera.distance,
                    azimuth=scene.camera.azimuth + (np.rad2deg(heading) if scene.camera.turns else 0.0),
                    elevation=scene.camera.elevation,
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
    for overlay in scene.overlays:
        _draw_overlay(graph, overlay, index)
    _draw_arrows(graph, scene, index)


def _draw_overlay(graph: mujoco.MjvScene, overlay: Overlay, index: int) -> None:
    """Draw a line or a cylinder as it is in a row."""
    if isinstance(overlay, Polyline):
        points = overlay.points[index]
        for start, end in itertools.pairwise(points):
            if np.isfinite([start, end]).all():
                _add(graph, mujoco.mjtGeom.mjGEOM_CAPSULE, overlay.radius, start, end, overlay.colour)
        return
    foot = overlay.positions[index]
    if np.isfinite(foot).all():
        top = foot + np.array([0.0, 0.0, overlay.height])
        _add(graph, mujoco.mjtGeom.mjGEOM_CYLINDER, overlay.radius, foot, top, overlay.colour)


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


def _add_arrow(graph: mujoco.MjvScene, start: np.ndarray, vector: np.ndarray, colour: Colour) -> None:
    """Add an arrow, one metre long for a metre a second."""
    _add(graph, mujoco.mjtGeom.mjGEOM_ARROW, 0.03, start, start + vector, colour)


def _add(
    graph: mujoco.MjvScene,
    kind: mujoco.mjtGeom,
    radius: float,
    start: np.ndarray,
    end: np.ndarray,
    colour: Colour,
) -> None:
    """Add a shape that reaches from one point to another, if there is room for it."""
    if graph.ngeom >= graph.maxgeom:
        return
    geom = graph.geoms[graph.ngeom]
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), np.array(colour, np.float32))
    mujoco.mjv_connector(geom, kind, radius, np.asarray(start, float), np.asarray(end, float))
    geom.transparent = int(colour[3] < 1)
    graph.ngeom += 1
