import pytest

from beyondmimic_data.errors import StoreError
from storage.artifact_names import find_named
from storage.artifacts import Artifact, ArtifactStore


def build(store: ArtifactStore, recipe: str, content: str) -> Artifact:
    with store.build("datasets", "all", recipe) as build:
        (build.path / "content").write_text(content)
    found = store.find("datasets", "all", recipe)
    assert found is not None
    return found


def named(store: ArtifactStore, name: str) -> str:
    return find_named(store, "datasets", "all", name).recipe


def test_by_recipe_version_prefix_and_age(store: ArtifactStore) -> None:
    first, second, third = (build(store, recipe, recipe) for recipe in ("xa1", "xb2", "xb3"))
    assert named(store, "xa1") == named(store, "xa") == "xa1"
    assert named(store, second.version) == named(store, second.version[:10]) == "xb2"
    assert named(store, "latest") == third.recipe
    assert named(store, "previous") == second.recipe
    assert named(store, first.recipe) == first.recipe


def test_a_whole_name_is_not_ambiguous_with_a_longer_one(store: ArtifactStore) -> None:
    build(store, "xa", "short")
    build(store, "xab", "long")
    assert named(store, "xa") == "xa"


def test_equal_bytes_are_no_ambiguity(store: ArtifactStore) -> None:
    first, second = build(store, "xa", "same"), build(store, "xb", "same")
    assert first.version == second.version
    assert named(store, first.version) == "xb"


@pytest.mark.parametrize("name", ["nothing", "", "XA1"])
def test_an_unknown_name_says_which_there_are(name: str, store: ArtifactStore) -> None:
    build(store, "xa1", "1")
    build(store, "xb2", "2")
    with pytest.raises(StoreError, match=f"datasets '{name}': no such .* one of xa1, xb2"):
        named(store, name)


def test_an_ambiguous_name_says_what_it_may_mean(store: ArtifactStore) -> None:
    versions = [build(store, recipe, recipe).version for recipe in ("xb2", "xb3")]
    with pytest.raises(StoreError, match="datasets 'xb': several begin so: recipe xb2") as caught:
        named(store, "xb")
    assert all(version in str(caught.value) for version in versions)


def test_too_few_artifacts_are_one_clear_error(store: ArtifactStore) -> None:
    with pytest.raises(StoreError, match="holds nothing yet: run the graph first"):
        named(store, "latest")
    build(store, "xa1", "1")
    with pytest.raises(StoreError, match="there is only one, xa1"):
        named(store, "previous")
