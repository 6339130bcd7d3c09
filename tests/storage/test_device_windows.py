"""Windows of rows on a device: values name their own episode and row, so that a shuffled index shows."""

import numpy as np
import pytest
import torch

from beyondmimic_data.errors import ConfigError, StoreError
from storage.datasets import split_episodes
from storage.device_windows import DeviceWindows

LENGTH = 5
EPISODES = {
    "walk": [(f"walk-{i}", 40 * i + 3, 20 + i) for i in range(10)],
    "stand": [(f"stand-{i}", 400 + 10 * i, 8) for i in range(4)],
    "empty": [],
}
COLUMNS = {"episode": slice(0, 1), "row": slice(1, 2)}
ROWS = 450


def made_rows(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return rows (450, 2) that hold the first row of their episode and their own; NaN between episodes."""
    rows = torch.full((ROWS, 2), float("nan"))
    for listed in EPISODES.values():
        for _, first, count in listed:
            rows[first : first + count, 0] = first
            rows[first : first + count, 1] = torch.arange(first, first + count).float()
    return rows.to(dtype)


def make(rows: torch.Tensor, weights: tuple[str, ...] = (), length: int = LENGTH) -> DeviceWindows:
    return DeviceWindows(
        rows, COLUMNS, EPISODES, length, validation_fraction=0.3, split_seed=1, skill_weights=weights
    )


def firsts(split: str) -> set[int]:
    """Return the first rows of the episodes of a split."""
    found = set()
    for listed in EPISODES.values():
        sides = split_episodes([name for name, _, _ in listed], 0.3, 1)
        found |= {first for (_, first, _), side in zip(listed, sides) if side == split}
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_windows_are_consecutive_rows_of_one_episode_of_their_split(dtype) -> None:
    windows, rng = make(made_rows(dtype)), np.random.default_rng(0)
    for split in ("train", "validation"):
        drawn = windows.sample(split, 4000, rng)
        assert drawn.shape == (4000, LENGTH, 2)
        assert drawn.dtype == torch.float32
        episode, row = drawn[..., 0], drawn[..., 1]
        assert (episode == episode[:, :1]).all()
        assert (row.diff(dim=1) == 1).all()
        assert set(episode[:, 0].int().tolist()) == firsts(split)
        starts = row[:, 0].unique()
        # Every place where a window fits was drawn, and no other.
        expected = sum(
            count - LENGTH + 1
            for listed in EPISODES.values()
            for _, first, count in listed
            if first in firsts(split)
        )
        assert len(starts) == windows.num_windows(split) == expected


def test_weights_decide_how_often_skills_are_drawn() -> None:
    windows = make(made_rows(), ("walk=1", "stand=3"))
    drawn = windows.sample("train", 8000, np.random.default_rng(0))[:, 0, 0]
    assert float((drawn >= 400).float().mean()) == pytest.approx(0.75, abs=0.02)
    only = make(made_rows(), ("walk=0",)).sample("train", 500, np.random.default_rng(0))
    assert (only[:, 0, 0] >= 400).all()
    assert make(made_rows(), ("walk=0",)).num_windows("validation") == make(made_rows()).num_windows(
        "validation"
    )
    with pytest.raises(ConfigError, match="skill_weights"):
        make(made_rows(), ("run=1",))


def test_a_weight_of_a_synthesised_skill_that_did_not_pass_is_no_error() -> None:
    equal, absent = (make(made_rows(), weights) for weights in (("walk=1",), ("synth__stand=0.1",)))
    assert absent.num_windows("train") == equal.num_windows("train")


def test_equal_seeds_draw_equal_windows() -> None:
    one, other = (make(made_rows()).sample("train", 64, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one, other)


def test_a_value_that_is_not_finite_is_named() -> None:
    rows = made_rows()
    assert make(rows).known_finite
    rows[405, 1] = float("inf")
    with pytest.raises(StoreError, match="stand-0"):
        make(rows)


def test_episodes_shorter_than_a_window_have_none() -> None:
    windows = make(made_rows(), length=100)
    assert windows.num_windows("train") == windows.num_windows("validation") == 0
