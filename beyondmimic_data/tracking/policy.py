"""A trained tracking policy at run time: normaliser and MLP, without the trainer."""

import itertools
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from beyondmimic_data import weights
from beyondmimic_data.errors import StoreError, one_line
from beyondmimic_data.files import atomic_path
from beyondmimic_data.tracking.policy_files import OPTIMIZER, WEIGHTS

NORMALISER_EPS = 1e-2
"""rsl-rl adds this to the standard deviation."""


class TrackingPolicy(nn.Module):
    """Deterministic actor: (N, D) observation to (N, J) action."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, observation_dim: int, action_dim: int, hidden_dims: tuple[int, ...]) -> None:
        """Build an untrained actor with ELU layers."""
        super().__init__()
        self.observation_dim, self.action_dim, self.hidden_dims = observation_dim, action_dim, hidden_dims
        self.register_buffer("mean", torch.zeros(observation_dim))
        self.register_buffer("std", torch.ones(observation_dim))
        layers: list[nn.Module] = []
        for i, o in zip((observation_dim, *hidden_dims), hidden_dims):
            layers += [nn.Linear(i, o), nn.ELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dims[-1], action_dim))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the mean action."""
        return self.mlp((observation - self.mean) / (self.std + NORMALISER_EPS))

    @torch.inference_mode()
    def act(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the mean action, without gradients."""
        return self(observation)

    @classmethod
    def from_actor_state(cls, actor: dict[str, torch.Tensor]) -> "TrackingPolicy":
        """Take over the weights of rsl-rl's ``MLPModel`` actor.

        Raises:
            KeyError, IndexError, ValueError, RuntimeError: they are not those of such an actor.
        """
        # Files keep names in the order of their letters, in which the tenth layer comes before the second.
        matrices = sorted(
            (name for name in actor if name.startswith("mlp.") and name.endswith("weight")),
            key=lambda name: int(name.split(".")[1]),
        )
        sizes = [actor[name].shape for name in matrices]
        if any(len(size) != 2 or 0 in size for size in sizes) or len(sizes) < 2:
            raise ValueError("no matrices of two layers or more")
        if any(following[1] != size[0] for size, following in itertools.pairwise(sizes)):
            raise ValueError("layers whose widths do not fit one another")
        policy = cls(sizes[0][1], sizes[-1][0], tuple(s[0] for s in sizes[:-1]))
        state = {name: value for name, value in actor.items() if name.startswith("mlp.")}
        state["mean"], state["std"] = actor["obs_normalizer._mean"][0], actor["obs_normalizer._std"][0]
        policy.load_state_dict(state)
        return policy.eval()

    @classmethod
    def load(cls, folder: Path) -> "TrackingPolicy":
        """Load the actor of a policy folder.

        Raises:
            StoreError: see ``load_weights``; or the file holds no actor.
        """
        actor = split_state(load_weights(folder), "actor")
        try:
            return cls.from_actor_state(actor)
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            found = f"no actor of a tracking policy ({one_line(error)})"
            raise StoreError(f"{folder / WEIGHTS}: {found}; train the skill again") from error


def save_weights(folder: Path, actor: dict[str, torch.Tensor], critic: dict[str, torch.Tensor]) -> None:
    """Write actor and critic with their normalisers as one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"actor.{k}": v for k, v in actor.items()} | {f"critic.{k}": v for k, v in critic.items()}
    _write(folder / WEIGHTS, tensors)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read what ``save_weights`` wrote.

    Raises:
        StoreError: the file is missing or damaged, or its weights are not finite, or not those of the card
            beside them.
    """
    try:
        return weights.read_weights(folder, WEIGHTS)
    except (OSError, ValueError) as error:
        raise _unreadable(folder / WEIGHTS, "policy", error, "train the skill again") from error


def save_optimizer(folder: Path, state: dict[int, dict[str, torch.Tensor]]) -> None:
    """Write Adam's state of each parameter, by the parameter's number."""
    tensors = {f"{i}.{name}": value for i, values in state.items() for name, value in values.items()}
    _write(folder / OPTIMIZER, tensors)


def load_optimizer(folder: Path) -> dict[int, dict[str, torch.Tensor]]:
    """Read what ``save_optimizer`` wrote; empty if nothing was.

    Raises:
        StoreError: the file is damaged.
    """
    path, state = folder / OPTIMIZER, dict[int, dict[str, torch.Tensor]]()
    if not path.exists():
        return state
    try:
        tensors = weights.load_weights(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, "optimiser", error, "remove it to go on without") from error
    for name, value in tensors.items():
        number, _, field = name.partition(".")
        if not (number.isascii() and number.isdecimal() and len(number) < 10 and field):
            raise StoreError(f"{path}: no moment of a parameter is named {one_line(repr(name))}; remove it")
        state.setdefault(int(number), {})[field] = value
    return state


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with atomic_path(path) as temporary:
        save_file(
            {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, temporary
        )


def _unreadable(path: Path, what: str, error: Exception, advice: str) -> StoreError:
    return StoreError(f"{path}: no readable {what} ({one_line(error)}); {advice}")


def split_state(tensors: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    """Return the tensors of ``actor`` or ``critic`` under their own names."""
    return {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
