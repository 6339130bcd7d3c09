"""A MuJoCo model's bodies as triangles, for viewers that know no capsules."""

import dataclasses
from collections.abc import Iterator

import mujoco
import numpy as np

from beyondmimic_data import rotations

ROUND_SECTIONS = 16


@dataclasses.dataclass(frozen=True)
class BodyMesh:
    """What of a body has one colour."""

    body: int
    """Its index in the model."""
    vertices: np.ndarray
    """(V, 3) m, in the body's frame."""
    faces: np.ndarray
    """(F, 3) indices of vertices."""
    colour: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""


def body_meshes(model: mujoco.MjModel) -> list[BodyMesh]:
    """Return the shapes of all bodies but the world, joined where body and colour agree."""
    parts: dict[tuple[int, tuple[int, int, int]], list[tuple[np.ndarray, np.ndarray]]] = {}
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        if body == 0:
            continue
        red, green, blue = (round(255 * float(c)) for c in model.geom_rgba[geom, :3])
        vertices, faces = _triangles(model, geom)
        placed = rotations.rotate(model.geom_quat[geom], vertices) + model.geom_pos[geom]
        parts.setdefault((body, (red, green, blue)), []).append((placed, faces))
    return [BodyMesh(body, *_joined(shapes), colour) for (body, colour), shapes in parts.items()]


def _joined(shapes: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return several shapes as one."""
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in shapes)])
    faces = [faces + offset for (_, faces), offset in zip(shapes, offsets)]
    return np.concatenate([v for v, _ in shapes]).astype(np.float32), np.concatenate(faces)


def _triangles(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and faces of a shape in its own frame.

    Raises:
        ValueError: a kind of shape that no robot of this project has.
    """
    from trimesh import creation

    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        return tuple(_rows(model, mesh))  # type: ignore[return-value]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        made = creation.capsule(2 * size[1], size[0], count=[ROUND_SECTIONS, ROUND_SECTIONS])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        made = creation.cylinder(size[0], 2 * size[1], sections=2 * ROUND_SECTIONS)
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        made = creation.box(2 * size)
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        made = creation.icosphere(2, size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        made = creation.icosphere(2).apply_scale(size)
    else:
        raise ValueError(f"shape {geom} is a {kind.name}, which cannot be drawn")
    return np.asarray(made.vertices), np.asarray(made.faces)


def _rows(model: mujoco.MjModel, mesh: int) -> Iterator[np.ndarray]:
    """Yield the vertices and the faces of a mesh."""
    for rows, start, count in (
        (model.mesh_vert, model.mesh_vertadr, model.mesh_vertnum),
        (model.mesh_face, model.mesh_faceadr, model.mesh_facenum),
    ):
        yield np.array(rows[start[mesh] : start[mesh] + count[mesh]])
