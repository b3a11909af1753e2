"""Intervals: what a bootstrap draws, how, and what follows from it."""
