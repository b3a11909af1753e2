"""Compute-optimal allocation by each of the known approaches."""
