"""A teacher for collections."""

import pytest
import torch

from beyondmimic_data.tracking.policy import TrackingPolicy


@pytest.fixture(scope="session")
def teacher() -> TrackingPolicy:
    """A policy that holds the default pose; it stands for about a second."""
    policy = TrackingPolicy(160, 29, (8,))
    with torch.no_grad():
        policy.mlp[-1].weight.zero_()
        policy.mlp[-1].bias.zero_()
    return policy.eval()
