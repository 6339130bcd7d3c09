"""Keeping the robot's arms out of its own body: it is broader than the person whose motion it follows."""

import numpy as np

from beyondmimic_data.motions.contacts import reach

ARM_RADIUS = 0.035
"""m, of forearm and hand."""
HAND_LENGTH = 0.15
"""m from the wrist to the centre of the hand's tip."""
MARGIN = 0.025
"""m of air that is asked for: hands bend inward by 2 cm."""
ROUNDS = 5

Capsule = tuple[np.ndarray, np.ndarray, float]
"""Ends (T, 3) and (T, 3), and radius in m."""


def clear_arms(elbows: np.ndarray, wrists: np.ndarray, body: list[Capsule]) -> tuple[np.ndarray, np.ndarray]:
    """Move elbows and wrists, smoothly and as little as it takes, until the forearms are out of the body.

    Args:
        elbows: (T, 2, 3) m, left and right.
        wrists: (T, 2, 3) m.
        body: capsules of trunk, head and legs.

    Returns:
        Elbows and wrists, each (T, 2, 3).
    """
    elbows, wrists = elbows.copy(), wrists.copy()
    for _ in range(ROUNDS):
        tips = _tips(elbows, wrists)
        moved = False
        for s in range(2):
            other = (elbows[:, 1 - s], tips[:, 1 - s], ARM_RADIUS)
            push, along = _deepest(elbows[:, s], tips[:, s], [*body, other])
            deep = np.linalg.norm(push, axis=-1) > 1e-3
            if not deep.any():
                continue
            moved = True
            # The least motion of both ends of the forearm that moves the point of contact by the push.
            share = np.stack([1 - along, along], 1) / ((1 - along) ** 2 + along**2)[:, None]
            wanted = share[..., None] * push[:, None]
            wanted[~deep] = np.nan
            ends = reach(wanted.reshape(len(wanted), 6)).reshape(-1, 2, 3)
            at_wrist = np.linalg.norm(wrists[:, s] - elbows[:, s], axis=-1) / np.linalg.norm(
                tips[:, s] - elbows[:, s], axis=-1
            )
            elbows[:, s] += ends[:, 0]
            wrists[:, s] += ends[:, 0] + at_wrist[:, None] * (ends[:, 1] - ends[:, 0])
        if not moved:
            break
    return elbows, wrists


def _tips(elbows: np.ndarray, wrists: np.ndarray) -> np.ndarray:
    """Return the tips of straight hands."""
    forearm = wrists - elbows
    return wrists + HAND_LENGTH * forearm / np.linalg.norm(forearm, axis=-1, keepdims=True)


def _deepest(start: np.ndarray, end: np.ndarray, body: list[Capsule]) -> tuple[np.ndarray, np.ndarray]:
    """Return the push (T, 3) out of the capsule entered deepest, and where along the arm (T,) in [0, 1]."""
    push = np.zeros_like(start)
    along = np.zeros(len(start))
    deepest = np.zeros(len(start))
    for a, b, radius in body:
        on_arm, on_body = closest_points(start, end, a, b)
        gap = start + on_arm[:, None] * (end - start) - (a + on_body[:, None] * (b - a))
        distance = np.linalg.norm(gap, axis=-1)
        depth = radius + ARM_RADIUS + MARGIN - distance
        worse = depth > deepest
        direction = gap / np.maximum(distance, 1e-6)[:, None]
        push[worse] = (depth[:, None] * direction)[worse]
        along[worse] = on_arm[worse]
        deepest = np.maximum(deepest, depth)
    return push, along


def closest_points(
    a0: np.ndarray, a1: np.ndarray, b0: np.ndarray, b1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where on segments a and b, (T, 3) each, the closest points are: (T,) and (T,) in [0, 1]."""
    u, v, w = a1 - a0, b1 - b0, a0 - b0
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    tiny = 1e-12
    s = np.clip((uv * vw - vv * uw) / np.maximum(uu * vv - uv**2, tiny), 0, 1)
    t = np.clip((uv * s + vw) / np.maximum(vv, tiny), 0, 1)
    s = np.clip((uv * t - uw) / np.maximum(uu, tiny), 0, 1)
    return s, t
