"""Every kind of broken motion file is refused with one error that names the file and the field."""

import dataclasses
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from motion_samples import squat_bvh, sway_qpos, tracking_arrays, write_csv

from beyondmimic_data.config import quick
from beyondmimic_data.errors import MotionError
from beyondmimic_data.motions import npz_file
from beyondmimic_data.motions.check import check_paths
from beyondmimic_data.motions.clip import clip_from_qpos
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import MotionFacts
from beyondmimic_data.motions.skeletons import LAFAN1
from beyondmimic_data.robots import g1

FACTS = MotionFacts(fps=60.0, quat="xyzw")
BVH = squat_bvh(seconds=0.3)
HEAD, MOTION = BVH.split("MOTION\n")
FRAMES = MOTION.splitlines()[2:]


def bvh_with(frames: list[str], head: str = HEAD, count: int | None = None, time: str = "0.01") -> str:
    count = len(frames) if count is None else count
    return f"{head}MOTION\nFrames: {count}\nFrame Time: {time}\n" + "\n".join(frames) + "\n"


def frame_with(values: dict[int, str]) -> str:
    fields = FRAMES[3].split()
    for column, value in values.items():
        fields[column] = value
    return " ".join(fields)


def far_away(lines: list[str], factor: float) -> list[str]:
    """Put every second frame's root far away."""
    out = []
    for i, line in enumerate(lines):
        fields = line.split()
        fields[0] = str(factor * (i % 2))
        out.append(" ".join(fields))
    return out


def inverted(lines: list[str]) -> list[str]:
    """Turn the root upside down."""
    out = []
    for line in lines:
        fields = line.split()
        fields[3] = "180"
        out.append(" ".join(fields))
    return out


