"""The G1 as a USD file for Isaac Lab: our own specification -> MJCF -> USD, in a cache folder.

``make isaaclab`` runs it, as ``python -m beyondmimic_data.robots.g1_usd`` in the converter's environment.
"""

import hashlib
import logging
import tempfile
from pathlib import Path

from beyondmimic_data.errors import MissingToolError
from beyondmimic_data.robots import g1, g1_facts

log = logging.getLogger(__name__)

CACHE = Path(__file__).parents[2] / ".usd"
"""Where converted robots are kept; not committed."""
FEET: g1.Feet = "spheres"
"""Sole shapes of the converted robot: those of the MuJoCo back end's default."""


def fingerprint() -> str:
    """Hash what decides the converted robot: the sources of its facts, its specification and this step."""
    digest = hashlib.sha256()
    for source in (g1_facts.__file__, g1.__file__, __file__):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def cached() -> Path:
    """Return the USD file of the robot as it is now.

    Raises:
        MissingToolError: it was never converted, or the robot has changed since.
    """
    path = CACHE / f"g1_{fingerprint()}.usdc"
    if not path.exists():
        raise MissingToolError(f"{path} is missing: 'make isaaclab' converts the robot as it is now")
    return path


def mjcf() -> str:
    """Return the robot as MJCF: links, joints and collision shapes.

    Floor and servos are the simulator's to add; sensors and key poses have no counterpart in USD.
    """
    spec = g1.build_spec(FEET, floor=False, actuators=False, contact_sensors=False)
    spec.compile()
    return str(spec.to_xml())


def convert() -> Path:
    """Convert the robot unless the cache has it, and return its USD file."""
    path = CACHE / f"g1_{fingerprint()}.usdc"
    if path.exists():
        return path
    import mujoco_usd_converter

    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        source = Path(folder, "g1.xml")
        source.write_text(mjcf())
        # One flat file: layers would refer to each other by paths inside the temporary folder.
        converter = mujoco_usd_converter.Converter(layer_structure=False, scene=False)
        Path(converter.convert(str(source), folder).path).replace(path)
    return path


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("the robot is at %s", convert())
