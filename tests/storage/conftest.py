from pathlib import Path

import pytest
from stored_rollouts import build_rollouts

from storage.artifacts import Artifact, ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


@pytest.fixture
def rollouts(store: ArtifactStore) -> Artifact:
    """Whole rollouts of one skill."""
    return build_rollouts(store, "walk", "r1")
