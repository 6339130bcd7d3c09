"""The doors that ``fuzz`` sends mutants to: each is one entry of ``TARGETS``."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from beyondmimic_data.bench.fuzz import Target
from beyondmimic_data.config import RolloutConfig, quick
from beyondmimic_data.errors import BeyondMimicError, StoreError

if TYPE_CHECKING:
    import numpy as np

    from beyondmimic_data.motions.clip import Clip

TABLES = """\
[[files]]
match = "*.csv"
fps = 50
quat = "wxyz"

[[files]]
match = "human/*.bvh"
skeleton = "mine"

[[clips]]
name = "part_*"
from = "a.csv"
start = 0.1
end = 0.5
loop = 2
mirror = true
blend = 0.2
then = [{ from = "b.csv", end = 0.4 }]

[[skills]]
name = "both"
clips = ["a.csv", "part_*"]
"""
SKELETON = """\
spine = "Spine"
neck = "Neck"
hips = ["LeftUpLeg", "RightUpLeg"]
knees = ["LeftLeg", "RightLeg"]
ankles = ["LeftFoot", "RightFoot"]
toes = ["LeftToe", "RightToe"]
shoulders = ["LeftArm", "RightArm"]
elbows = ["LeftForeArm", "RightForeArm"]
wrists = ["LeftHand", "RightHand"]
"""


def _qpos() -> "np.ndarray":
    """Return (T, 36) of the robot, which stands and lifts an arm."""
    import numpy as np

    from beyondmimic_data.motions.plausible import sole_points
    from beyondmimic_data.robots import g1

    qpos = np.tile(g1.default_qpos(), (30, 1))
    qpos[:, 2] -= sole_points(qpos[:1])[..., 2].min()
    qpos[:, 7 + g1.JOINT_NAMES.index("left_elbow_joint")] += 0.3 * np.sin(np.linspace(0, 3, 30))
    return qpos


def _clip() -> "Clip":
    from beyondmimic_data.motions.clip import clip_from_qpos

    return clip_from_qpos("motion", _qpos(), 50.0, 50.0, {"file": "made"})


def _make_clip(folder: Path) -> None:
    _clip().save(folder / "motion.npz")


def _make_npz(folder: Path) -> None:
    import numpy as np

    from beyondmimic_data.motions.npz_export import States, write_episode

    clip = _clip()
    states = States(
        clip.body_pos_w[:, 0],
        clip.body_quat_w[:, 0],
        clip.body_ang_vel_w[:, 0],
        clip.body_pos_w,
        clip.body_lin_vel_w,
        clip.joint_pos,
        clip.joint_vel,
    )
    write_episode(folder / "motion.npz", states, clip.fps, "breadth-first", float(np.finfo(np.float32).eps))


def _make_csv(folder: Path) -> None:
    lines = (",".join(f"{value:.5f}" for value in row) for row in _qpos())
    (folder / "motion.csv").write_text("\n".join(lines) + "\n")


def _make_bvh(folder: Path) -> None:
    from beyondmimic_data.bench.small_person import small_person

    (folder / "motion.bvh").write_text(small_person())


def _read_motion(folder: Path) -> None:
    """Import the one motion of a folder, as a motion folder's scan and the importer do."""
    from beyondmimic_data.motions.folder import scan
    from beyondmimic_data.motions.importer import import_motion
    from beyondmimic_data.motions.motion_config import MotionFacts

    (file,) = folder.iterdir()
    _refuse(scan(folder).errors)
    import_motion(file, name="motion", facts=MotionFacts(fps=50.0, quat="wxyz"), preset=quick())


def _read_clip(folder: Path) -> None:
    from beyondmimic_data.motions.clip import Clip

    Clip.load(folder / "motion.npz")
    _read_motion(folder)


def _make_tables(folder: Path) -> None:
    for name in ("a.csv", "b.csv"):
        _make_csv(folder)
        (folder / "motion.csv").rename(folder / name)
    for part in ("human", "skeletons"):
        (folder / part).mkdir()
    _make_bvh(folder / "human")
    (folder / "motions.toml").write_text(TABLES)
    (folder / "skeletons" / "mine.toml").write_text(SKELETON)


