"""motions.toml and folders: which skills there are, and what counts as a change."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from motion_samples import squat_bvh, sway_qpos, write_csv

from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.check import check_paths
from beyondmimic_data.motions.folder import (
    FolderScan,
    HashCache,
    Piece,
    clip_name,
    refuse_links_outside,
    scan,
)
from beyondmimic_data.motions.motion_config import Edit, MotionFacts, facts_of, load_config, nearest_config


def touch(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def keys(result: FolderScan) -> list[str]:
    return list(result.skills)


def test_last_matching_table_wins_whole(tmp_path: Path) -> None:
    touch(
        tmp_path / "motions.toml",
        '[[files]]\nmatch = "*.csv"\nfps = 30\nquat = "wxyz"\n[[files]]\nmatch = "g1/*.csv"\nfps = 60\n',
    )
    assert facts_of(tmp_path / "g1" / "a.csv") == MotionFacts(fps=60.0)
    assert facts_of(tmp_path / "b.csv") == MotionFacts(fps=30.0, quat="wxyz")
    assert facts_of(tmp_path / "b.bvh") == MotionFacts()


def test_nearest_file_counts_alone(tmp_path: Path) -> None:
    touch(tmp_path / "motions.toml", '[[files]]\nmatch = "*/*.csv"\nfps = 30\n')
    touch(tmp_path / "inner" / "motions.toml", '[[files]]\nmatch = "other.csv"\nfps = 60\n')
    assert facts_of(tmp_path / "inner" / "a.csv") == MotionFacts()
    assert facts_of(tmp_path / "inner" / "other.csv").fps == 60.0
    assert facts_of(tmp_path / "deep" / "a.csv").fps == 30.0
    config = nearest_config(tmp_path / "inner" / "a.csv")
    assert config is not None
    assert config.path == tmp_path / "inner" / "motions.toml"


def test_given_facts_go_before_those_of_the_file() -> None:
    assert MotionFacts(fps=50.0).over(MotionFacts(fps=60.0, quat="xyzw")) == MotionFacts(50.0, "xyzw")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[[files]\n", "TOML"),
        ("[files]\nmatch = 'a'\n", "files"),
        ("[[file]]\nmatch = 'a'\n", "top level.file"),
        ("[[files]]\nfps = 30\n", "files[0].match"),
        ("[[files]]\nmatch = 'a'\nFPS = 30\n", "files[0].FPS"),
        ("[[files]]\nmatch = 'a'\nfps = '30'\n", "files[0].fps"),
        ("[[files]]\nmatch = 'a'\nfps = true\n", "files[0].fps"),
        ("[[files]]\nmatch = 'a'\nfps = 0\n", "files[0].fps"),
        ("[[files]]\nmatch = 'a'\nfps = nan\n", "files[0].fps"),
        ("[[files]]\nmatch = 'a'\n[[files]]\nmatch = 'b'\nquat = 'zyxw'\n", "files[1].quat"),
        ("[[files]]\nmatch = 'a'\nskeleton = 'cat'\n", "files[0].skeleton"),
        ("[[files]]\nmatch = 'a'\nmaterial = 1\n", "files[0].material"),
        ("[[clips]]\nfrom = 'a'\nloop = 2\n", "clips[0].name"),
        ("[[clips]]\nname = 'x'\nloop = 2\n", "clips[0].from"),
        ("[[clips]]\nname = 'x/y'\nfrom = 'a'\nloop = 2\n", "clips[0].name"),
        ("[[clips]]\nname = '*_*'\nfrom = 'a'\nloop = 2\n", "clips[0].name"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\n", "clips[0]"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nloops = 2\n", "clips[0].loops"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nloop = 0\n", "clips[0].loop"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nloop = 2.0\n", "clips[0].loop"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nmirror = 'yes'\n", "clips[0].mirror"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nstart = -1\n", "clips[0].start"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nstart = 2\nend = 1.5\n", "clips[0].end"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nloop = 2\nblend = 9\n", "clips[0].blend"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nthen = ['b']\n", "clips[0].then"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nthen = [{from = 'b', blend = 1}]\n", "clips[0].then[0].blend"),
        ("[[clips]]\nname = 'x'\nfrom = 'a'\nthen = [{end = 1}]\n", "clips[0].then[0].from"),
        ("[[skills]]\nclips = ['a']\n", "skills[0].name"),
        ("[[skills]]\nname = 'a b/c'\nclips = ['a']\n", "skills[0].name"),
        ("[[skills]]\nname = 'a'\nclips = []\n", "skills[0].clips"),
        ("[[skills]]\nname = 'a'\nclips = 'a'\n", "skills[0].clips"),
    ],
)
def test_wrong_tables_are_refused_by_name(text: str, field: str, tmp_path: Path) -> None:
    path = touch(tmp_path / "motions.toml", text)
    with pytest.raises(MotionError) as caught:
        load_config(path)
    assert caught.value.field == field
    assert str(path) in str(caught.value)


def test_each_file_is_a_skill_named_after_its_path(tmp_path: Path) -> None:
    touch(tmp_path / "human" / "cmu" / "07_01.bvh")
    touch(tmp_path / "b.CSV")
    touch(tmp_path / "c.v2.npz")
    result = scan(tmp_path)
    assert keys(result) == ["b", "c.v2", "human__cmu__07_01"]
    assert result.errors == []
    skill = result.skills["human__cmu__07_01"]
    assert [clip.name for clip in skill.clips] == ["human__cmu__07_01"]
    assert clip_name(skill.clips[0].files[0], tmp_path) == skill.key


def test_other_hidden_and_unfinished_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.bvh")
    others = [
        "notes.txt",
        ".b.csv.x1.tmp.csv",
        "c.bvh.part",
        "d.tmp.csv",
        "e.csv~",
        "~f.csv",
        ".hidden/g.csv",
        "motions.toml",
    ]
    for name in others:
        touch(tmp_path / name, "")
    result = scan(tmp_path)
    assert keys(result) == ["a"]
    assert result.errors == []


def test_colliding_names_are_an_error_and_the_others_go_on(tmp_path: Path) -> None:
    for name in ("a.bvh", "a.csv", "x__y.csv", "x/y.bvh", "good.csv"):
        touch(tmp_path / name)
    result = scan(tmp_path)
    assert keys(result) == ["good"]
    messages = [str(e) for e in result.errors]
    assert len(messages) == 2
    assert "a.bvh and a.csv" in messages[0]
    assert all("clip name" in m for m in messages)


def test_names_that_cannot_be_keys_and_npy_are_errors(tmp_path: Path) -> None:
    touch(tmp_path / "my walk.bvh")
    touch(tmp_path / "a.npy")
    touch(tmp_path / "good.csv")
    result = scan(tmp_path)
    assert keys(result) == ["good"]
    assert sorted(e.field for e in result.errors) == ["file name", "format"]


def test_tables_group_clips_into_skills(tmp_path: Path) -> None:
    for name in ("walk_1.bvh", "walk_2.bvh", "run.bvh", "sub/walk_3.bvh", "sub/hop.bvh"):
        touch(tmp_path / name)
    touch(tmp_path / "motions.toml", '[[skills]]\nname = "walk"\nclips = ["walk_*.bvh"]\n')
    touch(tmp_path / "sub" / "motions.toml", '[[skills]]\nname = "moves"\nclips = ["*.bvh"]\n')
    result = scan(tmp_path)
    assert result.errors == []
    assert keys(result) == ["run", "sub__moves", "walk"]
    assert [c.name for c in result.skills["walk"].clips] == ["walk_1", "walk_2"]
    assert [c.name for c in result.skills["sub__moves"].clips] == ["sub__hop", "sub__walk_3"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[[skills]]\nname = "x"\nclips = ["nothing*"]\n', "no clip that matches"),
        ('[[skills]]\nname = "x"\nclips = ["a.bvh"]\n[[skills]]\nname = "y"\nclips = ["*.bvh"]\n', "too"),
        ('[[skills]]\nname = "x"\nclips = ["a.bvh"]\n[[skills]]\nname = "x"\nclips = ["b.bvh"]\n', "twice"),
        ('[[skills]]\nname = "b"\nclips = ["a.bvh"]\n', "twice"),
    ],
)
def test_tables_that_clash_are_errors(text: str, found: str, tmp_path: Path) -> None:
    touch(tmp_path / "a.bvh")
    touch(tmp_path / "b.bvh")
    touch(tmp_path / "motions.toml", text)
    result = scan(tmp_path)
    assert len(result.errors) == 1
    assert found in str(result.errors[0])
    assert result.skills


def test_broken_toml_leaves_out_only_what_it_governs(tmp_path: Path) -> None:
    touch(tmp_path / "good.csv")
    touch(tmp_path / "bad" / "motions.toml", "[[files]\n")
    touch(tmp_path / "bad" / "a.csv")
    touch(tmp_path / "bad" / "b.csv")
    result = scan(tmp_path)
    assert keys(result) == ["good"]
    assert [e.field for e in result.errors] == ["TOML"]


def test_signature_follows_bytes_and_facts_only(tmp_path: Path) -> None:
    toml = touch(tmp_path / "motions.toml", '[[files]]\nmatch = "a.csv"\nfps = 30\n')
    a, b = touch(tmp_path / "a.csv", "1"), touch(tmp_path / "b.csv", "2")

    def signatures() -> dict[str, str]:
        return {key: skill.signature for key, skill in scan(tmp_path).skills.items()}

    first = signatures()
    os.utime(a)
    assert signatures() == first
    toml.write_text(toml.read_text().replace("30", "60"))
    second = signatures()
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]
    b.write_text("3")
    third = signatures()
    assert third["a"] == second["a"]
    assert third["b"] != second["b"]
    assert scan(tmp_path).skills["a"].clips[0].pieces[0].facts.fps == 60.0


MADE = """
[[clips]]
name = "part"
from = "a.csv"
start = 0.5

