"""Stage 1: the tracking task, its PPO training, evaluation and export."""
