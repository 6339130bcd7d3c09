"""motions.toml and folders: which skills there are, and what counts as a change."""

import os
import shutil
from pathlib import Path

import pytest
from motion_samples import squat_bvh, sway_qpos, write_csv

from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions.check import check_paths
from beyondmimic_data.motions.folder import FolderScan, HashCache, clip_name, scan
from beyondmimic_data.motions.motion_config import MotionFacts, facts_of, load_config, nearest_config


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
    assert clip_name(skill.clips[0].path, tmp_path) == skill.key


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
    assert scan(tmp_path).skills["a"].clips[0].facts.fps == 60.0


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


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.csv")
    folder = tmp_path / "motions"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    assert keys(scan(folder)) == ["linked__a"]


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
