"""Reading a dataset version: the rollouts of several skills as one range of rows, joined by episode ids."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from beyondmimic_data.errors import StoreError
from storage import layout
from storage.artifacts import Artifact, ArtifactStore
from storage.datasets import TRAIN, VALIDATION, read_dataset
from storage.episode_index import check_places, join_tables, read_episodes
from storage.integrity import check_opened
from storage.mapping import populate
from storage.step_array import load_rows, read_array_info
from storage.windows import as_tensor, gather_windows, window_starts

if TYPE_CHECKING:
    import torch


class DatasetReader:
    """Random access to all steps of a dataset; its rows number through the skills in their order."""

    def __init__(self, dataset: Artifact) -> None:
        """Open a dataset and the rollouts it names.

        Raises:
            StoreError: rollouts are gone, of another version, or lack an episode that the dataset lists.
        """
        self.dataset = dataset
        self.description = read_dataset(dataset.path)
        rollouts = find_rollouts(dataset, self.description)
        self.skills: tuple[str, ...] = tuple(rollouts)
        infos = [read_array_info(artifact.path) for artifact in rollouts.values()]
        self.schema = infos[0].schema
        """Columns; ``clip_names`` are those of the first skill, see ``clip_names`` for the others."""
        self.clip_names = {s: info.schema.clip_names for s, info in zip(self.skills, infos, strict=True)}
        """Clips of each skill, which its ``clip_id`` counts into."""
        self.arrays = infos
        """Where the rows of each skill are stored."""
        rows, self.mapped = load_rows(infos)
        self.rows = rows
        """(R, C) read-only rows of all skills."""
        self._steps = as_tensor(rows)
        offsets = np.cumsum([0, *(info.padded_rows for info in infos)])
        self.skill_offsets = offsets[:-1]
        """(S,) first row of each skill."""
        placed = place_episodes(dataset, self.description, rollouts).values()
        self.episodes = join_tables(
            [
                _with_column(part, "first_row", part["start_row"].to_numpy() + offset)
                for part, offset in zip(placed, self.skill_offsets.tolist(), strict=True)
            ]
        )
        """The dataset's episode index, with ``first_row``: where the episode begins in ``rows``."""

    def window_starts(
        self,
        length: int,
        split: str | None = None,
        skills: Sequence[str] | None = None,
        episodes: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return every row where ``length`` rows of one episode begin.

        Args:
            length: rows of a window.
            split: ``train`` or ``validation``, both by default.
            skills: only these, all by default.
            episodes: (E,) bool, only these of the dataset's index, all by default.

        Returns:
            (W,) int64.
        """
        keep = np.ones(self.episodes.num_rows, bool) if episodes is None else np.array(episodes, bool)
        for column, wanted, allowed in (
            ("split", None if split is None else [split], (TRAIN, VALIDATION)),
            ("skill", skills, self.skills),
        ):
            if wanted is None:
                continue
            if not set(wanted) <= set(allowed):
                raise StoreError(f"{column}: found {list(wanted)}, expected some of {', '.join(allowed)}")
            keep &= np.isin(np.array(self.episodes[column].to_pylist(), dtype=str), list(wanted))
        first_rows, lengths = (self.episodes[name].to_numpy()[keep] for name in ("first_row", "length"))
        return window_starts(first_rows, lengths, length)

    def gather(
        self, starts: "torch.Tensor | np.ndarray", length: int, out: "torch.Tensor | None" = None
    ) -> "torch.Tensor":
        """Return windows (N, length, C) float32 that begin at the given rows.

        Args:
            starts: (N,) int64, of ``window_starts``; other rows may cross an episode's end.
            length: rows of a window.
            out: (N, length, C) float32 to write into; giving the same again is faster.
        """
        return gather_windows(self._steps, starts, length, out)

    def skill_index(self, starts: np.ndarray) -> np.ndarray:
        """Return (N,) the index into ``skills`` of the rows given."""
        return np.searchsorted(self.skill_offsets, starts, side="right") - 1

    def warm(self) -> None:
        """Read all chunks into the page cache; worth it where they fit into memory."""
        if self.mapped:
            populate(self.rows)


def find_rollouts(
    dataset: Artifact, description: Mapping[str, Any], skills: Collection[str] | None = None
) -> dict[str, Artifact]:
    """Return the rollouts that a dataset names, by skill, in its order; all are compared with manifests.

    Args:
        dataset: a dataset's artifact.
        description: its ``dataset.json``.
        skills: only these, all by default.

    Raises:
        StoreError: rollouts are gone, or of another version, or files of theirs or of the dataset are missing
            or changed (``integrity.check_opened``).
    """
    check_opened(dataset.path)
    store = ArtifactStore(dataset.root)
    return {
        entry["skill"]: _find(store, entry["rollouts"])
        for entry in description["skills"]
        if skills is None or entry["skill"] in skills
    }


def place_episodes(
    dataset: Artifact, description: Mapping[str, Any], rollouts: Mapping[str, Artifact]
) -> dict[str, pa.Table]:
    """Place the episodes of skills: by id in their rollouts' own indexes, never by position.

    Returns:
        The dataset's index by skill; ``start_row`` and ``length`` are rows of that skill's rollouts.

    Raises:
        StoreError: rollouts lack an episode that the dataset lists, or it lists one of a skill that it does
            not name.
    """
    listed = read_episodes(dataset.path / layout.EPISODES)
    sides = set(listed["split"].to_pylist()) if "split" in listed.column_names else {None}
    if not sides <= {TRAIN, VALIDATION}:
        raise StoreError(f"{dataset.path}: its index has no split of {TRAIN} and {VALIDATION}; make it again")
    twice = listed.num_rows - len(set(zip(listed["skill"].to_pylist(), listed["episode_id"].to_pylist())))
    if twice:
        raise StoreError(f"{dataset.path}: {twice} episodes of its index come more than once; make it again")
    skills = np.array(listed["skill"].to_pylist(), dtype=str)
    strangers = sorted(set(skills.tolist()) - {entry["skill"] for entry in description["skills"]})
    if strangers:
        raise StoreError(f"{dataset.path}: its index has skills that it does not name: {strangers}")
    return {
        skill: _placed(dataset, artifact, listed.filter(pa.array(skills == skill)))
        for skill, artifact in rollouts.items()
    }


def _placed(dataset: Artifact, rollouts: Artifact, part: pa.Table) -> pa.Table:
    columns = ("episode_id", "unit", "start_row", "length")
    index = rollouts.path / layout.EPISODES
    table = read_episodes(index, columns=columns)
    check_places(index, table, read_array_info(rollouts.path).num_rows)
    stored = table.to_pydict()
    place = dict(zip(stored["episode_id"], zip(stored["start_row"], stored["length"]), strict=True))
    ids = part["episode_id"].to_pylist()
    lost = [episode for episode in ids if episode not in place]
    if lost:
        raise StoreError(
            f"{dataset.path}: {len(lost)} episodes, such as {lost[0]!r}, "
            f"are not in {rollouts.path}; make the dataset again"
        )
    starts, lengths = np.array([place[i] for i in ids], np.int64).reshape(-1, 2).T
    return _with_column(_with_column(part, "start_row", starts), "length", lengths)


def _with_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, pa.array(values))
    return table.append_column(name, pa.array(values))


def _find(store: ArtifactStore, parent: dict[str, str]) -> Artifact:
    artifact = store.find(parent["kind"], parent["key"], parent["recipe"])
    if artifact is None:
        folder = store.folder(parent["kind"], parent["key"], parent["recipe"])
        raise StoreError(f"{folder}: missing; collect it again, or make a new dataset without it")
    if artifact.version != parent["version"]:
        raise StoreError(
            f"{artifact.path}: version: found {artifact.version}, expected {parent['version']}; "
            "make the dataset again"
        )
    check_opened(artifact.path)
    return artifact
