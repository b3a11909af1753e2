"""Trackers: mirrors of what a results folder holds. Training knows nothing of them."""
