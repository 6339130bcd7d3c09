import contextlib

import pytest
from stored_rollouts import tree_bytes

from beyondmimic_data.errors import StoreError
from storage.artifacts import Artifact, ArtifactStore, describe
from storage.garbage import find_garbage, newest, remove_garbage


def make(store: ArtifactStore, kind: str, key: str, recipe: str, *parents: Artifact) -> Artifact:
    with store.build(kind, key, recipe) as build:
        (build.path / "content.bin").write_bytes(f"{kind} {key} {recipe}".encode())
        build.meta["parents"] = [describe(parent) for parent in parents]
    artifact = store.find(kind, key, recipe)
    assert artifact is not None
    return artifact


def names(artifacts: tuple[Artifact, ...]) -> list[str]:
    return sorted(f"{a.kind}/{a.key}/{a.recipe}" for a in artifacts)


@pytest.fixture
def dataset(store: ArtifactStore) -> Artifact:
    """Return the newest dataset: it refers to an older walk, by way of rollouts, than there is."""
    walks = [make(store, "policies", "walk", f"p{n}") for n in range(3)]
    rollouts = [make(store, "rollouts", "walk", f"r{n}", walks[n]) for n in range(2)]
    run = make(store, "rollouts", "run", "r0", make(store, "policies", "run", "p0"))
    make(store, "datasets", "all", "d0", rollouts[0], run)
    return make(store, "datasets", "all", "d1", rollouts[1], run)


def test_what_no_kept_artifact_refers_to_is_garbage(store: ArtifactStore, dataset: Artifact) -> None:
    garbage = find_garbage(store, [dataset])
    assert names(garbage.artifacts) == [
        "datasets/all/d0",
        "policies/walk/p0",
        "policies/walk/p2",
        "rollouts/walk/r0",
    ]
    assert garbage.bytes == sum(len(d) for a in garbage.artifacts for d in tree_bytes(a.path).values())
    assert names(find_garbage(store, newest(store)).artifacts) == [
        "datasets/all/d0",
        "policies/walk/p0",
        "rollouts/walk/r0",
    ]


def test_listing_removes_nothing_and_removing_leaves_what_is_kept(
    store: ArtifactStore, dataset: Artifact
) -> None:
    before = tree_bytes(store.root)
    garbage = find_garbage(store, [dataset])
    assert tree_bytes(store.root) == before
    removed = remove_garbage(store, garbage)
    assert sorted(removed) == sorted(artifact.path for artifact in garbage.artifacts)
    gone = tuple(f"{artifact.path.relative_to(store.root)}/" for artifact in garbage.artifacts)
    assert tree_bytes(store.root) == {
        name: data for name, data in before.items() if not name.startswith(gone)
    }
    assert find_garbage(store, [dataset]).artifacts == ()


def test_interrupted_builds_go_only_where_asked_and_not_under_a_builder(
    store: ArtifactStore, dataset: Artifact
) -> None:
    with contextlib.suppress(RuntimeError), store.build("policies", "walk", "p9") as build:
        (build.path / "half.bin").write_bytes(b"half")
        raise RuntimeError
    assert find_garbage(store, newest(store)).partials == ()
    with store.build("policies", "walk", "p8"):
        garbage = find_garbage(store, newest(store), partials=True)
        assert [p.name for p in garbage.partials] == ["p8.partial", "p9.partial"]
        removed = remove_garbage(store, garbage)
        assert [p.name for p in removed if p.suffix == ".partial"] == ["p9.partial"]
    assert store.find("policies", "walk", "p8") is not None


def test_nothing_goes_while_an_artifact_does_not_say_what_it_needs(
    store: ArtifactStore, dataset: Artifact
) -> None:
    with store.build("datasets", "all", "d2") as build:
        build.meta["parents"] = "rollouts r1"
    with pytest.raises(StoreError, match=r"d2/manifest.json: meta\.parents: found 'rollouts r1'"):
        find_garbage(store, newest(store))
