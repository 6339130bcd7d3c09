"""A skeleton that does not ship is one file in the motion folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from motion_samples import squat_bvh

from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.folder import scan
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import MotionFacts, facts_of
from beyondmimic_data.motions.skeletons import (
    CENTRAL,
    DAZ,
    END,
    SIDED,
    Skeleton,
    load_skeleton,
    save_skeleton,
    stated_skeleton,
)


def _biped(space: str) -> Skeleton:
    """Return names that no shipped map has, with toes as end sites."""
    names = {field: (f"Bip01{space}L{space}{field}", f"Bip01{space}R{space}{field}") for field in SIDED}
    names["toes"] = (names["ankles"][0] + END, names["ankles"][1] + END)
    return Skeleton("biped", f"Bip01{space}Spine", f"Bip01{space}Neck", **names)


BIPED = _biped("_")


def folder(tmp_path: Path, skeleton: str = "biped", file: str = "skeletons/biped.toml") -> Path:
    """Return a BVH file of the unknown skeleton, in a folder that names a map for it."""
    path = tmp_path / "walk.bvh"
    path.write_text(squat_bvh(seconds=1.0, skeleton=BIPED))
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    values = {field: getattr(BIPED, field) for field in (*CENTRAL, *SIDED)}
    (tmp_path / file).write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    (tmp_path / "motions.toml").write_text(f'[[files]]\nmatch = "*.bvh"\nskeleton = "{skeleton}"\n')
    return path


@pytest.mark.parametrize(
    ("skeleton", "file"), [("biped", "skeletons/biped.toml"), ("maps/biped.toml", "maps/biped.toml")]
)
def test_a_map_in_the_folder_is_read_and_gives_the_same_motion(
    skeleton: str, file: str, tmp_path: Path
) -> None:
    path = folder(tmp_path, skeleton, file)
    facts = facts_of(path)
    assert facts.skeleton == BIPED
    clip = import_motion(path, name="walk", facts=facts, preset=quick())
    assert clip.source["skeleton"] == "biped"
    known = tmp_path / "known.bvh"
    known.write_text(squat_bvh(seconds=1.0, skeleton=DAZ))
    expected = import_motion(known, name="walk", facts=MotionFacts(), preset=quick())
    assert np.abs(clip.qpos - expected.qpos).max() < 1e-3


def test_without_the_map_the_error_says_what_to_do(tmp_path: Path) -> None:
    path = folder(tmp_path)
    with pytest.raises(MotionError, match=r"motions\.toml that names another skeleton"):
        import_motion(path, name="walk", facts=MotionFacts(), preset=quick())


def test_a_changed_map_changes_the_skill(tmp_path: Path) -> None:
    folder(tmp_path)
    before = scan(tmp_path).skills["walk"].signature
    assert scan(tmp_path).skills["walk"].signature == before
    file = tmp_path / "skeletons" / "biped.toml"
    file.write_text(file.read_text().replace("Spine", "Spine1"))
    assert scan(tmp_path).skills["walk"].signature != before


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ('neck = "Bip01_Neck"\n', "", "neck", "nothing"),
        ("spine =", "spien =", "spien", "unknown key"),
        ("hips = [", 'hips = ["Bip01_Pelvis", ', "hips", "two joints"),
        ('"Bip01_R_knees"', '"Bip01_L_knees"', "knees", "two joints"),
        ('"Bip01_L_wrists"', "3", "wrists", "found 3"),
        ("spine =", "spine", "TOML", "readable TOML"),
    ],
)
def test_a_map_with_a_mistake_is_refused_by_name(
    old: str, new: str, field: str, says: str, tmp_path: Path
) -> None:
    path = folder(tmp_path)
    file = tmp_path / "skeletons" / "biped.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(MotionError, match=says) as caught:
        facts_of(path)
    assert caught.value.field == field
    assert caught.value.file == str(file)


def test_a_name_without_a_file_lists_those_there_are(tmp_path: Path) -> None:
    path = folder(tmp_path, skeleton="bipde")
    with pytest.raises(MotionError, match=r"'bipde'.*daz.*mixamo_plain, biped.*skeletons/NAME\.toml"):
        facts_of(path)


def test_a_file_may_not_hide_a_map_that_ships(tmp_path: Path) -> None:
    path = folder(tmp_path, skeleton="daz", file="skeletons/daz.toml")
    with pytest.raises(MotionError, match="another name"):
        facts_of(path)


def test_saving_keeps_a_map_and_never_replaces_another(tmp_path: Path) -> None:
    config = tmp_path / "motions.toml"
    save_skeleton(BIPED, config)
    save_skeleton(BIPED, config)
    assert load_skeleton(tmp_path / "skeletons" / "biped.toml") == BIPED
    with pytest.raises(MotionError, match="other joints"):
        save_skeleton(_biped("."), config)
    save_skeleton(DAZ, config)
    assert [path.name for path in (tmp_path / "skeletons").iterdir()] == ["biped.toml"]


@pytest.mark.parametrize(
    "name", ["x" * 5000, "../mine.toml", "../mine", "/mine.toml", "a\\nb.toml", "..", "."]
)
def test_a_map_outside_the_folder_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.toml").write_text("")
    config = tmp_path / "m" / "motions.toml"
    config.parent.mkdir()
    with pytest.raises(MotionError, match=r"motions\.toml: files\[0\]\.skeleton") as refused:
        stated_skeleton(config, "files[0].skeleton", name)
    assert "\n" not in str(refused.value)
