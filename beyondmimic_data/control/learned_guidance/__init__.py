"""Learned guidance: a small policy sets how each robot is guided, over a frozen diffusion model."""
