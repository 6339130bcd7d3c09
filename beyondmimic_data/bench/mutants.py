"""Mutants of valid files: the same seed gives the same bytes.

Half of them are damaged as disks and copies damage files: bytes flipped, cut off, cleared, swapped. The other
half are damaged with an eye on the format, so that they get past its outer checks: other values in JSON and
TOML, another header inside an archive whose checksums are right, other numbers in text.
"""

import io
import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    0.5,
    2**40,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    ".",
    "../up",
    "a\nb\x00",
    "x" * 300,
    [],
    {},
    [[None]],
    {"a": {"b": []}},
    list(range(1000)),
)
"""What takes the place of a value in JSON."""
NESTED = "[" * 20_000
"""Takes the place of a value that is nested too deeply for any parser."""
LITERALS = (
    "true",
    "-1",
    "0",
    "1e308",
    "nan",
    "inf",
    str(10**30),
    '""',
    '".."',
    '"a/b"',
    f'"{"x" * 300}"',
    '"a\\nb\\u0000"',
    "[]",
    "{}",
    "[1, 'a']",
    "1979-05-27",
    NESTED,
)
"""What takes the place of a value in TOML."""
NUMBERS = ("nan", "inf", "-1", "0", "1e308", "1e-308", "9" * 400, "", "abc", "1_0", "\u00b2", "1e999", "0x10")
"""What takes the place of a word in text files."""
SHAPES = ("(10000000000,)", "(-1,)", "(0,)", "()", "(1, 1)", f"({10**30},)", "None", "(2.5,)")
"""What takes the place of an array's shape."""
HEADER_BYTES = 128
"""Of an array of NumPy's, before its numbers."""


def mutate(name: str, data: bytes, rng: random.Random) -> bytes:
    """Return a damaged copy of a file's bytes.

    Args:
        name: of the file; its suffix decides which formats are tried.
        data: what it holds.
        rng: draws what is done.
    """
    change = _BY_FORMAT.get(PurePath(name).suffix.lower())
    if change is None or rng.random() < 0.5:
        return _bytes(data, rng)
    return change(data, rng)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut off, clear, exchange or double bytes; in long files often near the start, in headers."""
    mutant = bytearray(data)
    size = len(mutant) if rng.random() < 0.5 else min(len(mutant), 4096)
    at, other, length = rng.randrange(size), rng.randrange(size), rng.randrange(1, 1 + min(size, 512))
    kind = rng.choice(("flip", "flip", "cut", "clear", "swap", "double", "fill"))
    if kind == "flip":
        for _ in range(rng.randrange(1, 9)):
            mutant[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del mutant[at:]
    elif kind == "clear":
        del mutant[at : at + length]
    elif kind == "swap":
        first, second = bytes(mutant[at : at + length]), bytes(mutant[other : other + length])
        mutant[at : at + length] = second
        mutant[other : other + length] = first
    elif kind == "double":
        mutant[at:at] = mutant[at : at + length]
    else:
        mutant[at : at + length] = bytes([rng.choice((0, 255, 10, 34))]) * length
    return bytes(mutant)


def _json(data: bytes, rng: random.Random) -> bytes:
    """Replace, delete or add one value of a JSON document."""
    document = json.loads(data)
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return _bytes(data, rng)
    owner, key = rng.choice(places)
    kind = rng.choice(("replace", "replace", "replace", "delete", "add", "nest"))
    if kind == "delete":
        del owner[key]
    elif kind == "add" and isinstance(owner, dict):
        owner["no_such_field"] = rng.choice(VALUES)
    else:
        owner[key] = "<nested>" if kind == "nest" else rng.choice(VALUES)
    return json.dumps(document).replace('"<nested>"', NESTED).encode()


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Append every place of a document that holds a value: its container and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        places.append((value, key))
        _collect(inner, places)


def _toml(data: bytes, rng: random.Random) -> bytes:
    """Replace a value, or delete, double or move a line."""
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    kind = rng.choice(("value", "value", "value", "delete", "double", "move"))
    if kind == "value":
        at = rng.choice([i for i, line in enumerate(lines) if "=" in line] or [at])
        lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(LITERALS)}"
    elif kind == "double":
        lines.insert(at, lines[at])
    else:
        line = lines.pop(at)
        if kind == "move":
            lines.insert(rng.randrange(len(lines) + 1), line)
    return "\n".join(lines).encode()


def _text(data: bytes, rng: random.Random) -> bytes:
    """Replace, delete or double words of a text, or cut lines out of it."""
    text = data.decode()
    words = list(re.finditer(r"[^\s,]+", text))
    if rng.random() < 0.2:
        lines = text.splitlines(keepends=True)
        start = rng.randrange(len(lines))
        del lines[start : start + rng.randrange(1, 20)]
        return "".join(lines).encode()
    for word in sorted(rng.sample(words, min(len(words), rng.randrange(1, 4))), key=lambda w: -w.start()):
        new = rng.choice((*NUMBERS, "-" + word.group(), word.group() * 2, f"{word.group()} {word.group()}"))
        text = text[: word.start()] + new + text[word.end() :]
    return text.encode()


def _npz(data: bytes, rng: random.Random) -> bytes:
    """Damage one array's header or numbers, and pack the archive anew with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    member = members[name]
    kind = rng.choice(("shape", "type", "header", "numbers", "numbers", "document", "drop"))
    if kind == "shape":
        shape = rng.choice(SHAPES)
        member = re.sub(rb"'shape': \([^)]*\)", f"'shape': {shape}".encode(), member, count=1)
    elif kind == "type":
        descr = rng.choice(("|O", "<f2", "<f8", "<i8", "<U7", "|V0", "<c16", "zz", ">f4", "<M8[s]"))
        member = re.sub(rb"'descr': '[^']*'", f"'descr': '{descr}'".encode(), member, count=1)
    elif kind == "document" and member[HEADER_BYTES:].startswith(b"{"):
        text = _json(member[HEADER_BYTES:], rng)
        member = re.sub(rb"\(\d+,\)", f"({len(text)},)".encode(), member[:HEADER_BYTES]) + text
    elif kind == "numbers" and len(member) > HEADER_BYTES + 8:
        number = struct.pack("<f", rng.choice((math.nan, math.inf, -1.0, 0.0, 3e38, 1e-40, 5.0)))
        for _ in range(rng.randrange(1, 5)):
            at = HEADER_BYTES + 4 * rng.randrange((len(member) - HEADER_BYTES) // 4)
            member = member[:at] + number + member[at + 4 :]
    else:
        member = _bytes(member[:HEADER_BYTES], rng) + member[HEADER_BYTES:]
    members[name] = member
    if kind == "drop":
        del members[name]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change one value of the header, and say its length as it is then."""
    (length,) = struct.unpack("<Q", data[:8])
    header = _json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


_BY_FORMAT: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": _json,
    ".toml": _toml,
    ".bvh": _text,
    ".csv": _text,
    ".npz": _npz,
    ".safetensors": _safetensors,
}
