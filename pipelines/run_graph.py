"""The whole graph in this process: every skill, then what they share, with progress for a person."""

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from assets.building import ALL
from assets.closed_loop_report import REPORT
from assets.dataset import find_dataset, rollouts_or_reason, survey
from assets.diffusion_policy import find_diffusion
from assets.motion import find_motion
from assets.motion_folder import SYNTHESISED, add_motions, add_synthesised
from assets.partitions import SKILLS
from assets.status import skill_status
from assets.tracking_policy import find_policy
from assets.workspace import Workspace, remember
from beyondmimic_data.cluster import Cluster
from beyondmimic_data.config import get_preset
from beyondmimic_data.errors import BeyondMimicError, ConfigError, GateError
from beyondmimic_data.files import read_json
from beyondmimic_data.overrides import differences
from beyondmimic_data.tracking.policy_files import EVALUATION
from pipelines.cli import INTERRUPTED
from pipelines.definitions import defs
from pipelines.home import DRIVER_TAG, driver, end_interrupted_runs, open_instance
from pipelines.jobs import COMBINED_ASSETS, SKILL_ASSETS, TRAINING_ASSETS, combined_pipeline, skill_pipeline
from pipelines.requests import TOKEN_TAG, combined_token, skill_token

log = logging.getLogger("beyondmimic.run")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run of a job came to."""

    ok: bool
    """Every step ran and every blocking check passed."""
    problem: str | None
    """The first failure in one line."""


class GraphRun:
    """Runs jobs of the graph on one Dagster instance, with one workspace and one cluster."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Workspace, cluster: Cluster) -> None:
        self.instance, self.workspace, self.cluster = instance, workspace, cluster
        self._definitions = defs()
        preset = workspace.preset
        self._config = {
            "resources": {
                "workspace": {
                    "config": {
                        "data_root": str(workspace.root),
                        "motion_folder": str(workspace.motion_folder),
                        "preset": preset.name,
                        "overrides": differences(get_preset(preset.name), preset),
                    }
                },
                "cluster": {"config": _cluster_config(cluster)},
            },
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }

    def sync_skills(self) -> list[str]:
        """Make the partitions equal to the motion folder; returns the skills."""
        keys = _order(self.workspace)
        known = set(self.instance.get_dynamic_partitions(SKILLS))
        self.instance.add_dynamic_partitions(SKILLS, [key for key in keys if key not in known])
        for gone in known - set(keys):
            self.instance.delete_dynamic_partition(SKILLS, gone)
        return keys

    def skill(self, key: str, assets: Sequence[str] = SKILL_ASSETS) -> Outcome:
        """Run one skill, as far as the given assets; what is there already is only recorded."""
        try:
            token = skill_token(self.instance, self.workspace, key)
        except BeyondMimicError as error:
            return Outcome(False, str(error))
        return self._execute(skill_pipeline.name, token, key, assets)

    def combined(self) -> Outcome:
        """Run what all skills share."""
        token = combined_token(self.instance, self.workspace)
        return self._execute(combined_pipeline.name, token, None, COMBINED_ASSETS)

    def dataset(self) -> Outcome:
        """Make the dataset version of all skills that may teach."""
        return self._execute(combined_pipeline.name, None, None, COMBINED_ASSETS[:1])

    def diffusion(self) -> Outcome:
        """Train the diffusion policy on the dataset that is there."""
        return self._execute(combined_pipeline.name, None, None, COMBINED_ASSETS[:2])

    def _execute(self, job: str, token: str | None, partition: str | None, assets: Sequence[str]) -> Outcome:
        tags = {DRIVER_TAG: driver(), **({TOKEN_TAG: token} if token else {})}
        result = self._definitions.resolve_job_def(job).execute_in_process(
            run_config=self._config,
            instance=self.instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey(name) for name in assets],
            tags=tags,
            raise_on_error=False,
        )
        return Outcome(result.success, None if result.success else _problem(result))


