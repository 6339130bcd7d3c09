"""Closed loop: the diffusion policy drives the simulated robot, under pushes and on command."""
