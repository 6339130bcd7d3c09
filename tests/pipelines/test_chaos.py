"""A short form of ``beyondmimic chaos collect``: kills, damage, a full disk; a calm collection's bytes."""

import pytest

from pipelines import chaos


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_disturbed_collection_ends_in_a_calm_ones_bytes():
    document = chaos.chaos_collect(5, 1, print)
    kinds = {line["kind"]: line for line in document["incidents"]}
    assert document["equal"]
    assert document["each_once"]
    assert kinds.keys() | {"disk full"} == chaos.EVIDENCE.keys()
    assert "disk full" in kinds or document["skipped"]
    assert kinds["worker killed"]["times"] == 4
    assert [kind for kind, line in kinds.items() if line["silent"]] == []
    assert document["ok"]
