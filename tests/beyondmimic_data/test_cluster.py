"""The Ray session."""

import os

import pytest

from beyondmimic_data.cluster import Cluster
from beyondmimic_data.errors import ConfigError


@pytest.mark.slow
def test_only_the_outermost_session_starts_and_ends_ray():
    cluster = Cluster(num_cpus=2, object_store_mb=80)
    with cluster.session():
        import ray

        with cluster.session():
            assert cluster.workers(1.0) == 2
            assert cluster.workers(0.5) == 4
            assert cluster.workers(16.0) == 1
            cluster.check_gpus(0.0)
            with pytest.raises(ConfigError, match=r"gpus_per_skill.*1000.* GPUs that the Ray"):
                cluster.check_gpus(1000.0)
            policy = ray.get(ray.remote(num_cpus=1)(lambda: os.environ.get("OMP_WAIT_POLICY")).remote())
            assert policy == "PASSIVE"
            assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
        assert ray.is_initialized()
    assert not ray.is_initialized()
