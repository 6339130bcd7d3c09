"""Robot models built in code from tables of facts."""
