"""Intervals of fits: the units drawn, the draws, and what follows from them."""
