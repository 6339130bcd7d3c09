"""Which policy is the student of a collection, and in which units it takes part."""

from pathlib import Path

from beyondmimic_data.config import RolloutConfig
from beyondmimic_data.diffusion.policy_files import WEIGHTS
from beyondmimic_data.diffusion.shipped import FOLDER
from beyondmimic_data.errors import ConfigError


def student_folder(config: RolloutConfig) -> Path | None:
    """Return the folder of the policy that drives in bursts, or ``None`` if none does.

    Raises:
        ConfigError: it is no folder of a policy.
    """
    if config.student is None or config.student_share == 0:
        return None
    folder = FOLDER if config.student == "shipped" else Path(config.student)
    if not (folder / WEIGHTS).is_file():
        expected = f"shipped, or the folder of a diffusion policy, with {WEIGHTS}"
        raise ConfigError("rollouts.student", config.student, expected)
    return folder


def is_student_unit(config: RolloutConfig, unit: int) -> bool:
    """Tell whether the student takes part in a unit; any stretch of units has about its share of them."""
    if config.student is None:
        return False
    return int((unit + 1) * config.student_share) > int(unit * config.student_share)
