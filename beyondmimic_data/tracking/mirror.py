"""The tracking task seen in a mirror: reflected observations and actions, for rsl-rl's data augmentation.

A robot and its reference reflected in a vertical plane are a robot and a reference again, with the same
rewards: every transition teaches its mirror image too (Mittal et al., ICRA 2024, as rsl-rl's ``Symmetry``).
"""

from collections.abc import Sequence

import torch
from tensordict import TensorDict

from beyondmimic_data.robots import g1_facts, symmetry
from beyondmimic_data.tracking import task

Reflection = tuple[list[int], list[float]]
"""Which entry each entry becomes, and with which sign."""


class TaskMirror:
    """Reflects observations and actions of the tracking task left to right."""

    def __init__(
        self, joint_names: Sequence[str], *, state_estimation: bool = True, device: str = "cpu"
    ) -> None:
        """Lay out the observations of a robot with these joints, in this order.

        Args:
            joint_names: joints in the order of actions.
            state_estimation: whether the actor has the terms that need it.
            device: where observations and actions lie.
        """
        terms = _terms(joint_names)
        left_out = () if state_estimation else task.STATE_ESTIMATION_TERMS
        self.groups = {
            "actor": _concatenate([terms[name] for name in task.ACTOR_TERMS if name not in left_out], device),
            "critic": _concatenate([terms[name] for name in task.CRITIC_TERMS], device),
        }
        self.action = _concatenate([terms["actions"]], device)

    def reflect_observations(self, observations: TensorDict) -> TensorDict:
        """Return the groups ``actor`` and ``critic`` (B, ...) of the mirrored robot and reference."""
        reflected = {name: _reflect(observations[name], self.groups[name]) for name in self.groups}
        return TensorDict(reflected, batch_size=observations.batch_size)

    def reflect_actions(self, actions: torch.Tensor) -> torch.Tensor:
        """Return what the mirrored robot does (..., J); default pose and scales are symmetric."""
        return _reflect(actions, self.action)

    def augment(
        self, env: object, obs: TensorDict | None, actions: torch.Tensor | None
    ) -> tuple[TensorDict | None, torch.Tensor | None]:
        """Return observations and actions followed by their mirror images, as rsl-rl's ``Symmetry`` asks."""
        del env
        both_actions = None if actions is None else _with_image(actions, self.action)
        if obs is None:
            return None, both_actions
        both = {name: _with_image(obs[name], reflection) for name, reflection in self.groups.items()}
        return TensorDict(both, batch_size=[2 * obs.batch_size[0]]), both_actions


def _terms(joint_names: Sequence[str]) -> dict[str, Reflection]:
    """Return the reflection of each observation term."""
    joints: Reflection = (symmetry.counterparts(joint_names), symmetry.joint_signs(joint_names))
    bodies = symmetry.counterparts(g1_facts.TRACKED_BODIES)

    def vector(signs: Sequence[float], order: Sequence[int] = (0,)) -> Reflection:
        width = len(signs)
        return [width * b + k for b in order for k in range(width)], list(signs) * len(order)

    twice = [*joints[0], *(len(joint_names) + j for j in joints[0])], joints[1] * 2
    return {
        "command": twice,
        "motion_anchor_pos_b": vector(symmetry.POLAR),
        "motion_anchor_ori_b": vector(symmetry.ROT6D),
        "body_pos": vector(symmetry.POLAR, bodies),
        "body_ori": vector(symmetry.ROT6D, bodies),
        "base_lin_vel": vector(symmetry.POLAR),
        "base_ang_vel": vector(symmetry.AXIAL),
        "joint_pos": joints,
        "joint_vel": joints,
        "actions": joints,
        "latency": ([0], [1.0]),
    }


def _concatenate(terms: Sequence[Reflection], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    order: list[int] = []
    signs: list[float] = []
    for term_order, term_signs in terms:
        start = len(order)
        order += [start + i for i in term_order]
        signs += term_signs
    return torch.tensor(order, device=device), torch.tensor(signs, device=device)


def _reflect(
    values: torch.Tensor, reflection: tuple[torch.Tensor, torch.Tensor], out: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the reflection of values (..., D), in ``out`` if that is given."""
    order, signs = reflection
    return torch.index_select(values, -1, order, out=out).mul_(signs)


def _with_image(values: torch.Tensor, reflection: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return (2B, D): values (B, D), then their reflection, written once."""
    rows, width = values.shape
    both = values.new_empty(2 * rows, width)
    both[:rows] = values
    _reflect(values, reflection, out=both[rows:])
    return both
