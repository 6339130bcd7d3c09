"""Motion files made to crash, fill or outlast their reader: refused in one line, before much is read."""

import io
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from motion_samples import squat_bvh, sway_qpos, tracking_arrays, write_csv
from numpy.lib import format as npy

from beyondmimic_data.config import quick
from beyondmimic_data.errors import BeyondMimicError, MotionError
from beyondmimic_data.motions import bvh_motion, csv_motion, npz_file
from beyondmimic_data.motions import check as check_module
from beyondmimic_data.motions.check import check_paths
from beyondmimic_data.motions.clip import Clip, clip_from_qpos
from beyondmimic_data.motions.folder import scan
from beyondmimic_data.motions.formats import MAX_BYTES, MAX_FRAMES
from beyondmimic_data.motions.importer import import_motion
from beyondmimic_data.motions.motion_config import MotionFacts
from beyondmimic_data.robots import g1

QPOS = sway_qpos(30)
ARRAYS = tracking_arrays(QPOS, g1.BODY_NAMES, g1.JOINT_NAMES)


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def encoded(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    npy.write_array(stream, array)
    return stream.getvalue()


def headed(header: str, data: bytes = b"") -> bytes:
    """Return an array's bytes with a header of one's own."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def members(**changes: bytes) -> dict[str, bytes]:
    return {f"{name}.npy": encoded(array) for name, array in ARRAYS.items()} | {
        f"{name}.npy": data for name, data in changes.items()
    }


def shaped(shape: str, descr: str = "'<f4'", data: bytes = b"") -> dict[str, bytes]:
    return members(joint_pos=headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data))


def declaring(size: int) -> bytes:
    """Return an archive whose directory declares another size of its first member."""
    data = bytearray(packed(members()))
    first = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, first + 24, size)
    return bytes(data)


HOSTILE_NPZ: dict[str, Callable[[], bytes]] = {
    "a shape of terabytes": lambda: packed(shaped("(10000000000, 29)")),
    "a shape of more than fits an integer": lambda: packed(shaped(f"({10**30},)")),
    "a negative length": lambda: packed(shaped("(-1, 29)", data=bytes(400))),
    "a shape that is none": lambda: packed(shaped("'abc'")),
    "a length that is no number": lambda: packed(shaped("(1.5, 29)")),
    "true as a length": lambda: packed(shaped("(True, 29)")),
    "a type that is none": lambda: packed(shaped("(1, 29)", "'zz'")),
    "a type of objects": lambda: packed(shaped("(1, 29)", "'|O'")),
    "a type without size": lambda: packed(shaped(f"({10**12}, 29)", "'|V0'")),
    "a type of many fields": lambda: packed(shaped("(2, 29)", "[('a', '<f4'), ('b', '<f4')]", bytes(464))),
    "text for numbers": lambda: packed(shaped("(30, 29)", "'<U1'", bytes(30 * 29 * 4))),
    "a header that is no Python": lambda: packed(members(joint_pos=headed("{'descr': (")), 0),
    "a header of brackets": lambda: packed(members(joint_pos=headed("(" * 9000))),
    "a header that is long": lambda: packed(members(joint_pos=headed(" " * 60000))),
    "a header of four gigabytes": lambda: packed(members(joint_pos=b"\x93NUMPY\x02\x00" + b"\xff" * 4)),
    "another version": lambda: packed(members(joint_pos=b"\x93NUMPY\x09\x00" + bytes(200))),
    "less data than its shape": lambda: packed(shaped("(30, 29)", data=bytes(100))),
    "more data than its shape": lambda: packed(shaped("(30, 29)", data=bytes(30 * 29 * 4 + 1))),
    "a declared size of four gigabytes": lambda: declaring(2**32 - 2),
    "a declared size that is small": lambda: declaring(10),
    "too many members": lambda: packed(members() | {f"x{i}.npy": encoded(np.zeros(1)) for i in range(64)}),
    "a member that is no array": lambda: packed(members() | {"notes.txt": b"hello"}),
    "another compression": lambda: packed(members(), zipfile.ZIP_LZMA),
    "a member twice": lambda: packed(members() | {"joint_poz.npy": members()["joint_pos.npy"]}).replace(
        b"joint_poz", b"joint_pos"
    ),
    "more frames than any motion": lambda: packed(
        {f"{n}.npy": encoded(np.zeros((MAX_FRAMES + 1, *a.shape[1:]), "f2")) for n, a in ARRAYS.items()}
        | {"fps.npy": encoded(np.array([1000.0]))}
    ),
    "a header of JSON brackets": lambda: packed(
        members() | {"header.npy": encoded(np.frombuffer(b"[" * 10**6, np.uint8))}
    ),
    "a header of megabytes": lambda: packed(members() | {"header.npy": encoded(np.zeros(2**21, np.uint8))}),
}


def refused(path: Path, content: bytes) -> MotionError:
    path.write_bytes(content)
    facts = MotionFacts(fps=60.0, quat="xyzw")
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MotionError) as caught:
        import_motion(path, name="hostile", facts=facts, preset=quick())
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1500
    assert str(path) in message
    return caught.value


def test_the_original_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    path.write_bytes(packed(members()))
    clip = import_motion(path, name="good", facts=MotionFacts(), preset=quick())
    assert clip.num_frames == 25


@pytest.mark.parametrize("kind", HOSTILE_NPZ)
def test_hostile_npz_is_refused_before_it_is_unpacked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = HOSTILE_NPZ[kind]()
    read, unpacked = npy.read_array, []

    def counted(stream: object, **options: object) -> np.ndarray:
        array = read(stream, **options)  # type: ignore[arg-type]
        unpacked.append(array.nbytes)
        return array

    monkeypatch.setattr(npz_file.npy, "read_array", counted)
    refused(tmp_path / "hostile.npz", content)
    assert sum(unpacked) < 2**21


def test_a_megabyte_that_unpacks_to_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    """580 MB of zeros in a file of half a megabyte."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members().items():
            if name == "joint_pos.npy":
                with archive.open(name, "w", force_zip64=True) as stream:
                    npy.write_array_header_1_0(
                        stream, {"descr": "<f8", "fortran_order": False, "shape": (2_500_000, 29)}
                    )
                    for _ in range(145):
                        stream.write(bytes(4_000_000))
            else:
                archive.writestr(name, data)
    content = path.read_bytes()
    assert len(content) < 2**20
    assert refused(path, content).field == "unpacked size"


def mutant(content: bytes, rng: random.Random) -> bytes:
    """Flip bytes, cut off, exchange or clear ranges."""
    data = bytearray(content)
    kind, at = rng.randrange(4), rng.randrange(len(data))
    if kind == 0:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        length = rng.randrange(1, 200)
        other = rng.randrange(len(data))
        data[at : at + length], data[other : other + length] = (
            data[other : other + length],
            data[at : at + length],
        )
    else:
        data[at : at + rng.randrange(1, 500)] = bytes(rng.randrange(0, 500))
    return bytes(data)


def repacked(rng: random.Random) -> bytes:
    """Return an archive whose checksums are right and one of whose arrays is damaged, mostly its header."""
    parts = members()
    name = rng.choice(sorted(parts))
    head, rest = parts[name][:128], parts[name][128:]
    parts[name] = mutant(head, rng) + rest if rng.random() < 0.8 else mutant(parts[name], rng)
    return packed(parts, zipfile.ZIP_STORED)


@pytest.mark.parametrize("made", ["bytes", "arrays", "own clip"])
def test_damaged_npz_is_refused_or_accepted_never_a_traceback(made: str, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    clip_from_qpos("own", QPOS, 60.0, 50.0).save(path)
    own, whole = path.read_bytes(), packed(members(), zipfile.ZIP_STORED)
    rng, accepted = random.Random(made), 0
    errors: list[str] = []

    def imported() -> Clip:
        return import_motion(path, name="x", facts=MotionFacts(), preset=quick())

    for _ in range(150):
        data = repacked(rng) if made == "arrays" else mutant(own if made == "own clip" else whole, rng)
        path.write_bytes(data)
        for read in (imported, lambda: Clip.load(path)):
            try:
                read()
                accepted += 1
            except BeyondMimicError as error:
                errors.append(str(error))
    assert len(errors) > 100
    assert len(errors) + accepted == 300
    assert all(map(str.isprintable, errors))


def test_bvh_of_too_many_bytes_or_values_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.bvh"
    path.write_text(squat_bvh(0.3))
    with path.open("ab") as stream:
        stream.truncate(MAX_BYTES[".bvh"] + 1)
    with pytest.raises(MotionError, match="file size"):
        import_motion(path, name="x", facts=MotionFacts(), preset=quick())
    assert [e.field for e in scan(tmp_path).errors] == ["file size"]
    monkeypatch.setattr(bvh_motion.pybvh, "read_bvh_file", lambda *_, **__: pytest.fail("was parsed"))
    text = squat_bvh(0.3)
    hostile = {
        "more values than declared": text.replace("Frames: 31", "Frames: 149999"),
        "more lines than declared": text.replace("Frames: 31", "Frames: 5"),
        "a thousand channels": text.replace("CHANNELS 3", "CHANNELS 1000", 1),
        "channels of another script": text.replace("CHANNELS 3", "CHANNELS ³", 1),
        "end sites": text.replace("MOTION", "End Site { OFFSET 0 0 0 } " * 2000 + "MOTION", 1),
        "a long hierarchy": text.replace("MOTION", " " * 2**20 + "MOTION", 1),
        "joints": text.replace("MOTION", "CHANNELS 3 " * 600 + "MOTION", 1),
        "not a number of frames": text.replace("Frames: 31", "Frames: nan"),
        "a fraction of a frame": text.replace("Frames: 31", "Frames: 30.5"),
        "infinite frames": text.replace("Frames: 31", "Frames: inf"),
        "a long line": text.rstrip() + " 0" * 10**6,
        "blank lines": text.replace("Frames: 31", "\n" * 10**6 + "Frames: 32"),
    }
    for content in hostile.values():
        refused(tmp_path / "hostile.bvh", content.encode())


def test_csv_of_too_many_bytes_lines_or_values_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", QPOS)
    line = path.read_text().splitlines()[0]
    hostile = {
        "commas": "," * 10**7,
        "blank lines": "\n" * 10**6,
        "more lines than any motion": (line + "\n") * (MAX_FRAMES + 1),
        "long digits": line.replace("0.", "9" * 5000 + ".", 1),
        "a number beyond all": line.rpartition(",")[0] + ",1e999\n",
    }
    for content in hostile.values():
        refused(path, content.encode())
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES[".csv"] + 1)
    with pytest.raises(MotionError, match="file size"):
        import_motion(path, name="x", facts=MotionFacts(), preset=quick())


def test_a_defect_of_the_reader_takes_no_other_verdict_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path / name, sway_qpos())
    whole = check_module.make_clip

    def broken(source: object, preset: object) -> Clip:
        if source.name == "a":  # type: ignore[attr-defined]
            raise AttributeError("inside")
        return whole(source, preset)  # type: ignore[arg-type]

    monkeypatch.setattr(check_module, "make_clip", broken)
    reports = check_paths([tmp_path], quick(), fps=60.0)
    assert {r["clip"]: r["accepted"] for r in reports} == {"a": False, "b": True}
    assert "AttributeError: inside" in reports[0]["reason"]


def test_a_broken_table_above_one_file_takes_no_other_verdict_along(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "motions.toml").write_text("[[files]\n")
    files = [write_csv(tmp_path / "bad" / "a.csv", QPOS), write_csv(tmp_path / "b.csv", sway_qpos())]
    reports = check_paths(files, quick(), fps=60.0)
    assert sorted((r["clip"], r["accepted"]) for r in reports) == [("b", True), ("motions.toml", False)]


def test_lines_end_as_they_do_elsewhere(tmp_path: Path) -> None:
    """Windows' and old Macs' line ends, and none at the end."""
    text = write_csv(tmp_path / "a.csv", QPOS).read_text()
    for end in ("\r\n", "\r"):
        path = tmp_path / "b.csv"
        path.write_bytes(text.strip().replace("\n", end).encode())
        table, _, _ = csv_motion.read_csv(path, 60.0, "xyzw")
        np.testing.assert_allclose(table, QPOS, atol=1e-6)
