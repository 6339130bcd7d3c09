"""The two halves of the graph as jobs."""

import dagster as dg

from assets.partitions import skills

TRAINING_ASSETS = ("motion", "tracking_policy")
SKILL_ASSETS = (*TRAINING_ASSETS, "rollouts")
COMBINED_ASSETS = ("dataset", "diffusion_policy", "closed_loop_report", "deployment_bundle")

skill_pipeline = dg.define_asset_job(
    "skill_pipeline",
    selection=dg.AssetSelection.assets(*SKILL_ASSETS),
    partitions_def=skills,
    description="One skill: its clips, its policy and its rollouts.",
)
combined_pipeline = dg.define_asset_job(
    "combined_pipeline",
    selection=dg.AssetSelection.assets(*COMBINED_ASSETS),
    description="What all skills share: dataset, diffusion policy, closed-loop report, deployment bundle.",
)