def run_graph(workspace: Workspace, motions: Sequence[Path], cluster: Cluster) -> dict[str, Any]:
    """Synthesise, add motions, run every skill and what they share.

    A skill that fails is shown and left out, and the graph completes with the others.

    Args:
        workspace: where, and with which numbers.
        motions: files and folders to add to the motion folder.
        cluster: where actors run.

    Returns:
        ``skills``, ``refused`` (files that are no motions), ``report``, ``video``, ``bundle``, ``minutes``.

    Raises:
        GateError: no skill may teach.
        BeyondMimicError: a stage after the skills failed.
    """
    started = time.monotonic()
    with _opened(workspace, motions, cluster) as (graph, keys):
        outcomes = _side_by_side(graph, keys, _run_skill, _complete)
        log.info("skills done after %.1f minutes; now what they share", (time.monotonic() - started) / 60)
        shared = _interruptible(graph.combined)
    found = survey(workspace)
    if not found.included:
        raise GateError(f"no skill may teach, so that nothing was trained on them: {found.reasons()}")
    if not shared.ok:
        raise BeyondMimicError(str(shared.problem))
    return {
        "skills": [_skill_line(workspace, key, outcomes[key]) for key in keys],
        "refused": [str(error) for error in workspace.motions.errors],
        **_results(workspace),
        "minutes": (time.monotonic() - started) / 60,
    }


