"""What counts as a motion file, limits, and the importer's version; light enough for sensors to import."""

import re

IMPORTER_VERSION = "2"
"""Raised by hand when the same file gives another clip."""

EDITS_VERSION = "1"
"""Raised by hand when a ``[[clips]]`` table makes another clip of the same motions."""

SUFFIXES = (".bvh", ".csv", ".npz", ".npy")
"""Suffixes that count as motion files; ``.npy`` only to be refused with a reason."""

REFUSED = {".npy": "an NPY holds one array without names and rate, often pickled"}
"""Suffixes of motions that are not read, and why."""

EXPECTED = "BVH, G1 CSV or NPZ"
"""What an error says is expected."""

MAX_FRAMES = 150_000
"""Frames of a motion: ten minutes, the longest clip of every preset, at 250 Hz; mocap is rarely faster."""

MAX_BYTES = {".bvh": 64 * 2**20, ".csv": 64 * 2**20, ".npz": 512 * 2**20, ".npy": 512 * 2**20}
"""Largest file of each suffix. Ten minutes at 120 Hz are 62 MB of BVH with 96 channels and nine characters a
number, and 26 MB of CSV; an NPZ of 150 000 frames is 269 MB in float32."""

MAX_TOML_BYTES = 2**20
"""Largest ``motions.toml`` or skeleton: ten thousand tables."""

MAX_KEY = 128
"""Characters of a clip's or skill's name, which becomes the name of folders and files with further letters;
Linux takes 255 in all."""

KEY_EXPECTED = f"at most {MAX_KEY} letters, digits, '_', '-', '+' and '.', no '.' in front"
"""What an error says of names."""

_KEY = re.compile(r"(?!\.)[A-Za-z0-9_.+-]+")


def is_key(name: str) -> bool:
    """Say whether a clip or skill may have a name: it becomes a partition key and the name of folders."""
    return len(name) <= MAX_KEY and _KEY.fullmatch(name) is not None
