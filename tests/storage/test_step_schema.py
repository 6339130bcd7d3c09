import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from beyondmimic_data.errors import StoreError
from beyondmimic_data.robots import g1
from storage.schema import Column, StepSchema, trajectory_schema


@pytest.fixture
def schema() -> StepSchema:
    feet = ("left_ankle_roll_link", "right_ankle_roll_link")
    return trajectory_schema(
        joint_names=g1.JOINT_NAMES,
        body_names=g1.BODY_NAMES,
        foot_names=feet,
        clip_names=("walk",),
        control_hz=50.0,
    )


def test_columns_of_the_g1(schema: StepSchema) -> None:
    widths = {name: part.stop - part.start for name, part in schema.slices.items()}
    assert list(widths.items()) == [
        ("root_pos_w", 3),
        ("root_quat_w", 4),
        ("root_lin_vel_w", 3),
        ("root_ang_vel_w", 3),
        ("body_pos_w", 90),
        ("body_lin_vel_w", 90),
        ("joint_pos", 29),
        ("joint_vel", 29),
        ("action_clean", 29),
        ("action_cmd", 29),
        ("action_noise_free", 29),
        ("foot_contact", 2),
        ("phase", 1),
        ("clip_id", 1),
    ]
    assert schema.num_columns == 342
    assert schema.slice("action_clean") == slice(251, 280)
    stops = [part.stop for part in schema.slices.values()]
    assert [part.start for part in schema.slices.values()] == [0, *stops[:-1]]


def test_attributes_survive_json(schema: StepSchema) -> None:
    attrs = json.loads(json.dumps(schema.to_attrs()))
    assert StepSchema.from_attrs(attrs) == schema
    assert attrs["quaternion_order"] == "wxyz"
    assert attrs["columns"][4]["names"][0] == "pelvis"
    assert attrs["columns"][4]["unit"] == "m"


@pytest.mark.parametrize("make", [np.arange, torch.arange])
def test_take_gives_a_quantity_its_shape(schema: StepSchema, make) -> None:
    rows = make(2 * 5 * 342).reshape(2, 5, 342)
    bodies = schema.take(rows, "body_pos_w")
    assert tuple(bodies.shape) == (2, 5, 30, 3)
    assert int(bodies[1, 2, 3, 1]) == (1 * 5 + 2) * 342 + 13 + 3 * 3 + 1
    assert tuple(schema.take(rows, "phase").shape) == (2, 5)


def test_a_name_that_is_not_there(schema: StepSchema) -> None:
    with pytest.raises(StoreError, match=r"no column 'torque'.*joint_pos"):
        schema.slice("torque")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version: found 2, expected 1"),
        ({"quaternion_order": "xyzw"}, "quaternion_order: found 'xyzw'"),
        ({"columns": [{"name": "a"}]}, "attributes"),
    ],
)
def test_attributes_that_are_refused(schema: StepSchema, change: dict, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        StepSchema.from_attrs(schema.to_attrs() | change)


def test_offsets_that_contradict_shapes_are_refused(schema: StepSchema) -> None:
    attrs = schema.to_attrs()
    attrs["columns"][3]["start"] += 1
    with pytest.raises(StoreError, match="start and stop"):
        StepSchema.from_attrs(attrs)


def test_names_have_to_fit_the_shape() -> None:
    with pytest.raises(StoreError, match="found 2 names"):
        StepSchema((Column("joint_pos", (3,), names=("a", "b")),), 50.0)
    with pytest.raises(StoreError, match="each name once"):
        StepSchema((Column("a"), Column("a")), 50.0)


def test_clips_alone_do_not_make_columns_differ(schema: StepSchema) -> None:
    assert schema.same_columns(dataclasses.replace(schema, clip_names=("run",)))
    assert not schema.same_columns(dataclasses.replace(schema, control_hz=25.0))


def test_the_document_lists_the_columns_that_are_stored(schema: StepSchema) -> None:
    document = (Path(__file__).parents[2] / "docs" / "store.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d ×]+) \| ([\w/]*) *\|", document, re.MULTILINE)
    stored = [
        (
            c.name,
            str(schema.slice(c.name).start),
            " × ".join(map(str, c.shape)) or "1",
            c.unit.replace("1", ""),
        )
        for c in schema.columns
    ]
    assert listed == stored
