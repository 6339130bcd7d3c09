"""A session in the browser: the robot, its plan, and everything with which to steer it."""

import contextlib
import dataclasses
import importlib
import io
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from beyondmimic_data import rotations
from beyondmimic_data.errors import ConfigError, MissingToolError
from beyondmimic_data.play.command import Command, Pillar
from beyondmimic_data.play.gamepad import Gamepad, Sticks
from beyondmimic_data.play.meshes import body_meshes
from beyondmimic_data.play.session import Session, Snapshot, run_in_real_time
from beyondmimic_data.process import require_free_port
from beyondmimic_data.rendering import picture_spec
from beyondmimic_data.video import PILLAR_HEIGHT

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DRAWS_PER_SECOND = 25.0
STATUS_SECONDS = 0.2
"""s between two updates of the figures."""
FOLLOW_SHARE = 0.15
"""How much of the robot's way the view follows from one drawing to the next."""
GAMEPAD_SECONDS = 0.1
"""Longest wait for an event, so that the end is noticed."""
GAMEPAD_RETRY_SECONDS = 1.0
"""s between two looks for a gamepad."""
ARROW_SECONDS = 0.4
"""s for which a push is drawn."""

FORWARD, LEFT, TURN = (-0.5, 1.0), (-0.4, 0.4), (-1.0, 1.0)
"""Least and largest of the velocity sliders: m/s, m/s, rad/s."""
KEYS = {
    "I": ("forward", 0.1),
    "K": ("forward", -0.1),
    "J": ("turn", 0.2),
    "L": ("turn", -0.2),
    "U": ("left", 0.1),
    "O": ("left", -0.1),
}
"""Which velocity a key changes, and by how much; W, A, S, D, Q, E and the arrows move the view."""
PUSH_DIRECTIONS = {"forward": 0.0, "left": 0.5 * math.pi, "back": math.pi, "right": -0.5 * math.pi}
"""rad to the left of the heading."""

PLAN_COLOUR = (242, 140, 26)
FOOT_COLOURS = ((51, 128, 230), (153, 77, 204))
WAYPOINT_COLOUR = (38, 140, 77)
PILLAR_COLOUR = (191, 115, 90)
PUSH_COLOUR = (217, 64, 51)


@dataclasses.dataclass(frozen=True)
class _PillarHandles:
    """A pillar on screen."""

    control: Any
    """What it is moved by."""
    radius: float
    """m."""

    @property
    def pillar(self) -> Pillar:
        """Where it stands."""
        x, y, _ = self.control.position
        return Pillar(float(x), float(y), self.radius)


