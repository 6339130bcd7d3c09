"""The columns of a stored step: names, units, frames, and the attributes that carry them in the store."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from beyondmimic_data.errors import StoreError, shown

SCHEMA_VERSION = 1
QUATERNION_ORDER = "wxyz"
ROW_MEANING = "Row t: the state is read before the action of row t acts. Rows no episode owns are NaN."

Rows = TypeVar("Rows")
"""A NumPy array or a torch tensor."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One quantity of a step; it takes as many array columns as its shape has elements, in C order."""

    name: str
    """Field name."""
    shape: tuple[int, ...] = ()
    """Shape in one step; ``()`` is one number."""
    unit: str = "1"
    """SI unit; ``1`` for what has none."""
    frame: str = ""
    """Frame of reference, empty where there is none."""
    names: tuple[str, ...] = ()
    """Names along the first axis, such as joints or bodies."""
    description: str = ""
    """What the name does not say."""

    @property
    def size(self) -> int:
        """Array columns taken."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class StepSchema:
    """What the columns of a step array mean, and the facts that all of its rows share."""

    columns: tuple[Column, ...]
    """Quantities in their order along the array's second axis."""
    control_hz: float
    """Rows a second."""
    joint_names: tuple[str, ...] = ()
    """Order of joint quantities."""
    body_names: tuple[str, ...] = ()
    """Order of body quantities."""
    clip_names: tuple[str, ...] = ()
    """Reference clips; ``clip_id`` counts into them."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise StoreError(f"schema: column names {names}: expected each name once")
        for column in self.columns:
            if column.names and column.names != tuple(dict.fromkeys(column.names)):
                raise StoreError(f"schema: column '{column.name}': names along its first axis repeat")
            if column.names and (not column.shape or len(column.names) != column.shape[0]):
                raise StoreError(
                    f"schema: column '{column.name}': found {len(column.names)} names, "
                    f"expected one for each of shape {column.shape}'s first axis"
                )

    @property
    def num_columns(self) -> int:
        """Array columns of a step."""
        return sum(column.size for column in self.columns)

    @functools.cached_property
    def slices(self) -> Mapping[str, slice]:
        """Array columns of each quantity by name."""
        return {column.name: slice(start, start + column.size) for column, start in self._with_starts()}

    def slice(self, name: str) -> slice:
        """Return the array columns of a quantity.

        Raises:
            StoreError: the schema has no such quantity.
        """
        self.column(name)
        return self.slices[name]

    def column(self, name: str) -> Column:
        """Return the description of a quantity.

        Raises:
            StoreError: the schema has no such quantity.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise StoreError(f"no column '{name}' in the store; it has {', '.join(c.name for c in self.columns)}")

    def take(self, rows: Rows, name: str) -> Rows:
        """Return one quantity of rows (..., num_columns) in its own shape, (..., *shape); NumPy or torch."""
        part = rows[..., self.slice(name)]  # type: ignore[index]
        return part.reshape(*part.shape[:-1], *self.column(name).shape)

    def same_columns(self, other: "StepSchema") -> bool:
        """Say whether rows of both mean the same: columns, rates and orders; clips may differ."""
        return dataclasses.replace(self, clip_names=()) == dataclasses.replace(other, clip_names=())

    def _with_starts(self) -> Iterator[tuple[Column, int]]:
        start = 0
        for column in self.columns:
            yield column, start
            start += column.size

    def to_attrs(self) -> dict[str, Any]:
        """Return the attributes that make a store self-describing, as plain JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "row": ROW_MEANING,
            "control_hz": self.control_hz,
            "quaternion_order": QUATERNION_ORDER,
            "joint_names": list(self.joint_names),
            "body_names": list(self.body_names),
            "clip_names": list(self.clip_names),
            "columns": [
                {
                    "name": column.name,
                    "start": start,
                    "stop": start + column.size,
                    "shape": list(column.shape),
                    "unit": column.unit,
                    "frame": column.frame,
                    "names": list(column.names),
                    "description": column.description,
                }
                for column, start in self._with_starts()
            ],
        }

    @classmethod
    def from_attrs(cls, attrs: object, source: object = "store") -> "StepSchema":
        """Read the attributes written by ``to_attrs``.

        Args:
            attrs: group attributes, a mapping.
            source: file or folder to name in an error.

        Raises:
            StoreError: another schema version, or attributes that contradict themselves.
        """
        if not isinstance(attrs, Mapping):
            raise StoreError(f"{source}: attributes: found {shown(attrs)}, expected those of schema 1")
        if attrs.get("schema_version") != SCHEMA_VERSION:
            raise StoreError(
                f"{source}: schema_version: found {attrs.get('schema_version')!r}, "
                f"expected {SCHEMA_VERSION}; "
                "read it with the version of this project that wrote it, or collect it again"
            )
        if attrs.get("quaternion_order") != QUATERNION_ORDER:
            raise StoreError(
                f"{source}: quaternion_order: found {attrs.get('quaternion_order')!r}, "
                f"expected {QUATERNION_ORDER!r}"
            )
        try:
            schema = cls(
                columns=tuple(
                    Column(
                        name=c["name"],
                        shape=tuple(c["shape"]),
                        unit=c["unit"],
                        frame=c["frame"],
                        names=tuple(c["names"]),
                        description=c["description"],
                    )
                    for c in attrs["columns"]
                ),
                control_hz=float(attrs["control_hz"]),
                joint_names=tuple(attrs["joint_names"]),
                body_names=tuple(attrs["body_names"]),
                clip_names=tuple(attrs["clip_names"]),
            )
            _check_types(schema)
            stated = {c["name"]: slice(c["start"], c["stop"]) for c in attrs["columns"]}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"{source}: attributes: {error!r}, expected those of schema 1") from error
        if stated != schema.slices:
            raise StoreError(f"{source}: columns: start and stop do not follow from the shapes")
        return schema


def _check_types(schema: StepSchema) -> None:
    """Check what was read from attributes.

    Raises:
        TypeError: texts, sizes or the rate are something else.
    """
    orders = (schema.joint_names, schema.body_names, schema.clip_names)
    columns = [(c.name, c.unit, c.frame, c.description, *c.names) for c in schema.columns]
    if not all(isinstance(text, str) for texts in (*orders, *columns) for text in texts):
        raise TypeError("names that are no texts")
    if not all(type(size) is int and size > 0 for column in schema.columns for size in column.shape):
        raise TypeError("shapes that are no sizes")
    if not (math.isfinite(schema.control_hz) and schema.control_hz > 0):
        raise TypeError("control_hz that is no rate")


def trajectory_schema(
    *,
    joint_names: Sequence[str],
    body_names: Sequence[str],
    foot_names: Sequence[str],
    clip_names: Sequence[str],
    control_hz: float,
) -> StepSchema:
    """Return the schema of rollouts; 342 columns for 29 joints, 30 bodies and 2 feet."""
    joints, bodies, feet = tuple(joint_names), tuple(body_names), tuple(foot_names)
    num_joints, num_bodies, world = len(joints), len(bodies), "world"
    return StepSchema(
        columns=(
            Column("root_pos_w", (3,), "m", world, description="origin of the root link, z up"),
            Column("root_quat_w", (4,), "1", world, ("w", "x", "y", "z"), "orientation of the root link"),
            Column("root_lin_vel_w", (3,), "m/s", world, description="of the root link's origin"),
            Column("root_ang_vel_w", (3,), "rad/s", world),
            Column("body_pos_w", (num_bodies, 3), "m", world, bodies, "link origins"),
            Column("body_lin_vel_w", (num_bodies, 3), "m/s", world, bodies, "of link origins"),
            Column("joint_pos", (num_joints,), "rad", names=joints),
            Column("joint_vel", (num_joints,), "rad/s", names=joints),
            Column(
                "action_clean",
                (num_joints,),
                "action",
                names=joints,
                description="the policy's output on its noisy observation",
            ),
            Column(
                "action_cmd",
                (num_joints,),
                "action",
                names=joints,
                description="action_clean with exploration noise, undelayed: what was executed",
            ),
            Column(
                "action_noise_free",
                (num_joints,),
                "action",
                names=joints,
                description="the policy's output on the same observation without its noise",
            ),
            Column("foot_contact", (len(feet),), "1", names=feet, description="1 where the foot touches"),
            Column("phase", (), "1", description="reference frame over the clip's last frame, 0 to 1"),
            Column("clip_id", (), "1", description="index into clip_names"),
        ),
        control_hz=control_hz,
        joint_names=joints,
        body_names=bodies,
        clip_names=tuple(clip_names),
    )
