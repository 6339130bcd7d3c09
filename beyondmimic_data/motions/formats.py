"""What counts as a motion file, and the importer's version; light enough for sensors to import."""

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
