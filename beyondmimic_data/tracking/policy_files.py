"""Names of the files in a tracking policy's folder."""

WEIGHTS = "policy.safetensors"
"""Actor and critic with their normalisers."""
TRAINING = "training.json"
"""How it was trained: curve, checks, counters."""
EVALUATION = "evaluation.json"
"""What it showed at its gate."""