def _read_tables(folder: Path) -> None:
    """Scan the folder, make its clips, and take it over into another motion folder."""
    from assets.motion_folder import add_motions
    from assets.workspace import Workspace
    from beyondmimic_data.motions.folder import scan
    from beyondmimic_data.motions.made_clip import make_clip

    found = scan(folder)
    for skill in found.skills.values():
        for clip in skill.clips:
            make_clip(clip, quick())
    with tempfile.TemporaryDirectory() as other:
        add_motions(Workspace(Path(other), Path(other) / "motions", quick()), [folder])
    _refuse(found.errors)


def _make_workspace(folder: Path) -> None:
    from assets.workspace import open_workspace, remember

    changes = {"training.minutes": 3.0, "ppo.hidden_dims": [64, 32], "gate.latency_ms": [0.0, 20.0]}
    changes |= {"ppo.schedule": "fixed", "rollouts.student": "shipped", "diffusion.layers": 2}
    remember(open_workspace(root=folder, preset="quick", overrides=changes))
    (folder / "motion_folder").mkdir()
    _make_csv(folder / "motion_folder")
    motion = folder / "motion_folder" / "motion.csv"
    (folder / "motion_hashes.json").write_text(f'{{"{motion}": [1, 2, "{"0" * 64}"]}}')


def _read_workspace(folder: Path) -> None:
    from assets.workspace import HASHES, open_workspace
    from beyondmimic_data.motions.folder import HashCache, scan

    workspace = open_workspace(root=folder)
    cache = HashCache(folder / HASHES)
    cache.save = lambda: None  # type: ignore[method-assign]
    _refuse(scan(workspace.motion_folder, cache).errors)


def _make_store(folder: Path) -> None:
    """Write one small artifact of clips and one of rollouts."""
    import numpy as np

    from assets.unit_sink import UnitStore
    from beyondmimic_data.files import write_json
    from beyondmimic_data.rollouts.collect import ROW_WIDTH, Unit
    from storage.artifacts import ArtifactStore

    store, rows, length = ArtifactStore(folder), 64, 32
    with store.build("motions", "walk", "1" * 16) as build:
        _clip().save(build.path / "clips" / "walk.npz")
        write_json(build.path / "quality.json", [{"clip": "walk", "accepted": True}])
        build.meta |= {"parents": []}
    with store.build("rollouts", "walk", "2" * 16) as build:
        sink = UnitStore.create(build.path, ["walk"], 50.0, RolloutConfig(chunk_steps=rows), 2)
        rng = np.random.default_rng(0)
        for unit in range(2):
            table = rng.standard_normal((rows, ROW_WIDTH), dtype=np.float32)
            facts = {
                "skill": "walk",
                "clip": "walk",
                "unit": unit,
                "length": length,
                "termination": "time_out",
            }
            episodes = [
                {"episode_id": f"{unit}-{start}", "start_row": start, **facts}
                for start in range(0, rows, length)
            ]
            sink.write_unit(unit, Unit([table], episodes, rows, 0))
        sink.finish()
        build.meta |= {"parents": []}


def _read_manifests(folder: Path) -> None:
    from storage.artifacts import ArtifactStore, content_files, read_manifest

    store = ArtifactStore(folder)
    for kind in store.kinds():
        for key in store.keys(kind):
            for artifact in store.list(kind, key):
                content_files(read_manifest(artifact.path))


def _verify_store(folder: Path) -> None:
    """Do as ``data verify`` does; what it finds is a refusal."""
    from storage.artifacts import ArtifactStore
    from storage.integrity import verify

    store = ArtifactStore(folder)
    for kind in store.kinds():
        for key in store.keys(kind):
            for artifact in store.list(kind, key):
                for problem in verify(artifact.path):
                    raise StoreError(str(problem))


def _make_tracking(folder: Path) -> None:
    from beyondmimic_data.tracking import shipped

    _with_and_without_card(shipped.FOLDER / shipped.FOUNDATION, folder, "shipped/one")


def _read_tracking(folder: Path) -> None:
    from beyondmimic_data.tracking.policy import TrackingPolicy, load_optimizer
    from beyondmimic_data.tracking.shipped import shipped_policies

    own = folder / "own"
    for policy in (own, *(policy.path for policy in shipped_policies(folder / "shipped"))):
        TrackingPolicy.load(policy)
        load_optimizer(policy)


def _make_diffusion(folder: Path) -> None:
    from beyondmimic_data.diffusion import shipped

    _with_and_without_card(shipped.FOLDER, folder, "shipped")


