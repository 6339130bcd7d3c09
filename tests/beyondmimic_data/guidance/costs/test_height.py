import numpy as np
import pytest
import torch

from beyondmimic_data.guidance.costs import Height

FUTURE = 16


def test_it_is_half_the_squared_height_error(predict) -> None:
    standing = predict(root_pos=[3.0, 2.0, 0.75])
    assert Height(0.55)(standing).tolist() == pytest.approx([FUTURE * 0.5 * 0.04] * 2)


def test_gradient_in_closed_form(world, columns, descend, spread) -> None:
    height = np.array([0.5, 0.75, 0.6])
    value, gradient = descend(Height(torch.tensor(height)), world)
    error = columns("root_pos")[..., 2] - height[:, None]
    np.testing.assert_allclose(value, 0.5 * (error**2).sum(1))
    zero = np.zeros_like(error)
    np.testing.assert_allclose(gradient, spread(root_pos=np.stack([zero, zero, error], -1)), atol=1e-12)
