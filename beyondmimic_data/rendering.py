"""Off-screen pictures of the robot, on machines without a display."""

import platform
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np

from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.robots import g1, g1_facts


def picture_spec() -> mujoco.MjSpec:
    """Return the robot for pictures: with soles, neck and waist, which the collision shapes leave out."""
    spec = g1.build_spec(actuators=False, contact_sensors=False)
    spec.visual.headlight.ambient = (0.45, 0.45, 0.45)
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.93, 0.95, 0.97),
        rgb2=(0.8, 0.86, 0.92),
        width=64,
        height=384,
    )
    for name in g1_facts.FOOT_BODIES:
        _add_visual(spec, name, mujoco.mjtGeom.mjGEOM_BOX, size=(0.095, 0.03, 0.012), pos=(0.04, 0.0, -0.022))
    neck = (0.0, 0.0, 0.2, *g1_facts.HEAD_OFFSET)
    _add_visual(spec, "torso_link", mujoco.mjtGeom.mjGEOM_CAPSULE, size=(0.035, 0, 0), fromto=neck)
    waist = (0.0, 0.0, -0.12, 0.0, 0.0, 0.1)
    _add_visual(spec, "torso_link", mujoco.mjtGeom.mjGEOM_CAPSULE, size=(0.05, 0, 0), fromto=waist)
    return spec


def _add_visual(spec: mujoco.MjSpec, body: str, kind: mujoco.mjtGeom, **fields: Any) -> None:
    """Add a shape that is seen and touches nothing."""
    spec.body(body).add_geom(
        type=kind, density=0, contype=0, conaffinity=0, rgba=(0.25, 0.27, 0.3, 1), **fields
    )


class OffscreenRenderer:
    """Draws a model into arrays; a context manager that gives its graphics context back.

    Args:
        model: the compiled model.
        width: pixels, at most 1280.
        height: pixels, at most 720.

    Raises:
        MissingToolError: the machine has no off-screen OpenGL (EGL).
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self._model = model
        self._context = _graphics_context(width, height)
        self._context.make_current()
        self._drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawer)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._camera = mujoco.MjvCamera()
        self._rect = mujoco.MjrRect(0, 0, width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the graphics context back."""
        self._drawer.free()
        self._context.free()

    def render(
        self,
        data: mujoco.MjData,
        lookat: np.ndarray,
        *,
        distance: float = 2.2,
        azimuth: float = 120.0,
        elevation: float = -12.0,
        decorate: Callable[[mujoco.MjvScene], None] | None = None,
    ) -> np.ndarray:
        """Draw a state.

        Args:
            data: state with kinematics up to date.
            lookat: (3,) point in the middle of the picture, m.
            distance: of the camera from it, m.
            azimuth: direction in which the camera looks, degrees about z.
            elevation: its pitch, degrees, negative looks down.
            decorate: adds shapes of its own to the scene.

        Returns:
            (height, width, 3) uint8.
        """
        self._camera.lookat = lookat
        self._camera.distance, self._camera.azimuth, self._camera.elevation = distance, azimuth, elevation
        mujoco.mjv_updateScene(
            self._model, data, mujoco.MjvOption(), None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        if decorate is not None:
            decorate(self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._drawer)
        picture = np.empty((self._rect.height, self._rect.width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._rect, self._drawer)
        return picture[::-1]


def _graphics_context(width: int, height: int) -> Any:
    """Open an OpenGL context without a window: EGL on Linux, MuJoCo's own choice elsewhere."""
    try:
        if platform.system() == "Linux":
            # Imported directly: MuJoCo's own choice was made when it was first imported, from MUJOCO_GL.
            from mujoco.egl import GLContext
        else:
            from mujoco.gl_context import GLContext
        return GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise MissingToolError(
            f"off-screen rendering needs EGL ({error}); install it, on Debian and Ubuntu: apt install libegl1"
        ) from error
