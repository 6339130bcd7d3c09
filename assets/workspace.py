"""What every builder works with: where artifacts and motions are, and every number."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from beyondmimic_data.config import Preset, get_preset
from beyondmimic_data.errors import ConfigError
from beyondmimic_data.files import read_json, write_json
from beyondmimic_data.motions.folder import FolderScan, HashCache, scan
from beyondmimic_data.overrides import differences, with_overrides
from storage.artifacts import ArtifactStore

ROOT_VARIABLE = "BEYONDMIMIC_DATA"
SETTINGS = "workspace.json"
HASHES = "motion_hashes.json"
DEFAULT_PRESET = "quick"
EXPECTED = "a JSON object; remove the file to start from defaults"


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Artifacts, motions and numbers of one run."""

    root: Path
    """Root of the artifact store."""
    motion_folder: Path
    """Motions are what lies in it."""
    preset: Preset
    """Every number."""

    @functools.cached_property
    def motions(self) -> FolderScan:
        """What the motion folder held when it was first asked for; one run sees one state of it."""
        return self.scan()

    def scan(self) -> FolderScan:
        """Look at the motion folder now; files whose size and time stayed are not read again."""
        return scan(self.motion_folder, HashCache(self.root / HASHES))

    @functools.cached_property
    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.root)


def default_root() -> Path:
    """Return the data root: ``BEYONDMIMIC_DATA``, or ``data`` beside the packages."""
    return Path(os.environ.get(ROOT_VARIABLE) or Path(__file__).parents[1] / "data").absolute()


def open_workspace(
    root: Path | None = None,
    motion_folder: Path | None = None,
    preset: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Workspace:
    """Open a workspace; what is not given comes from its remembered settings, then from the defaults.

    Args:
        root: data root.
        motion_folder: folder with motions; ``<root>/motion_folder`` by default.
        preset: name of a preset.
        overrides: changes to it by dotted field name; remembered ones hold for the remembered preset only.

    Raises:
        ConfigError: no such preset or field, or settings that cannot be read.
    """
    root = (root or default_root()).absolute()
    remembered = _read_settings(root / SETTINGS)
    name = preset or remembered.get("preset", DEFAULT_PRESET)
    base = get_preset(name)
    if preset is None:
        base = with_overrides(base, remembered.get("overrides", {}))
    return Workspace(
        root=root,
        motion_folder=(motion_folder or root / "motion_folder").absolute(),
        preset=with_overrides(base, overrides or {}),
    )


def remember(workspace: Workspace) -> None:
    """Write the workspace's preset and overrides beside its data, so that the next process uses the same."""
    preset = workspace.preset
    changes = differences(get_preset(preset.name), preset)
    write_json(workspace.root / SETTINGS, {"preset": preset.name, "overrides": changes})


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        settings = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), str(error), EXPECTED) from error
    if not isinstance(settings, dict):
        raise ConfigError(str(path), type(settings).__name__, EXPECTED)
    return settings