[[clips]]
name = "*_mirrored"
from = "sub/*.csv"
mirror = true
"""


def test_tables_make_clips_beside_those_of_the_files(tmp_path: Path) -> None:
    for name in ("a.csv", "sub/b.csv", "sub/c.csv"):
        touch(tmp_path / name)
    toml = touch(tmp_path / "motions.toml", MADE)
    result = scan(tmp_path)
    assert result.errors == []
    assert keys(result) == ["a", "part", "sub__b", "sub__b_mirrored", "sub__c", "sub__c_mirrored"]
    clip = result.skills["sub__c_mirrored"].clips[0]
    assert clip.files == (tmp_path / "sub" / "c.csv",)
    assert clip.pieces[0].edit == Edit(mirror=True)
    assert clip.as_table(tmp_path) == {
        "name": "sub__c_mirrored",
        "from": "sub/c.csv",
        "mirror": True,
        "blend": 0.3,
    }
    toml.write_text(MADE + '[[skills]]\nname = "both"\nclips = ["sub/b.csv", "*_mirrored"]\n')
    result = scan(tmp_path)
    assert result.errors == []
    assert keys(result) == ["a", "both", "part", "sub__c"]
    assert [c.name for c in result.skills["both"].clips] == ["sub__b", "sub__b_mirrored", "sub__c_mirrored"]


def test_clips_of_an_inner_table_are_named_after_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "sub" / "a.csv")
    touch(tmp_path / "sub" / "motions.toml", '[[clips]]\nname = "*_2"\nfrom = "a.csv"\nloop = 2\n')
    touch(tmp_path / "b.csv")
    touch(tmp_path / "motions.toml", '[[skills]]\nname = "x"\nclips = ["b.csv", "sub/a_2"]\n')
    result = scan(tmp_path)
    assert result.errors == []
    assert {key: [c.name for c in skill.clips] for key, skill in result.skills.items()} == {
        "sub__a": ["sub__a"],
        "x": ["b", "sub__a_2"],
    }


def test_material_is_no_clip_itself_and_gives_its_name_free(tmp_path: Path) -> None:
    touch(tmp_path / "take.csv")
    touch(tmp_path / "b.csv")
    material = '[[files]]\nmatch = "take.csv"\nfps = 30\nmaterial = true\n'
    touch(tmp_path / "motions.toml", material + '[[clips]]\nname = "take"\nfrom = "take.csv"\nend = 2\n')
    result = scan(tmp_path)
    assert result.errors == []
    assert keys(result) == ["b", "take"]
    assert result.skills["take"].clips[0].pieces[0] == Piece(
        tmp_path / "take.csv", MotionFacts(fps=30.0), Edit(end=2.0)
    )


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ('name = "x"\nfrom = "no.csv"\nloop = 2', "clips 'x'.from: found no file that matches 'no.csv'"),
        ('name = "x"\nfrom = "*.csv"\nloop = 2', "clips 'x'.from: found 2 files that match '*.csv'"),
        ('name = "x"\nfrom = "a.csv"\nthen = [{ from = "*.csv" }]', "clips 'x'.from: found 2 files"),
        ('name = "*_x"\nfrom = "a.csv"\nthen = [{ from = "*.csv" }]', "clips '*_x'.from: found 2 files"),
        ('name = "b"\nfrom = "a.csv"\nloop = 2', "'b' from b.csv and [[clips]] of motions.toml"),
    ],
)
def test_a_table_that_cannot_be_followed_is_one_error_and_the_others_go_on(
    table: str, found: str, tmp_path: Path
) -> None:
    touch(tmp_path / "a.csv")
    touch(tmp_path / "b.csv")
    touch(
        tmp_path / "motions.toml", f'[[clips]]\n{table}\n[[clips]]\nname = "ok"\nfrom = "a.csv"\nloop = 2\n'
    )
    result = scan(tmp_path)
    assert [found in str(error) for error in result.errors] == [True]
    assert {"a", "ok"} <= set(result.skills)


def test_an_edit_changes_the_signature_of_its_clip_only(tmp_path: Path) -> None:
    for name in ("a.csv", "sub/b.csv", "sub/c.csv"):
        touch(tmp_path / name)
    toml = touch(tmp_path / "motions.toml", "")

    def changed_by(write: Callable[[], object]) -> set[str]:
        before = {key: skill.signature for key, skill in scan(tmp_path).skills.items()}
        write()
        after = {key: skill.signature for key, skill in scan(tmp_path).skills.items()}
        return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}

    assert changed_by(lambda: toml.write_text(MADE)) == {"part", "sub__b_mirrored", "sub__c_mirrored"}
    assert changed_by(lambda: toml.write_text(f"# a comment\n{MADE}")) == set()
    assert changed_by(lambda: toml.write_text(MADE.replace("0.5", "0.6"))) == {"part"}
    assert changed_by(lambda: toml.write_text(MADE.replace("0.5", "0.6\nblend = 0.4"))) == {"part"}
    assert changed_by(lambda: touch(tmp_path / "sub" / "b.csv", "y")) == {"sub__b", "sub__b_mirrored"}


def test_cache_hashes_a_file_once_until_it_changes(tmp_path: Path) -> None:
    folder, store = tmp_path / "motions", tmp_path / "cache.json"
    a = touch(folder / "a.csv", "1")
    os.utime(a, (1_000_000, 1_000_000))
    first = scan(folder, HashCache(store)).skills["a"].signature
    assert store.is_file()
    # Other bytes of equal size and time: only a fresh hash would see them, which is what the cache saves.
    a.write_text("2")
    os.utime(a, (1_000_000, 1_000_000))
    assert scan(folder, HashCache(store)).skills["a"].signature == first
    os.utime(a, (1_000_001, 1_000_001))
    assert scan(folder, HashCache(store)).skills["a"].signature != first


def test_fresh_files_are_hashed_every_time(tmp_path: Path) -> None:
    cache = HashCache()
    a = touch(tmp_path / "a.csv", "1")
    times = a.stat()
    first = scan(tmp_path, cache).skills["a"].signature
    a.write_text("2")
    os.utime(a, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scan(tmp_path, cache).skills["a"].signature != first


def test_damaged_cache_is_no_error(tmp_path: Path) -> None:
    touch(tmp_path / "m" / "a.csv")
    store = touch(tmp_path / "cache.json", "{not json")
    assert keys(scan(tmp_path / "m", HashCache(store))) == ["a"]


def test_links_inside_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.csv")
    folder = tmp_path / "motions"
    touch(folder / "takes" / "b.csv")
    (folder / "again").symlink_to(folder / "takes")
    (folder / "c.csv").symlink_to(folder / "takes" / "b.csv")
    (folder / "loop").symlink_to(folder)
    (folder / "x").symlink_to(folder / "y")
    (folder / "y").symlink_to(folder / "x")
    (folder / "self.csv").symlink_to(folder / "self.csv")
    result = scan(folder)
    assert keys(result) == ["again__b", "c"]
    assert [(Path(e.file).name, e.field) for e in result.errors] == [("self.csv", "file")]
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert keys(scan(linked)) == ["again__b", "c"]


@pytest.mark.parametrize("name", ["a.csv", "folder", "motions.toml", "gone.bvh"])
def test_a_link_that_leads_out_is_refused_and_the_others_go_on(name: str, tmp_path: Path) -> None:
    targets = {
        "a.csv": touch(tmp_path / "elsewhere" / "a.csv"),
        "folder": tmp_path / "elsewhere",
        "motions.toml": touch(tmp_path / "other.toml", '[[files]]\nmatch = "*.csv"\nfps = 30\n'),
        "gone.bvh": tmp_path / "nowhere.bvh",
    }
    folder = tmp_path / "motions"
    touch(folder / "sub" / "good.csv")
    touch(folder / "sub" / "motions.toml", "")
    (folder / name).symlink_to(targets[name])
    result = scan(folder)
    assert keys(result) == ["sub__good"]
    assert [(e.file, e.field) for e in result.errors] == [(str(folder / name), "link")]
    assert str(targets[name]) in str(result.errors[0])
    with pytest.raises(MotionError, match="link"):
        refuse_links_outside(folder)
    (report,) = [r for r in check_paths([folder], quick()) if r["clip"] == name]
    assert not report["accepted"]


def test_a_skeleton_that_links_elsewhere_is_not_read(tmp_path: Path) -> None:
    secret = touch(tmp_path / "secret.toml", 'spine = "Chest"\n')
    toml = touch(tmp_path / "m" / "motions.toml", '[[files]]\nmatch = "*"\nskeleton = "mine"\n')
    (tmp_path / "m" / "skeletons").mkdir()
    (tmp_path / "m" / "skeletons" / "mine.toml").symlink_to(secret)
    with pytest.raises(MotionError, match="link"):
        load_config(toml)


def test_what_never_ends_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    touch(tmp_path / "good.csv")
    result = scan(tmp_path)
    assert (keys(result), result.errors) == (["good"], [])


@pytest.mark.parametrize("name", ["x" * 129, "a\nb", "a\x1b[31mb", "a b", "é", "-\u202e"])
def test_names_that_no_folder_may_have_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "good.csv")
    file = touch(tmp_path / f"{name}.csv")
    result = scan(tmp_path)
    assert keys(result) == ["good"]
    assert [e.field for e in result.errors] == ["file name"]
    assert str(result.errors[0]).isprintable()
    (report,) = check_paths([file], quick())
    assert not report["accepted"]


def test_a_long_path_is_refused_although_each_part_is_short(tmp_path: Path) -> None:
    touch(tmp_path / ("a" * 60) / ("b" * 60) / "cccccccc.csv")
    touch(tmp_path / ("a" * 60) / "short.csv")
    made = '[[clips]]\nname = "{0}"\nfrom = "short.csv"\nloop = 2\n[[skills]]\nname = "{0}"\nclips = ["*"]\n'
    touch(tmp_path / ("a" * 60) / "motions.toml", made.format("n" * 80))
    result = scan(tmp_path)
    assert keys(result) == ["a" * 60 + "__short"]
    assert len(result.errors) == 3
    assert all("at most 128 letters" in str(e) for e in result.errors)


@pytest.mark.parametrize("name", [".", "..", ".x", "x" * 300, "a/b", "../up", "a\\nb", "a\\u0000b", "", "**"])
@pytest.mark.parametrize("kind", ["clips", "skills"])
def test_hostile_names_in_tables_are_refused_where_they_stand(kind: str, name: str, tmp_path: Path) -> None:
    rest = "from = 'a'\nloop = 2" if kind == "clips" else "clips = ['a']"
    path = touch(tmp_path / "motions.toml", f'[[{kind}]]\nname = "{name}"\n{rest}\n'.replace("\\\\", "\\"))
    with pytest.raises(MotionError) as caught:
        load_config(path)
    assert caught.value.field == f"{kind}[0].name"
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "[[files]]\nmatch = 'a'\nfps = 1e999\n",
        f"[[files]]\nmatch = 'a'\nfps = {10**400}\n",
        "[[clips]]\nname = 'x'\nfrom = 'a'\nstart = 1e308\n",
        f"[[clips]]\nname = 'x'\nfrom = 'a'\nloop = {10**30}\n",
        "[[files]]\nmatch = 'a'\nquat = ['wxyz']\n",
        "[[files]]\nmatch = 'a'\nskeleton = {a = 1}\n",
        "[[skills]]\nname = ['a']\nclips = ['a']\n",
        "files = 3\n",
        "files = [3]\n",
        "# " + "x" * 2**20,
    ],
)
def test_hostile_values_are_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(MotionError) as caught:
        load_config(touch(tmp_path / "motions.toml", text))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "known", ['{"FILE": 3}', '{"FILE": [1, 2]}', '{"FILE": [1, 2, 3]}', "[" * 10**5, "[1]"]
)
def test_cache_of_another_shape_is_no_error(known: str, tmp_path: Path) -> None:
    a = touch(tmp_path / "m" / "a.csv")
    store = touch(tmp_path / "cache.json", known.replace("FILE", str(a)))
    assert keys(scan(tmp_path / "m", HashCache(store))) == ["a"]


def test_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert scan(tmp_path / "nowhere") == FolderScan({}, [])


def test_check_reads_folders_files_and_facts(tmp_path: Path) -> None:
    (tmp_path / "robot").mkdir()
    write_csv(tmp_path / "robot" / "sway.csv", sway_qpos())
    touch(tmp_path / "robot" / "motions.toml", '[[files]]\nmatch = "*.csv"\nfps = 60\n')
    squat = touch(tmp_path / "squat.bvh", squat_bvh(seconds=1.0))
    reports = check_paths([tmp_path / "robot", squat], quick())
    assert [r["clip"] for r in reports] == ["sway", "squat"]
    assert all(r["accepted"] for r in reports), [r["reason"] for r in reports]
    assert "quaternion order xyzw found by posture" in reports[0]["repairs"]
    assert reports[0]["metrics"]["duration_s"] == pytest.approx(1.48)
    assert check_paths([tmp_path / "robot"], quick(), fps=30.0)[0]["metrics"]["duration_s"] > 2.9
    shutil.rmtree(tmp_path / "robot")
    (tmp_path / "robot").mkdir()
    with pytest.raises(MotionError, match="no motion file"):
        check_paths([tmp_path / "robot"], quick())


def test_a_file_whose_path_makes_too_long_a_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / ("x" * 100) / ("y" * 100 + ".npz"))
    touch(tmp_path / "a.npz")
    found = scan(tmp_path)
    assert keys(found) == ["a"]
    assert "at most 128 letters" in str(found.errors[0])