class Viewer:
    """Serves a session on this machine and runs it in real time.

    The robot is drawn under one frame, which moves the other way when the view follows the robot; so the
    camera stays the visitor's own.
    """

    def __init__(self, session: Session, *, port: int = 8080, gamepad: Path | None = None) -> None:
        """Open the server; the robot stands still until ``run``.

        Args:
            session: the robot.
            port: port on 127.0.0.1.
            gamepad: joystick device of this machine, to steer with beside the page.

        Raises:
            MissingToolError: viser is not installed.
            BeyondMimicError: the port is taken.
        """
        viser = _viser()
        require_free_port(HOST, port)
        self._session, self._port, self._gamepad = session, port, gamepad
        self._model = picture_spec().compile()
        self._data = mujoco.MjData(self._model)
        self._latest: tuple[Snapshot, float] | None = None
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._pillars: list[_PillarHandles] = []
        self._pillars_made = 0
        self._lock = threading.Lock()
        self._view = np.zeros(3)
        self._last_push: tuple[float, Snapshot] | None = None
        self._status_due = 0.0
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a banner, whatever verbose says
            self._server = viser.ViserServer(host=HOST, port=port, label="BeyondMimic", verbose=False)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._build_scene()
        self._build_controls()
        self._bind_keys()

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self._port}"

    def run(self, seconds: float = math.inf) -> None:
        """Run the robot in real time and draw it, until the time is over or the process is interrupted."""
        loop = threading.Thread(target=self._run_session, name="session", daemon=True)
        loop.start()
        if self._gamepad is not None:
            threading.Thread(target=self._read_gamepad, args=(self._gamepad,), daemon=True).start()
        ends = time.monotonic() + seconds
        try:
            while loop.is_alive() and time.monotonic() < ends:
                started = time.monotonic()
                if self._latest is not None:
                    self.draw(*self._latest)
                time.sleep(max(0.0, 1 / DRAWS_PER_SECOND - (time.monotonic() - started)))
        finally:
            self._stop.set()
            loop.join()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop serving."""
        self._stop.set()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _run_session(self) -> None:
        def show(snapshot: Snapshot, factor: float) -> None:
            if snapshot.push.any():
                self._last_push = time.monotonic(), snapshot
            self._latest = snapshot, factor

        try:
            run_in_real_time(self._session, self._stop, show)
        except BaseException as error:
            self._failure = error

    def _read_gamepad(self, device: Path) -> None:
        """Look for a gamepad until the end, and steer with it while it is there."""
        while not self._stop.is_set():
            with contextlib.suppress(ConfigError), Gamepad(device) as gamepad:  # it may come later
                self._steer_with(gamepad)
            self._stop.wait(GAMEPAD_RETRY_SECONDS)

    def _steer_with(self, gamepad: Gamepad) -> None:
        """Do what a gamepad asks for, until the end; one that is unplugged stops the robot."""
        log.info("a gamepad: the left stick walks, the right one turns")
        try:
            while not self._stop.is_set():
                for change in gamepad.read(GAMEPAD_SECONDS):
                    self._follow_gamepad(change)
        except OSError as error:
            log.warning("the gamepad is gone (%s): the robot is told to stand", error)
            self._halt()

    def _follow_gamepad(self, change: Sticks | str) -> None:
        if isinstance(change, Sticks):
            for name, slider in self._speeds.items():
                share = getattr(change, name)
                slider.value = round(share * (slider.max if share > 0 else -slider.min), 2)
            self._drive()
        else:
            {"stop": self._halt, "reset": self._session.reset, "push": lambda: self._push("left")}[change]()

    # What is seen

    def _build_scene(self) -> None:
        scene, server = self._server.scene, self._server
        scene.set_up_direction("+z")
        server.initial_camera.position = (-2.6, -1.9, 1.7)
        server.initial_camera.look_at = (0.4, 0.0, 0.65)
        self._world = scene.add_frame("/world", show_axes=False)
        scene.add_grid(
            "/world/floor",
            width=60.0,
            height=60.0,
            cell_size=0.5,
            section_size=1.0,
            cell_color=(215, 219, 224),
            section_color=(188, 194, 200),
            plane_color=(238, 240, 243),
            plane_opacity=1.0,
            fade_distance=40.0,
        )
        self._bodies = [
            (
                mesh.body,
                scene.add_mesh_simple(
                    f"/world/robot/{i}", mesh.vertices, mesh.faces, color=mesh.colour, flat_shading=False
                ),
            )
            for i, mesh in enumerate(body_meshes(self._model))
        ]
        nothing = np.zeros((1, 2, 3), np.float32)
        self._plan = scene.add_line_segments("/world/plan", nothing, PLAN_COLOUR, thickness=0.025)
        self._shadow = scene.add_line_segments("/world/plan_on_floor", nothing, PLAN_COLOUR, thickness=0.04)
        self._feet = [
            scene.add_line_segments(f"/world/foot_{i}", nothing, colour, thickness=0.012)
            for i, colour in enumerate(FOOT_COLOURS)
        ]
        self._waypoint = scene.add_cylinder(
            "/world/waypoint", radius=0.15, height=0.02, color=WAYPOINT_COLOUR, visible=False
        )
        self._arrow = scene.add_arrows(
            "/world/push", nothing, PUSH_COLOUR, shaft_radius=0.02, head_radius=0.05, visible=False
        )

        @scene.on_click()
        def _(event: Any) -> None:
            if self._click_sets.value:
                self._set_waypoint(np.array(event.ray_origin), np.array(event.ray_direction))

    def draw(self, snapshot: Snapshot, factor: float) -> None:
        """Draw a robot with its plan, and the figures from time to time.

        Args:
            snapshot: what there is to see.
            factor: the real-time factor.
        """
        self._data.qpos[:] = np.nan_to_num(snapshot.qpos)
        mujoco.mj_kinematics(self._model, self._data)
        here = np.array([self._data.qpos[0], self._data.qpos[1], 0.0])
        self._view += FOLLOW_SHARE * ((here if self._follow.value else np.zeros(3)) - self._view)
        with self._server.atomic():
            self._world.position = -self._view
            for body, handle in self._bodies:
                handle.position, handle.wxyz = self._data.xpos[body], self._data.xquat[body]
            floor = snapshot.root_path * [1.0, 1.0, 0.0] + [0.0, 0.0, 0.02]
            lines = [(self._plan, snapshot.root_path), (self._shadow, floor)]
            lines += list(zip(self._feet, snapshot.foot_paths))
            for handle, path in lines:
                if len(path) > 1 and np.isfinite(path).all():
                    handle.points = np.stack([path[:-1], path[1:]], axis=1).astype(np.float32)
            self._draw_push()
        if time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + STATUS_SECONDS
            self._status.content = status_text(snapshot, factor, self._session.dt)

    def _draw_push(self) -> None:
        """Show the last push while it is fresh, where it was felt."""
        at, snapshot = self._last_push or (-math.inf, None)
        fresh = snapshot is not None and time.monotonic() - at < ARROW_SECONDS
        if snapshot is not None and fresh:
            start = np.nan_to_num(snapshot.qpos[:3]) + np.array([0.0, 0.0, 0.3])
            self._arrow.points = np.stack([start, start + snapshot.push])[None].astype(np.float32)
        if self._arrow.visible != fresh:
            self._arrow.visible = fresh

    # What it is steered with

    def _build_controls(self) -> None:
        gui, command = self._server.gui, self._session.command
        self._status = gui.add_markdown("The robot waits.")
        gui.add_button("Reset (R)", color="red").on_click(lambda _: self._session.reset())
        self._follow = gui.add_checkbox("view follows", True)
        with gui.add_folder("Joystick"):
            self._speeds = {
                "forward": gui.add_slider("forward m/s (I, K)", *FORWARD, 0.05, command.forward),
                "left": gui.add_slider("left m/s (U, O)", *LEFT, 0.05, command.left),
                "turn": gui.add_slider("turn rad/s (J, L)", *TURN, 0.05, command.turn),
            }
            for slider in self._speeds.values():
                slider.on_update(lambda _: self._drive())
            gui.add_button("Stop (H)").on_click(lambda _: self._halt())
        with gui.add_folder("Waypoint"):
            self._click_sets = gui.add_checkbox(
                "set by a click", True, hint="a click on the floor is where to walk to"
            )
            gui.add_button("No waypoint (X)").on_click(lambda _: self._clear_waypoint())
        with gui.add_folder("Pillars"):
            self._radius = gui.add_slider("radius m", 0.1, 0.5, 0.05, Pillar.radius)
            gui.add_button("Add one ahead").on_click(lambda _: self._add_ahead())
            gui.add_button("Remove the last").on_click(lambda _: self._remove_pillars(1))
        with gui.add_folder("Push"):
            self._strength = gui.add_slider("velocity m/s", 0.1, 1.5, 0.1, 0.5)
            directions = gui.add_button_group("towards", list(PUSH_DIRECTIONS))
            directions.on_click(lambda event: self._push(event.target.value))
        with gui.add_folder("Guidance"):
            sliders = {
                "scale": gui.add_slider("scale", 0.0, 20.0, 0.5, command.guidance.scale),
                "max_norm": gui.add_slider("bound", 0.5, 8.0, 0.5, command.guidance.max_norm),
                "obstacle_weight": gui.add_slider(
                    "pillars' pull", 0.0, 0.2, 0.01, min(command.guidance.obstacle_weight, 0.2)
                ),
                "command_gain": gui.add_slider("gain", 0.5, 4.0, 0.1, command.guidance.command_gain),
            }
            for name, slider in sliders.items():
                slider.on_update(lambda event, name=name: self._guide(**{name: event.target.value}))
        for pillar in command.pillars:
            self.add_pillar(pillar)
        self._show_waypoint(command)

    def _bind_keys(self) -> None:
        add = self._server.gui.add_command
        for key, (name, change) in KEYS.items():
            add(f"{name} {change:+g}", hotkey=key).on_trigger(
                lambda _, name=name, change=change: self._nudge(name, change)
            )
        add("stop", hotkey="H").on_trigger(lambda _: self._halt())
        add("no waypoint", hotkey="X").on_trigger(lambda _: self._clear_waypoint())
        add("reset", hotkey="R").on_trigger(lambda _: self._session.reset())
        add("push", hotkey="P").on_trigger(lambda _: self._push("left"))

    def _drive(self) -> None:
        """Ask for the velocities of the sliders; a waypoint is given up."""
        speeds = {name: float(slider.value) for name, slider in self._speeds.items()}
        self._session.change(**speeds, waypoint=None)
        self._show_waypoint(self._session.command)

    def _guide(self, **number: Any) -> None:
        """Change one number of the guidance."""
        self._session.change(guidance=dataclasses.replace(self._session.command.guidance, **number))

    def _nudge(self, name: str, change: float) -> None:
        slider = self._speeds[name]
        slider.value = round(min(max(slider.value + change, slider.min), slider.max), 2)
        self._drive()

    def _halt(self) -> None:
        for slider in self._speeds.values():
            slider.value = 0.0
        self._drive()

    def _set_waypoint(self, origin: np.ndarray, direction: np.ndarray) -> None:
        """Put the waypoint where a ray of the view meets the floor."""
        if direction[2] > -1e-3:
            return
        x, y, _ = origin - direction * origin[2] / direction[2] - self._world.position
        self._session.change(waypoint=(float(x), float(y)))
        self._show_waypoint(self._session.command)

    def _clear_waypoint(self) -> None:
        self._session.change(waypoint=None)
        self._show_waypoint(self._session.command)

    def _show_waypoint(self, command: Command) -> None:
        self._waypoint.visible = command.waypoint is not None
        if command.waypoint is not None:
            self._waypoint.position = (*command.waypoint, 0.01)

    def _push(self, towards: str) -> None:
        """Push the robot in a direction relative to its heading."""
        angle = self._heading() + PUSH_DIRECTIONS[towards]
        strength = float(self._strength.value)
        self._session.push(strength * math.cos(angle), strength * math.sin(angle))

    def _heading(self) -> float:
        return 0.0 if self._latest is None else float(rotations.yaw(self._latest[0].qpos[3:7]))

    def _add_ahead(self) -> None:
        """Put a pillar two metres ahead of the robot."""
        x, y = (0.0, 0.0) if self._latest is None else self._latest[0].qpos[:2]
        angle = self._heading()
        self.add_pillar(
            Pillar(float(x) + 2 * math.cos(angle), float(y) + 2 * math.sin(angle), float(self._radius.value))
        )

    def add_pillar(self, pillar: Pillar) -> None:
        """Put a pillar that can be moved."""
        scene = self._server.scene
        with self._lock:
            name = f"/world/pillar_{self._pillars_made}"
            self._pillars_made += 1
            control = scene.add_transform_controls(
                name,
                scale=0.6,
                active_axes=(True, True, False),
                disable_rotations=True,
                depth_test=False,
                position=(pillar.x, pillar.y, 0.02),
            )
            scene.add_cylinder(
                f"{name}/column",
                radius=pillar.radius,
                height=PILLAR_HEIGHT,
                color=PILLAR_COLOUR,
                position=(0.0, 0.0, PILLAR_HEIGHT / 2),
            )
            control.on_update(lambda _: self._tell_pillars())
            self._pillars.append(_PillarHandles(control, pillar.radius))
        self._tell_pillars()

    def _remove_pillars(self, count: int) -> None:
        with self._lock:
            for handles in self._pillars[len(self._pillars) - count :]:
                handles.control.remove()
            del self._pillars[len(self._pillars) - count :]
        self._tell_pillars()

    def _tell_pillars(self) -> None:
        with self._lock:
            self._session.change(pillars=tuple(handles.pillar for handles in self._pillars))


def status_text(snapshot: Snapshot, factor: float, dt: float) -> str:
    """Return the figures as Markdown: how fast it is, what was asked, and whether this is real time."""
    speed = float(np.hypot(*snapshot.velocity[:2]))
    lines = [
        f"**{speed:.2f} m/s**, turn {snapshot.turn:+.2f} rad/s",
        f"real time × **{factor:.2f}** · step {snapshot.step_ms:.0f} of {1e3 * dt:.0f} ms · "
        f"{snapshot.seconds:.0f} s",
    ]
    if snapshot.command.waypoint is not None:
        left = np.linalg.norm(snapshot.qpos[:2] - np.array(snapshot.command.waypoint))
        lines.append(f"waypoint {left:.2f} m away")
    if snapshot.fallen:
        lines.append("**It fell: press Reset.**")
    return "\n\n".join(lines)


def _viser() -> Any:
    """Return the module.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        raise MissingToolError(
            f"the viewer needs viser ({error}); install the project's extra 'play'"
        ) from error
