"""The Python face: train a run, run a sweep, open a results folder."""
