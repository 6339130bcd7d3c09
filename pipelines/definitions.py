"""All definitions, merged. Nothing heavy is imported here: torch, Ray, Zarr, MuJoCo load when needed."""

import dagster as dg

import assets
from pipelines import measured
from pipelines.automation import automation, with_condition
from pipelines.jobs import combined_pipeline, skill_pipeline
from pipelines.resources import RayCluster, WorkspaceResource
from pipelines.schedules import weekly_retraining
from pipelines.sensors import motion_folder, reconcile


@dg.definitions
def defs() -> dg.Definitions:
    """Return everything that Dagster should know."""
    loaded = dg.load_assets_from_package_module(assets)
    stages = [stage for stage in loaded if isinstance(stage, dg.AssetsDefinition)]
    return dg.Definitions(
        assets=[*dg.map_asset_specs(with_condition, stages), *measured.SPECS],
        asset_checks=dg.load_asset_checks_from_package_module(assets),
        jobs=[skill_pipeline, combined_pipeline],
        schedules=[weekly_retraining],
        sensors=[automation, motion_folder, reconcile],
        resources={"workspace": WorkspaceResource(), "cluster": RayCluster()},
        executor=dg.in_process_executor,
    )
