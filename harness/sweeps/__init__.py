"""Grids of runs, recipes that set hyperparameters from scale, and their plan."""
