"""Engines start workers; what the workers do is the same on all of them (no jax)."""