def _with_and_without_card(source: Path, folder: Path, shipped: str) -> None:
    """Copy a policy as it ships and as a training leaves it: a card refuses weights before they are read."""
    from beyondmimic_data.shipping import CARD

    for name, ignored in ((shipped, ()), ("own", (CARD,))):
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*ignored))


def _read_diffusion(folder: Path) -> None:
    from beyondmimic_data.diffusion.policy import DiffusionPolicy
    from beyondmimic_data.diffusion.shipped import shipped_diffusion
    from beyondmimic_data.diffusion.windows import RecordedWindows

    shipped_diffusion(quick().diffusion, folder / "shipped")
    for policy in (folder / "own", folder / "shipped"):
        RecordedWindows.load(policy)
        DiffusionPolicy.load(policy)


def _make_bundle(folder: Path) -> None:
    """Make the bundle of a small network, in the ranges of the policy that ships."""
    import dataclasses

    import torch

    from beyondmimic_data.config import DeployConfig
    from beyondmimic_data.deploy.bundle import ClosedLoopVerdict, build_bundle
    from beyondmimic_data.diffusion import shipped
    from beyondmimic_data.diffusion.policy import DiffusionPolicy
    from beyondmimic_data.diffusion.policy_files import RECORDED

    large = DiffusionPolicy.load(shipped.FOLDER)
    torch.manual_seed(0)
    small = DiffusionPolicy(
        dataclasses.replace(large.config, embedding=16, layers=1, heads=2), large.contract
    ).eval()
    small.state_normaliser.load_state_dict(large.state_normaliser.state_dict())
    small.action_normaliser.load_state_dict(large.action_normaliser.state_dict())
    with tempfile.TemporaryDirectory() as name:
        small.save(Path(name))
        shutil.copy(shipped.FOLDER / RECORDED, name)
        config = DeployConfig(parity_windows=1, tensorrt_targets=())
        build_bundle(Path(name), folder, config, [], ClosedLoopVerdict(True, None, {}))


def _play_bundle(folder: Path) -> None:
    """Load a bundle and ask for one action, as a robot would."""
    import numpy as np

    from beyondmimic_data.deploy.player import BundleError, Player

    try:
        player = Player(folder)
    except BundleError as error:
        raise StoreError(str(error)) from error
    n, bodies = player.rows, len(player.contract["body_names"])
    joints = np.tile(player.contract["default_joint_pos"], (n, 1))
    history = {
        "root_pos_w": np.tile([0.0, 0.0, 0.76], (n, 1)),
        "root_quat_w": np.tile([1.0, 0.0, 0.0, 0.0], (n, 1)),
        "root_lin_vel_w": np.zeros((n, 3)),
        "root_ang_vel_w": np.zeros((n, 3)),
        "body_pos_w": np.zeros((n, bodies, 3)),
        "body_lin_vel_w": np.zeros((n, bodies, 3)),
        "joint_pos": joints,
        "joint_vel": np.zeros_like(joints),
    }
    player.act(history, np.random.default_rng(0).standard_normal)


def _refuse(errors: Sequence[BeyondMimicError]) -> None:
    for error in errors:
        raise error


TARGETS: tuple[Target, ...] = (
    Target("motion_npz", _make_npz, _read_motion, ("*.npz",)),
    Target("motion_clip", _make_clip, _read_clip, ("*.npz",)),
    Target("motion_bvh", _make_bvh, _read_motion, ("*.bvh",)),
    Target("motion_csv", _make_csv, _read_motion, ("*.csv",)),
    Target("motions_toml", _make_tables, _read_tables, ("**/*.toml",)),
    Target("workspace", _make_workspace, _read_workspace, ("*.json",)),
    Target("manifest", _make_store, _read_manifests, ("*/*/*/manifest.json",)),
    Target("store", _make_store, _verify_store, ("*/*/*/**/*.*",)),
    Target("tracking_policy", _make_tracking, _read_tracking, ("**/*.safetensors", "**/[ce]*.json")),
    Target("diffusion_policy", _make_diffusion, _read_diffusion, ("*/*.safetensors", "*/c*.json")),
    Target("bundle", _make_bundle, _play_bundle, ("contract.json", "*r.json", "*.npz", "*.onnx")),
)
"""Name, valid files, door, and which of the files are damaged."""
