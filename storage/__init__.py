"""Bytes on disk: artifacts by recipe, the trajectory store, the episode index. No orchestration."""
