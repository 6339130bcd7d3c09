"""Simulation back ends behind one small interface, and the randomisation they apply."""
