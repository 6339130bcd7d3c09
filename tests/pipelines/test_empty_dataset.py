"""Nothing that may teach is one clear failed check, and nothing is trained on nothing."""

import dagster as dg

from assets.dataset import dataset, not_empty
from assets.diffusion_policy import diffusion_policy
from beyondmimic_data.cluster import Cluster


def test_an_empty_dataset_fails_its_check_and_stops_the_graph(stage):
    stage.motion_file("weak.csv", "1")
    stage.finish_skill("weak", completion=0.4)
    stage.motion_file("bad.csv", "2")
    stage.import_motion("bad", accepted=False)
    result = dg.materialize(
        [dataset, not_empty, diffusion_policy],
        instance=stage.instance,
        resources={
            "workspace": dg.ResourceDefinition.hardcoded_resource(stage.workspace),
            "cluster": dg.ResourceDefinition.hardcoded_resource(Cluster()),
        },
        raise_on_error=False,
    )
    assert not result.success
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert (
        "weak: its policy fails its gate: 40% of 100 starts complete, 90% required" in evaluation.description
    )
    assert "bad: its motion is refused: bad: it floats" in evaluation.description
    assert not result.asset_materializations_for_node("diffusion_policy")
    assert stage.workspace.store.list("diffusion", "all") == []
    assert stage.workspace.store.list("datasets", "all") == []
