"""Mending what retargeters leave behind: flips of a few frames, and a floor that is not at zero."""

import numpy as np

from beyondmimic_data.motions.keypoints import speed
from beyondmimic_data.motions.plausible import sole_points
from beyondmimic_data.robots import g1

MAX_FLIP_FRAMES = 3
FLIP_SPEED = 20.0
"""rad/s; a jump at least this fast that comes back within three frames is a flip."""
FLIP_RETURN = 0.3
"""Share of the jump that may be left when it has come back."""
STANDING_SPEED = 0.15
"""m/s; feet slower than this show where the floor is."""
MIN_OFFSET, MAX_OFFSET = 0.01, 0.5
"""m; smaller offsets of the floor are left, larger ones are not offsets."""


def repair(qpos: np.ndarray, fps: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Mend a motion.

    Args:
        qpos: (T, 36) at its own rate.
        fps: the rate, Hz.

    Returns:
        The mended motion and a note for each repair.
    """
    qpos, flips = remove_flips(qpos, fps)
    notes = [f"bridged {n} frames of {joint}" for joint, n in flips.items()]
    offset = ground_offset(qpos, fps)
    if MIN_OFFSET < abs(offset) < MAX_OFFSET:
        qpos = qpos.copy()
        qpos[:, 2] -= offset
        notes.append(f"{'lowered' if offset > 0 else 'raised'} by {abs(offset) * 100:.1f} cm onto the floor")
    return qpos, tuple(notes)


def remove_flips(qpos: np.ndarray, fps: float) -> tuple[np.ndarray, dict[str, int]]:
    """Bridge jumps of single joints that come back within three frames.

    Returns:
        The motion and the number of bridged frames a joint.
    """
    joints = qpos[:, 7:].copy()
    bridged: dict[str, int] = {}
    fast = np.abs(np.diff(joints, axis=0)) * fps > FLIP_SPEED
    for frame, joint in np.argwhere(fast):
        before = joints[frame, joint]
        jump = joints[frame + 1, joint] - before
        if abs(jump) * fps <= FLIP_SPEED:  # bridged already, from an earlier frame
            continue
        after = joints[frame + 2 : frame + 2 + MAX_FLIP_FRAMES, joint]
        back = np.flatnonzero(np.abs(after - before) < FLIP_RETURN * abs(jump))
        if not len(back):
            continue
        length = int(back[0]) + 1
        joints[frame + 1 : frame + 1 + length, joint] = np.linspace(before, after[back[0]], length + 2)[1:-1]
        name = g1.JOINT_NAMES[joint]
        bridged[name] = bridged.get(name, 0) + length
    return np.concatenate([qpos[:, :7], joints], axis=1), bridged


def ground_offset(qpos: np.ndarray, fps: float) -> float:
    """Return the height of the floor under the motion, m: the median height of slow soles' lowest corners.

    It is at most 1 cm over the lowest of them (fifth percentile), so that no foot sinks as the floor drifts.
    Where no foot is ever slow, the lowest sole's fifth percentile counts.
    """
    soles = sole_points(qpos)
    lowest = soles[..., 2].min(-1)
    slow = speed(soles.mean(2), fps) < STANDING_SPEED
    # A foot held still in the air is slow too: of two slow feet the lower one stands.
    standing = slow & (lowest <= lowest.min(1, keepdims=True) + 0.02)
    if standing.sum() < 10:
        return float(np.percentile(lowest.min(1), 5))
    heights = lowest[standing]
    return float(min(np.median(heights), np.percentile(heights, 5) + 0.01))
