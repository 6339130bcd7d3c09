"""Results in a few files of bounded size, as they have to be where little can be brought back."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from beyondmimic_data.diffusion.policy_files import CONFIG, RECORDED, RUN, TRAINING, WEIGHTS
from beyondmimic_data.files import atomic_path, write_bytes

if TYPE_CHECKING:
    import torch

    from beyondmimic_data.diffusion.policy import DiffusionPolicy

MOST_BYTES = 15_000_000
"""Bytes of a file."""
PICTURES, REST = "pictures.zip", "results.zip"
FIRST_ROUND = "first_round.safetensors"
"""Weights before the student's rollouts."""
NAMES = (FIRST_ROUND, CONFIG, TRAINING, RECORDED, RUN, "report.md", "closed_loop.json")
"""Files beside the weights and the pictures, those that there are."""


def store_halved(folder: Path, most_bytes: int = MOST_BYTES) -> float | None:
    """Store a policy's network in float16 where its file is too large; ranges and projection stay float32.

    Args:
        folder: of the policy.
        most_bytes: size up to which its file stays as it is.

    Returns:
        The largest difference that this makes to an action of its recorded windows, in action units, or
        ``None`` if the file stays as it is.
    """
    import safetensors.torch

    from beyondmimic_data.diffusion.policy import DiffusionPolicy
    from beyondmimic_data.diffusion.windows import RecordedWindows

    path = folder / WEIGHTS
    if path.stat().st_size <= most_bytes:
        return None
    recorded, before = RecordedWindows.load(folder), DiffusionPolicy.load(folder)
    tensors = safetensors.torch.load_file(path)
    halved = {name: t.half() if name.startswith("denoiser.") else t for name, t in tensors.items()}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(halved, temporary)
    wanted, found = (
        _actions(p, recorded.rows, recorded.columns) for p in (before, DiffusionPolicy.load(folder))
    )
    return float((found - wanted).abs().max())


def _actions(policy: "DiffusionPolicy", rows: "torch.Tensor", columns: dict[str, slice]) -> "torch.Tensor":
    """Return the actions (B, n, J) that a policy tells from recorded windows at half of the noise."""
    import torch

    from beyondmimic_data.diffusion.loss import draw_noise

    features, actions = policy.features_of_rows(rows, columns)
    batch = draw_noise(
        policy.encode_states(features),
        policy.encode_actions(actions),
        policy.config,
        torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        noisy = (
            policy.schedule.add_noise(batch.states, batch.state_noise, batch.state_levels),
            policy.schedule.add_noise(batch.actions, batch.action_noise, batch.action_levels),
        )
        _, predicted = policy.denoiser(*noisy, batch.state_levels, batch.action_levels)
    return policy.decode_actions(predicted)


def deliver(folder: Path, out: Path, most_bytes: int = MOST_BYTES) -> list[str]:
    """Write what a run has so far into the results' folder; what an earlier call wrote is replaced.

    Weights over the bound come in parts, ``cat model.safetensors.* > model.safetensors`` joins them, and all
    else then in one ``results.zip``.

    Args:
        folder: of the run.
        out: of the results.
        most_bytes: bound on a file.

    Returns:
        Names of the results.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in NAMES if (folder / name).exists()]
    pictures = sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".mp4"))
    if (folder / WEIGHTS).stat().st_size > most_bytes:
        _zip(folder, [*names, *pictures], out / REST)
        return [*_write_parts(folder / WEIGHTS, out, most_bytes), REST]
    for name in (WEIGHTS, *names):
        with atomic_path(out / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    _zip(folder, pictures, out / PICTURES)
    return [WEIGHTS, *names, PICTURES]


def _write_parts(path: Path, out: Path, most_bytes: int) -> list[str]:
    data, names = path.read_bytes(), []
    for number, start in enumerate(range(0, len(data), most_bytes)):
        names.append(f"{path.name}.{number:02d}")
        write_bytes(out / names[-1], data[start : start + most_bytes])
    return names


def _zip(folder: Path, names: Sequence[str], path: Path) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
