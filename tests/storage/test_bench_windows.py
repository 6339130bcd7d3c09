import os
from pathlib import Path

import pytest
import torch

from storage import bench_windows as bench


def test_the_mapped_store_keeps_up_with_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_STORE_CHUNKS", 8)
    threads = torch.get_num_threads()
    result = bench.bench_windows(seconds=6.0, folder=tmp_path)
    assert result["store_gb"] == pytest.approx(8 * 16_384 * 194 * 4 / 1e9)
    assert result["windows_per_s"] > 0
    assert result["ratio"] == result["windows_per_s"] / result["ram_windows_per_s"]
    assert result["ratio"] >= 0.4
    assert torch.get_num_threads() == threads
    assert os.listdir(tmp_path) == []
