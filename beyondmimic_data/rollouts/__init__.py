"""Domain-randomised rollouts of tracking policies: noisy action executed, clean action stored."""