def train_skills(
    workspace: Workspace, motions: Sequence[Path], cluster: Cluster, skills: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Synthesise, add motions, and train skills as far as their gates: no rollouts, nothing shared.

    Args:
        workspace: where, and with which numbers.
        motions: files and folders to add to the motion folder.
        cluster: where actors run.
        skills: keys; every skill by default.

    Returns:
        For each skill ``skill``, ``passed``, ``completion`` and ``problem``.

    Raises:
        ConfigError: no such skill.
    """
    with _opened(workspace, motions, cluster) as (graph, keys):
        outcomes = _side_by_side(graph, _chosen(keys, skills), _train_skill, _trained)
    return [_training_line(workspace, key, outcome) for key, outcome in outcomes.items()]


def collect_skills(
    workspace: Workspace, motions: Sequence[Path], cluster: Cluster, skills: Sequence[str] = ()
) -> dict[str, Any]:
    """Synthesise, add motions, run skills as far as their rollouts, and make a dataset version.

    Args:
        workspace: where, and with which numbers.
        motions: files and folders to add to the motion folder.
        cluster: where actors run.
        skills: keys; every skill by default.

    Returns:
        ``skills``, a line each with ``hours``, ``episodes``, ``rejected``, ``kept_share`` and ``problem``;
        ``dataset``, the version of all skills that may teach, if there are any; ``minutes``.

    Raises:
        ConfigError: no such skill.
    """
    started = time.monotonic()
    with _opened(workspace, motions, cluster) as (graph, keys):
        outcomes = _side_by_side(graph, _chosen(keys, skills), _run_skill, _complete)
        _interruptible(graph.dataset)
    made = find_dataset(workspace)
    return {
        "skills": [_collection_line(workspace, key, outcome) for key, outcome in outcomes.items()],
        "dataset": made.version if made else None,
        "minutes": (time.monotonic() - started) / 60,
    }


def train_diffusion(workspace: Workspace, motions: Sequence[Path], cluster: Cluster) -> dict[str, Any]:
    """Train the diffusion policy on the dataset that the store holds for the workspace's numbers.

    Args:
        workspace: where, and with which numbers.
        motions: files and folders to add to the motion folder.
        cluster: where actors run.

    Returns:
        ``policy``, its folder, ``version``, and the figures of its training.

    Raises:
        BeyondMimicError: there is no such dataset, or training failed.
    """
    if find_dataset(workspace) is None:
        raise GateError(
            f"there is no dataset to train on; run `collect` first: {survey(workspace).reasons()}"
        )
    with _opened(workspace, motions, cluster, synthesise=False) as (graph, _):
        outcome = _interruptible(graph.diffusion)
    if not outcome.ok:
        raise BeyondMimicError(str(outcome.problem))
    data = find_dataset(workspace)
    policy = find_diffusion(workspace, data) if data is not None else None
    if policy is None:
        raise BeyondMimicError("the dataset changed while the policy was trained; train it again")
    return {"policy": str(policy.path), "version": policy.version, **policy.meta["figures"]}


def _chosen(keys: Sequence[str], skills: Sequence[str]) -> list[str]:
    """Return the skills that were asked for, in the order of all; every skill where none was.

    Raises:
        ConfigError: one of them does not exist.
    """
    for skill in skills:
        if skill not in keys:
            expected = "one of " + ", ".join(keys) if keys else "none: there is no skill; give --motions"
            raise ConfigError("skills", skill, expected)
    return [key for key in keys if key in skills] if skills else list(keys)


@contextlib.contextmanager
def _opened(
    workspace: Workspace, motions: Sequence[Path], cluster: Cluster, *, synthesise: bool = True
) -> Iterator[tuple[GraphRun, list[str]]]:
    """Fill the motion folder and open Dagster's instance; gives the graph and its skills."""
    remember(workspace)
    if synthesise:
        add_synthesised(workspace)
    add_motions(workspace, motions)
    with open_instance() as instance:
        end_interrupted_runs(instance)
        graph = GraphRun(instance, workspace, cluster)
        keys = graph.sync_skills()
        log.info("%d skills: %s", len(keys), ", ".join(keys))
        for error in workspace.motions.errors:
            log.warning("%s", error)
        yield graph, keys


def _cluster_config(cluster: Cluster) -> dict[str, Any]:
    """Return a cluster as its resource's configuration."""
    fields = ("address", "num_cpus", "object_store_mb")
    return {name: getattr(cluster, name) for name in fields if getattr(cluster, name) is not None}


def _order(workspace: Workspace) -> list[str]:
    """Return the skills, synthesised ones first and in the preset's order: later ones start from them."""
    first = [f"{SYNTHESISED}__{name}" for name in workspace.preset.synth.skills]
    rank = {key: i for i, key in enumerate(first)}
    return sorted(workspace.motions.skills, key=lambda key: (rank.get(key, len(first)), key))


def _side_by_side(
    graph: GraphRun,
    keys: Sequence[str],
    run: Callable[[GraphRun, str], Outcome],
    complete: Callable[[Workspace, str], bool],
) -> dict[str, Outcome]:
    """Run skills side by side as far as the cluster has CPUs to train them; without work Ray stays off."""
    workspace, cluster = graph.workspace, graph.cluster
    with contextlib.ExitStack() as stack:
        at_once = 1
        if not all(complete(workspace, key) for key in keys):
            stack.enter_context(cluster.session())
            at_once = cluster.workers(workspace.preset.training.cpus_per_skill)
        pool = ThreadPoolExecutor(at_once)
        try:
            return dict(zip(keys, pool.map(lambda key: run(graph, key), keys), strict=True))
        except KeyboardInterrupt:
            # Threads that wait for actors cannot be interrupted. What they build is locked until the process
            # ends and goes on from its checkpoint in the next run; Ray's processes end with this one.
            log.warning("interrupted; run again to go on from here")
            logging.shutdown()
            os._exit(INTERRUPTED)
        finally:
            pool.shutdown()


def _train_skill(graph: GraphRun, key: str) -> Outcome:
    """Train one skill and say what came of it."""
    outcome = graph.skill(key, TRAINING_ASSETS)
    line = _training_line(graph.workspace, key, outcome)
    if line["completion"] is None:
        log.warning("%s: no policy: %s", key, outcome.problem)
    else:
        verdict = "passes its gate" if line["passed"] else "fails its gate"
        log.info("%s %s: %.0f %% of starts complete", key, verdict, 100 * line["completion"])
    return outcome


def _run_skill(graph: GraphRun, key: str) -> Outcome:
    """Run one skill and say what came of it."""
    outcome = graph.skill(key)
    found = rollouts_or_reason(graph.workspace, key)
    if isinstance(found, str):
        log.warning("%s is left out: %s", key, outcome.problem or found)
    else:
        log.info("%s teaches: %.2f hours of rollouts", key, found.meta["hours"])
    return outcome


def _interruptible(run: Callable[[], Outcome]) -> Outcome:
    """Run what all skills share, or a part of it; an interruption stays one."""
    try:
        return run()
    except DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error


def _complete(workspace: Workspace, key: str) -> bool:
    """Tell whether the store has all that a skill should have."""
    return all(stage.complete for stage in skill_status(workspace, key))


def _trained(workspace: Workspace, key: str) -> bool:
    """Tell whether a skill has the policy that it should have."""
    return all(stage.complete for stage in skill_status(workspace, key) if stage.asset in TRAINING_ASSETS)


def _training_line(workspace: Workspace, key: str, outcome: Outcome) -> dict[str, Any]:
    """Return what a skill's training came to."""
    clips = find_motion(workspace, key)
    policy = find_policy(workspace, key, clips) if clips is not None else None
    gate = policy.meta["gate"] if policy else {"passed": False, "completion": None}
    return {
        "skill": key,
        "passed": gate["passed"],
        "completion": gate["completion"],
        "problem": outcome.problem,
    }


def _collection_line(workspace: Workspace, key: str, outcome: Outcome) -> dict[str, Any]:
    """Return what a skill's collection came to."""
    found = rollouts_or_reason(workspace, key)
    if isinstance(found, str):
        nothing = {"hours": 0.0, "episodes": 0, "rejected": 0, "kept_share": None}
        return {"skill": key, **nothing, "problem": outcome.problem or found}
    meta = found.meta
    return {
        "skill": key,
        **{name: meta[name] for name in ("hours", "episodes", "rejected")},
        "kept_share": meta["kept_steps"] / meta["simulated_steps"],
        "problem": None,
    }


def _problem(result: dg.ExecuteInProcessResult) -> str:
    """Return the first failure of a run in one line: what a builder raised, or the check that blocked."""
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            return data.user_failure_data.description
        if data.error is not None:
            cause = data.error.cause or data.error
            log.debug("%s", data.error.to_string())
            return _blocking_check(result) or f"{cause.cls_name}: {cause.message.strip().splitlines()[-1]}"
    return "the run failed; its log in the UI says where"


def _blocking_check(result: dg.ExecuteInProcessResult) -> str | None:
    """Return what a failed blocking check said."""
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.blocking:
            return f"check {evaluation.check_name}: {evaluation.description}"
    return None


def _skill_line(workspace: Workspace, key: str, outcome: Outcome) -> dict[str, Any]:
    """Return a skill's line of the closing table."""
    found = survey(workspace)
    policy = workspace.store.latest("policies", key)
    rollouts = found.included.get(key)
    return {
        "skill": key,
        "included": key in found.included,
        "completion": read_json(policy.path / EVALUATION)["completion"] if policy else None,
        "hours": rollouts.meta["hours"] if rollouts else 0.0,
        "reason": None if rollouts else outcome.problem or found.left_out.get(key),
    }


def _results(workspace: Workspace) -> dict[str, Any]:
    """Return where what a person looks for is."""
    report = workspace.store.latest("reports", ALL)
    bundle = workspace.store.latest("bundles", ALL)
    video = report.path / report.meta["video"] if report and report.meta["video"] else None
    return {
        "report": str(report.path / REPORT) if report else None,
        "video": str(video) if video else None,
        "bundle": str(bundle.path) if bundle else None,
    }
