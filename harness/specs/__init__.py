"""Specs that say what a run is, its id, and its closed-form counts."""
