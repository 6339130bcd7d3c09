"""Benchmarks: each times a hot path against its own limit in the same run."""
