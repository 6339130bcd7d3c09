"""Bringing motions into the motion folder."""

import dataclasses
import os

import pytest

from assets.motion_folder import add_motions, add_synthesised, folder_signature
from assets.workspace import open_workspace
from beyondmimic_data.config import SynthConfig
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.motions.clip import Clip
from beyondmimic_data.motions.folder import scan
from beyondmimic_data.motions.motion_config import facts_of


@pytest.fixture
def workspace(tmp_path):
    return open_workspace(root=tmp_path / "data", preset="test")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    (folder / "csv").mkdir(parents=True)
    (folder / "csv" / "dance.csv").write_text("1,2,3")
    (folder / "csv" / "take[1].csv").write_text("4,5,6")
    (folder / "walk.bvh").write_text("HIERARCHY")
    (folder / "notes.txt").write_text("not a motion")
    (folder / "motions.toml").write_text('[[files]]\nmatch = "csv/*.csv"\nfps = 60\nquat = "xyzw"\n')
    return folder


def test_a_folder_keeps_its_paths_and_its_facts(workspace, source):
    placed = add_motions(workspace, [source])
    root = workspace.motion_folder
    assert [p.relative_to(root).as_posix() for p in placed] == [
        "csv/dance.csv",
        "csv/take[1].csv",
        "walk.bvh",
    ]
    for name in ("csv/dance.csv", "csv/take[1].csv"):
        facts = facts_of(root / name)
        assert (facts.fps, facts.quat) == (60, "xyzw")
    assert facts_of(root / "walk.bvh").fps is None
    assert (root / "csv" / "dance.csv").read_text() == "1,2,3"


def test_a_file_keeps_its_name(workspace, source):
    assert add_motions(workspace, [source / "csv" / "dance.csv"]) == [workspace.motion_folder / "dance.csv"]
    assert facts_of(workspace.motion_folder / "dance.csv").fps == 60


def test_adding_again_changes_nothing_and_adding_new_bytes_does(workspace, source):
    add_motions(workspace, [source])
    before = folder_signature(workspace)
    assert before
    os.utime(source / "walk.bvh", (1, 1))
    add_motions(workspace, [source])
    assert folder_signature(workspace) == before
    (source / "walk.bvh").write_text("HIERARCHY 2")
    add_motions(workspace, [source])
    changed = folder_signature(workspace)
    assert {name for name in changed if changed[name] != before[name]} == {"walk.bvh"}


def test_new_facts_replace_the_old_ones(workspace, source):
    add_motions(workspace, [source])
    (source / "motions.toml").write_text('[[files]]\nmatch = "csv/*.csv"\nfps = 30\n')
    add_motions(workspace, [source])
    facts = facts_of(workspace.motion_folder / "csv" / "dance.csv")
    assert (facts.fps, facts.quat) == (30, None)


def test_facts_that_a_person_wrote_stay(workspace, source):
    workspace.motion_folder.mkdir(parents=True)
    own = workspace.motion_folder / "motions.toml"
    own.write_text('[[files]]\nmatch = "old/*.csv"\nfps = 24 # by hand\n')
    add_motions(workspace, [source])
    assert "# by hand" in own.read_text()
    assert facts_of(workspace.motion_folder / "old" / "x.csv").fps == 24