BROKEN_BVH: dict[str, tuple[str | bytes, str]] = {
    "no content": ("", "file"),
    "white space": ("  \n\n", "file"),
    "binary": (bytes(range(256)) * 4, "encoding"),
    "utf-16": (BVH.encode("utf-16"), "encoding"),
    "another kind of text": ("time,x,y\n1,2,3\n", "first word"),
    "no MOTION section": (HEAD, "MOTION"),
    "hierarchy cut off": (HEAD[: len(HEAD) // 2] + "MOTION\n", "Frames"),
    "frames cut off": (bvh_with(FRAMES[:20], count=31), "Frames"),
    "last line cut off": (bvh_with([*FRAMES[:-1], FRAMES[-1][:40]]), "frame 30"),
    "text in a number": (bvh_with([*FRAMES[:-1], frame_with({7: "abc"})]), "frame 30"),
    "not a number": (bvh_with([*FRAMES[:-1], frame_with({7: "nan"})]), "frame 30"),
    "infinite root": (bvh_with([*FRAMES[:-1], frame_with({0: "inf"})]), "frame 30"),
    "no frames": (bvh_with([], count=0), "Frames"),
    "one frame": (bvh_with(FRAMES[:1]), "Frames"),
    "negative frame count": (bvh_with(FRAMES, count=-5), "Frames"),
    "frame count without frames": (bvh_with(FRAMES, count=10**9), "Frames"),
    "frame time zero": (bvh_with(FRAMES, time="0"), "Frame Time"),
    "frame time negative": (bvh_with(FRAMES, time="-0.01"), "Frame Time"),
    "frame time in milliseconds": (bvh_with(FRAMES, time="10"), "Frame Time"),
    "frame time text": (bvh_with(FRAMES, time="fast"), "Frame Time"),
    "channel missing": (BVH.replace("CHANNELS 6 Xposition Yposition", "CHANNELS 5 Yposition"), "frame 0"),
    "joint with positions": (
        bvh_with(
            [line + " 0 0 0" for line in FRAMES],
            head=HEAD.replace("CHANNELS 3", "CHANNELS 6 Xposition Yposition Zposition", 1),
        ),
        "HIERARCHY",
    ),
    "braces missing": (BVH.replace("}", "", 4), "HIERARCHY"),
    "channels without a number": (BVH.replace("CHANNELS 6", "CHANNELS six"), "CHANNELS"),
    "two roots": (
        bvh_with([f"{line} {line}" for line in FRAMES], head=HEAD + HEAD.removeprefix("HIERARCHY\n")),
        "HIERARCHY",
    ),
    "unknown joint names": (BVH.replace("lShin", "lowerLeft"), "joint names"),
    "no toe": (BVH.replace("JOINT lFoot", "JOINT lHoof"), "joint names"),
    "limb without length": (BVH.replace("OFFSET 0.0000 -40.0000 0.0000", "OFFSET 0 0 0"), "OFFSET"),
    "upside down": (bvh_with(inverted(FRAMES)), "posture"),
    "root in another unit": (bvh_with(far_away(FRAMES, 5000.0)), "root position"),
}


def text_lines(qpos: np.ndarray) -> list[str]:
    table = qpos.copy()
    table[:, 3:7] = qpos[:, [4, 5, 6, 3]]
    return [",".join(f"{v:.6f}" for v in row) for row in table]


QPOS = sway_qpos(40)
LINES = text_lines(QPOS)


def changed(column: int | slice, value: float, frame: int | slice = 7) -> str:
    table = QPOS.copy()
    table[:, 3:7] = QPOS[:, [4, 5, 6, 3]]
    table[frame, column] = value
    return "\n".join(",".join(f"{v:.6f}" for v in row) for row in table) + "\n"


def scaled(column: slice, factor: float) -> str:
    table = QPOS.copy()
    table[:, 3:7] = QPOS[:, [4, 5, 6, 3]]
    table[:, column] *= factor
    return "\n".join(",".join(f"{v:.6f}" for v in row) for row in table) + "\n"


BROKEN_CSV: dict[str, tuple[str | bytes, str]] = {
    "no content": ("", "file"),
    "blank lines": ("\n\n", "frames"),
    "binary": (b"\xff\xfe\x00" * 100, "encoding"),
    "header line": (",".join(f"c{i}" for i in range(36)) + "\n" + "\n".join(LINES), "line 1"),
    "too few columns": ("\n".join(line.rsplit(",", 1)[0] for line in LINES), "line 1"),
    "too many columns": ("\n".join(line + ",0" for line in LINES), "line 1"),
    "semicolons": ("\n".join(LINES).replace(",", ";"), "line 1"),
    "last line cut off": ("\n".join(LINES)[:-60], "line 40"),
    "text in a number": ("\n".join(LINES).replace(LINES[7], LINES[7][:-8] + "1.2.3"), "line 8"),
    "not a number": (changed(12, float("nan")), "frame 7"),
    "infinite": (changed(0, float("inf")), "frame 7"),
    "quaternion of length 1.6": (scaled(slice(3, 7), 1.6), "root quaternion"),
    "zero quaternion": (changed(slice(3, 7), 0.0), "root quaternion"),
    "degrees": (scaled(slice(7, 36), 57.3), "right_elbow_joint"),
    "millimetres": (scaled(slice(0, 3), 1000.0), "root height"),
    "one frame": (LINES[0] + "\n", "frames"),
    "too short": ("\n".join(LINES[:2]) + "\n", "duration"),
    "implausible speed": (
        "\n".join(f"{i * 3.0:.3f}," + line.split(",", 1)[1] for i, line in enumerate(LINES)),
        "root speed",
    ),
    "other quaternion order": (scaled(slice(0, 0), 1.0), "root quaternion order"),
}


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def tracking(**changes: np.ndarray) -> bytes:
    return npz_bytes({**tracking_arrays(QPOS, g1.BODY_NAMES, g1.JOINT_NAMES), **changes})


def without(name: str) -> bytes:
    arrays = tracking_arrays(QPOS, g1.BODY_NAMES, g1.JOINT_NAMES)
    del arrays[name]
    return npz_bytes(arrays)


def own(tmp_path: Path, **changes: object) -> bytes:
    """Return a saved clip with fields replaced."""
    clip = dataclasses.replace(clip_from_qpos("sway", QPOS, 60.0, 50.0), **changes)  # type: ignore[arg-type]
    path = tmp_path / "saved.npz"
    clip.save(path)
    data = path.read_bytes()
    path.unlink()
    return data


def headless(tmp_path: Path, missing: str) -> bytes:
    """Return a saved clip whose header lacks a field."""
    (tmp_path / "whole.npz").write_bytes(own(tmp_path))
    with np.load(tmp_path / "whole.npz") as data:
        arrays = {name: data[name] for name in data.files}
    (tmp_path / "whole.npz").unlink()
    header = json.loads(arrays["header"].tobytes())
    del header[missing]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def swapped_joints() -> np.ndarray:
    joints = QPOS[:, 7:].astype(np.float32)
    return joints[:, [*range(3, 29), 0, 1, 2]]


def with_nan(name: str) -> np.ndarray:
    array = tracking_arrays(QPOS, g1.BODY_NAMES, g1.JOINT_NAMES)[name].copy()
    array[3, 5] = np.nan
    return array


BROKEN_NPZ: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "no content": (lambda _: b"", "file"),
    "no archive": (lambda _: b"motion" * 50, "file"),
    "cut off": (lambda _: tracking()[:-3000], "file"),
    "pickled object": (lambda _: tracking(extra=np.array([{"a": 1}], dtype=object)), "pickled"),
    "pickle instead of an archive": (lambda _: pickle.dumps({"joint_pos": QPOS}), "file"),
    "another layout": (lambda _: npz_bytes({"posed_joints": np.zeros((5, 34, 3))}), "NPZ layout"),
    "no rate": (lambda _: without("fps"), "NPZ layout"),
    "rate of zero": (lambda _: tracking(fps=np.array([0.0])), "fps"),
    "two rates": (lambda _: tracking(fps=np.array([50.0, 60.0])), "fps"),
    "23 joints": (lambda _: tracking(joint_pos=np.zeros((40, 23), np.float32)), "joint_pos"),
    "14 bodies": (lambda _: tracking(body_pos_w=np.zeros((40, 14, 3), np.float32)), "body_pos_w"),
    "no frames": (
        lambda _: tracking(
            joint_pos=np.zeros((0, 29), np.float32),
            body_pos_w=np.zeros((0, 30, 3), np.float32),
            body_quat_w=np.zeros((0, 30, 4), np.float32),
        ),
        "frames",
    ),
    "not a number": (lambda _: tracking(joint_pos=with_nan("joint_pos")), "joint_pos[3, 5]"),
    "whole numbers": (lambda _: tracking(joint_pos=np.zeros((40, 29), np.int64)), "joint_pos"),
    "shuffled joints": (lambda _: tracking(joint_pos=swapped_joints()), "order of joints and bodies"),
    "another robot's links": (
        lambda _: tracking(
            body_pos_w=tracking_arrays(QPOS, g1.BODY_NAMES, g1.JOINT_NAMES)["body_pos_w"] * 1.1
        ),
        "order of joints and bodies",
    ),
    "own clip, wrong joint names": (
        lambda folder: own(folder, joint_names=("elbow", *g1.JOINT_NAMES[1:])),
        "joint_names",
    ),
    "own clip, other body order": (lambda folder: own(folder, body_names=g1.BODY_NAMES[::-1]), "body_names"),
    "own clip, links elsewhere": (
        lambda folder: own(folder, joint_pos=np.zeros((33, 29), np.float32)),
        "body_pos_w",
    ),
    "own clip, no rate": (lambda folder: own(folder, fps="fast"), "fps"),
    "own clip, a header without a rate": (lambda folder: headless(folder, "fps"), "KeyError('fps')"),
    "own clip, a header without joints": (lambda folder: headless(folder, "joint_names"), "file"),
    "header is no text": (lambda _: tracking(header=np.zeros(4)), "file"),
}


def refuse(path: Path, field: str, facts: MotionFacts = FACTS) -> MotionError:
    """Import a broken file; check that the error names file and field, and that nothing was written."""
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")}
    with pytest.raises(MotionError) as caught:
        import_motion(path, name="broken", facts=facts, preset=quick())
    message = str(caught.value)
    assert str(path) in message
    assert field in message
    assert ": found " in message
    assert ", expected " in message
    assert "\n" not in message.strip()
    assert {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")} == before
    return caught.value


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_unbroken_originals_are_accepted(tmp_path: Path) -> None:
    files = {"a.bvh": BVH, "b.csv": "\n".join(LINES), "c.npz": tracking(), "d.npz": own(tmp_path)}
    for name, content in files.items():
        clip = import_motion(put(tmp_path / name, content), name=name, facts=FACTS, preset=quick())
        assert clip.num_frames > 10


@pytest.mark.parametrize("kind", BROKEN_BVH)
def test_broken_bvh_is_refused(kind: str, tmp_path: Path) -> None:
    content, field = BROKEN_BVH[kind]
    refuse(put(tmp_path / "broken.bvh", content), field)


@pytest.mark.parametrize("kind", BROKEN_CSV)
def test_broken_csv_is_refused(kind: str, tmp_path: Path) -> None:
    content, field = BROKEN_CSV[kind]
    facts = MotionFacts(fps=60.0, quat="wxyz") if kind == "other quaternion order" else FACTS
    refuse(put(tmp_path / "broken.csv", content), field, facts)


@pytest.mark.parametrize("kind", BROKEN_NPZ)
def test_broken_npz_is_refused(kind: str, tmp_path: Path) -> None:
    make, field = BROKEN_NPZ[kind]
    refuse(put(tmp_path / "broken.npz", make(tmp_path)), field)


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("joint_pos.npy", bytes(10**7))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(npz_file, "MAX_UNPACKED", 10**6)
    refuse(path, "unpacked size")


@pytest.mark.parametrize("name", ["walk.bvh", "walk.csv", "walk.npz"])
def test_motion_longer_than_the_preset_takes_is_refused(name: str, tmp_path: Path) -> None:
    content = {"walk.bvh": BVH, "walk.csv": "\n".join(LINES), "walk.npz": tracking()}[name]
    preset = quick()
    short = dataclasses.replace(preset, quality=dataclasses.replace(preset.quality, max_seconds=0.2))
    path = put(tmp_path / name, content)
    with pytest.raises(MotionError, match=r"duration: found .* Hz\), expected 0\.04 to 0\.2 s"):
        import_motion(path, name="long", facts=FACTS, preset=short)


def test_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # sparse: takes no space
    refuse(path, "file size")


@pytest.mark.parametrize("content", [pickle.dumps([1]), b"\x93NUMPY"])
def test_npy_is_refused_with_a_reason(content: bytes, tmp_path: Path) -> None:
    error = refuse(put(tmp_path / "motion.npy", content), "format")
    assert "BVH, G1 CSV or NPZ" in str(error)


def test_folder_missing_file_and_unknown_suffix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.bvh").mkdir()
    refuse(tmp_path / "folder.bvh", "a folder")
    refuse(tmp_path / "nowhere.csv", "file")
    refuse(put(tmp_path / "motion.fbx", b"x"), "suffix")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "secret.bvh", BVH)
    path.chmod(0)
    refuse(path, "file")


def test_csv_without_rate_says_what_to_add(tmp_path: Path) -> None:
    path = put(tmp_path / "walk.csv", "\n".join(LINES))
    error = refuse(path, "fps", MotionFacts())
    assert "motions.toml" in str(error)
    assert "--fps" in str(error)


def test_a_skeleton_whose_joints_are_not_there_is_refused(tmp_path: Path) -> None:
    refuse(put(tmp_path / "walk.bvh", BVH), "joint names", MotionFacts(skeleton=LAFAN1))


def test_one_broken_file_keeps_no_other_from_being_checked(tmp_path: Path) -> None:
    put(tmp_path / "broken.bvh", HEAD)
    write_csv(tmp_path / "good.csv", sway_qpos())
    reports = check_paths([tmp_path], quick(), fps=60.0)
    assert {r["clip"]: r["accepted"] for r in reports} == {"broken": False, "good": True}
    assert "MOTION" in reports[0]["reason"]
