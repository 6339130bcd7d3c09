"""Predictions to hand to costs, and the gradient that guidance takes of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from beyondmimic_data.diffusion.representation import CharacterFrame
from beyondmimic_data.diffusion.sampler import Cost, Prediction

FUTURE = 16


@pytest.fixture
def predict(make_policy) -> Callable[..., Prediction]:
    """Build a prediction (2, 16, 192) in double precision from fields given in the character frame."""
    policy = make_policy()

    def make(
        features: torch.Tensor | None = None, yaw: float = 0.0, xy: tuple[float, float] = (0.0, 0.0), **fields
    ) -> Prediction:
        if features is None:
            features = torch.zeros(2, FUTURE, 192, dtype=torch.float64)
            for name, value in fields.items():
                features[..., policy.representation.slices[name]] = torch.tensor(value, dtype=torch.float64)
        batch = len(features)
        frame = CharacterFrame(
            torch.tensor(xy, dtype=torch.float64).expand(batch, 2),
            torch.full((batch,), yaw, dtype=torch.float64),
        )
        return Prediction(features, policy, frame)

    return make


@pytest.fixture
def world(make_policy) -> Prediction:
    """Random states (3, 16, 192) of robots that stand apart and look different ways."""
    generator = torch.Generator().manual_seed(0)
    features = 0.3 * torch.randn(3, FUTURE, 192, generator=generator, dtype=torch.float64)
    frame = CharacterFrame(
        torch.tensor([[0.3, -0.2], [1.0, 2.0], [-0.5, 0.4]], dtype=torch.float64),
        torch.tensor([0.8, -3.0, 2.9], dtype=torch.float64),
    )
    return Prediction(features, make_policy(), frame)


@pytest.fixture
def of_robot() -> Callable[[Prediction, int], Prediction]:
    """Keep one robot of a prediction."""

    def pick(prediction: Prediction, robot: int) -> Prediction:
        frame = CharacterFrame(prediction.frame.xy[robot, None], prediction.frame.yaw[robot, None])
        return Prediction(prediction.features[robot, None], prediction.policy, frame)

    return pick


@pytest.fixture
def descend() -> Callable[[Cost, Prediction], tuple[np.ndarray, np.ndarray]]:
    """Return a cost (B,) and its gradient (B, 16, D) by autograd."""

    def evaluate(cost: Cost, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
        point = prediction.features.clone().requires_grad_()
        value = cost(Prediction(point, prediction.policy, prediction.frame))
        (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach().numpy(), gradient.numpy()

    return evaluate


@pytest.fixture
def columns(world) -> Callable[[str], np.ndarray]:
    """Return a field of the random states as a NumPy array (3, 16, width)."""
    return lambda name: world.field(name).numpy()


@pytest.fixture
def spread(world) -> Callable[..., np.ndarray]:
    """Lay gradients of single fields out over all features (3, 16, 192), zero elsewhere."""

    def lay(**fields: np.ndarray) -> np.ndarray:
        gradient = np.zeros(tuple(world.features.shape))
        for name, value in fields.items():
            gradient[..., world.policy.representation.slices[name]] = value
        return gradient

    return lay
