"""Names of a diffusion policy's files, and the settings that decide the shape and meaning of its weights."""

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TRAINING = "training.json"
RECORDED = "windows.safetensors"
"""Windows kept beside a policy."""
RUN = "run.json"
"""What made a policy on a machine of its own: stages, seconds, rollouts."""

ARCHITECTURE_FIELDS = (
    "past",
    "future",
    "representation",
    "emphasis",
    "embedding",
    "layers",
    "heads",
    "denoise_steps",
    "attention",
)
"""Configuration fields that have to be equal for one policy's weights to fit into another."""
