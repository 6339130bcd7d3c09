"""Reuse or build, and what stays behind when building fails."""

import pytest

from assets.building import failure, reuse_or_build
from beyondmimic_data.errors import GateError, StoreError
from storage.artifacts import ArtifactStore


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


def test_a_complete_artifact_is_not_built_again(store):
    made = []

    def make(build):
        made.append(build)
        (build.path / "x").write_text("1")

    first = reuse_or_build(store, "motions", "a", "r", make)
    assert reuse_or_build(store, "motions", "a", "r", make) == first
    assert len(made) == 1


def test_a_failure_is_noted_and_forgotten_when_it_works(store):
    def fail(build):
        raise GateError("nobody stands")

    with pytest.raises(GateError):
        reuse_or_build(store, "motions", "a", "r", fail)
    assert failure(store, "motions", "a", "r") == "nobody stands"
    assert failure(store, "motions", "a", "other") is None
    assert store.find("motions", "a", "r") is None
    reuse_or_build(store, "motions", "a", "r", lambda build: None)
    assert failure(store, "motions", "a", "r") is None


def test_waiting_for_another_builder_is_no_failure_of_the_recipe(store):
    with store.build("motions", "a", "r"), pytest.raises(StoreError, match="another process"):
        reuse_or_build(store, "motions", "a", "r", lambda build: None)
    assert failure(store, "motions", "a", "r") is None


def test_being_stopped_is_no_failure_of_the_recipe(store):
    def stop(build):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reuse_or_build(store, "motions", "a", "r", stop)
    assert failure(store, "motions", "a", "r") is None