def test_tables_of_a_folder_come_along_and_replace_their_older_selves(workspace, source):
    own = source / "motions.toml"
    facts = own.read_text()
    clips = '[[clips]]  # the best part\nname = "part"\nfrom = "walk.bvh"\nstart = 1.0\n\n'
    skills = '[[skills]]\nname = "both"\nclips = ["walk.bvh", "part"]\n'
    own.write_text(facts + clips + skills)
    (source / "csv" / "motions.toml").write_text(
        '[[files]]\nmatch = "dance.csv"\nfps = 50\nmaterial = true\n'
        '[[clips]]\nname = "*_m"\nfrom = "dance.csv"\nmirror = true\n'
    )
    (source / "csv" / "take[1].csv").unlink()
    old = workspace.motion_folder / "csv" / "old.csv"
    old.parent.mkdir(parents=True)
    old.write_text("7,8,9")
    (workspace.motion_folder / "motions.toml").write_text('[[files]]\nmatch = "csv/old.csv"\nfps = 24\n')
    add_motions(workspace, [source])
    result = workspace.scan()
    assert result.errors == []
    names = {key: [clip.name for clip in skill.clips] for key, skill in result.skills.items()}
    assert names == {"both": ["walk", "part"], "csv__dance_m": ["csv__dance_m"], "csv__old": ["csv__old"]}
    facts_now = {
        name: facts_of(workspace.motion_folder / "csv" / f"{name}.csv").fps for name in ("dance", "old")
    }
    assert facts_now == {"dance": 50, "old": 24}

    before = folder_signature(workspace)
    add_motions(workspace, [source])
    assert folder_signature(workspace) == before

    own.write_text(facts + clips.replace("1.0", "2.0") + skills)
    add_motions(workspace, [source])
    edits = [clip.pieces[0].edit.start for clip in workspace.scan().skills["both"].clips]
    assert edits == [None, 2.0]
    text = (workspace.motion_folder / "motions.toml").read_text()
    assert text.count("[[clips]]  # the best part") == 1


@pytest.mark.parametrize("what", ["nowhere.bvh", "empty"])
def test_a_source_without_motions_is_refused(workspace, tmp_path, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=what):
        add_motions(workspace, [tmp_path / what])


def test_two_sources_of_one_name_are_refused(workspace, source, tmp_path):
    other = tmp_path / "walk.bvh"
    other.write_text("another")
    with pytest.raises(ConfigError, match="different names"):
        add_motions(workspace, [source, other])


def test_synthesised_clips_are_written_once(workspace):
    first = add_synthesised(workspace)
    assert sorted(p.stem for p in first) == ["squat", "stand"]
    before = folder_signature(workspace)
    assert add_synthesised(workspace) == []
    assert folder_signature(workspace) == before
    first[0].write_bytes(b"damaged")
    assert add_synthesised(workspace) == [first[0]]


def test_locomotion_is_one_skill_of_several_walks(workspace):
    synth = SynthConfig(skills=("locomotion",), locomotion_clips=2, locomotion_seconds=6.5)
    walking = dataclasses.replace(workspace, preset=dataclasses.replace(workspace.preset, synth=synth))
    first, second = add_synthesised(walking)
    assert Clip.load(first).version != Clip.load(second).version
    skills = scan(workspace.motion_folder).skills
    assert {key: len(skill.clips) for key, skill in skills.items()} == {"synth__locomotion": 2}
    assert add_synthesised(walking) == []


def test_clips_that_a_skill_takes_already_are_not_grouped_again(workspace):
    synth = SynthConfig(skills=("locomotion",), locomotion_clips=2, locomotion_seconds=6.5)
    walking = dataclasses.replace(workspace, preset=dataclasses.replace(workspace.preset, synth=synth))
    root = workspace.motion_folder
    root.mkdir(parents=True)
    (root / "motions.toml").write_text('[[skills]]\nname = "all"\nclips = ["synth/locomotion/*.npz"]\n')
    add_synthesised(walking)
    found = scan(root)
    assert not found.errors
    assert {key: len(skill.clips) for key, skill in found.skills.items()} == {"all": 2}


def test_a_skeleton_of_its_own_comes_along(workspace, source):
    (source / "skeletons").mkdir()
    sided = ("hips", "knees", "ankles", "toes", "shoulders", "elbows", "wrists")
    pairs = [f'{part} = ["L{part}", "R{part}"]' for part in sided]
    (source / "skeletons" / "mine.toml").write_text("\n".join(['spine = "s"', 'neck = "n"', *pairs]))
    (source / "motions.toml").write_text('[[files]]\nmatch = "*.bvh"\nskeleton = "mine"\n')
    add_motions(workspace, [source / "walk.bvh"])
    root = workspace.motion_folder
    assert facts_of(root / "walk.bvh") == facts_of(source / "walk.bvh")
    assert facts_of(root / "walk.bvh").skeleton.knees == ("Lknees", "Rknees")
    before = folder_signature(workspace)
    add_motions(workspace, [source / "walk.bvh"])
    assert folder_signature(workspace) == before
    skeleton = root / "skeletons" / "mine.toml"
    skeleton.write_text(skeleton.read_text().replace("Lknees", "LeftKnee"))
    assert folder_signature(workspace) != before
