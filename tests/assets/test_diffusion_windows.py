"""Which episodes of a dataset a training may see."""

import types

import numpy as np
import pyarrow as pa
import pytest

from assets.diffusion_windows import choose_episodes
from beyondmimic_data.errors import StoreError


@pytest.fixture
def reader():
    """Two skills of 40 episodes each, the second one's twice as long; noise in turns."""
    episodes = pa.table(
        {
            "skill": ["stand"] * 40 + ["walk"] * 40,
            "length": [100] * 40 + [200] * 40,
            "noise_kind": ["none", "white"] * 40,
        }
    )
    return types.SimpleNamespace(
        episodes=episodes, skills=("stand", "walk"), dataset=types.SimpleNamespace(path="data/set")
    )


def test_without_a_choice_all_are_used(reader):
    assert choose_episodes(reader, None, None) is None


def test_episodes_are_chosen_by_their_noise(reader):
    chosen = choose_episodes(reader, "white", None)
    assert chosen.tolist() == [False, True] * 40
    with pytest.raises(StoreError, match=r"data/set.*'ou'"):
        choose_episodes(reader, "ou", None)


def test_hours_are_taken_from_every_skill_in_its_share(reader):
    chosen = choose_episodes(reader, None, 3000.0)  # a quarter of 12 000 rows
    assert (chosen[:40].sum(), chosen[40:].sum()) == (10, 10)
    both = choose_episodes(reader, "none", 3000.0)  # half of the 6 000 rows without noise
    assert (both[:40].sum(), both[40:].sum()) == (10, 10)
    assert not both[1::2].any()
    assert np.array_equal(choose_episodes(reader, None, 12000.0), np.ones(80, bool))
    with pytest.raises(StoreError, match=r"holds 12000 such rows, 12001 were asked for"):
        choose_episodes(reader, None, 12001.0)
