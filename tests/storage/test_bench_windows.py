import os
from pathlib import Path

import pytest
import torch

from storage import bench_windows as bench


def test_the_mapped_store_keeps_up_with_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_STORE_CHUNKS", 4)
    monkeypatch.setattr(bench, "_LONGEST_ROUND_S", 0.3)
    monkeypatch.setattr(bench, "PEER_SECONDS", 0.3)
    threads = torch.get_num_threads()
    result = bench.bench_windows(folder=tmp_path)
    assert result["store_gb"] == pytest.approx(4 * 16_384 * 194 * 4 / 1e9)
    assert result["windows_per_s"] > 0
    assert result["ratio"] == result["windows_per_s"] / result["ram_windows_per_s"]
    assert result["ratio"] >= 0.4
    assert result["peers"]["replay_buffer"] > 0
    assert all(rate if isinstance(rate, float) else "skipped" in rate for rate in result["peers"].values())
    assert torch.get_num_threads() == threads
    assert os.listdir(tmp_path) == []
