"""Random features under a trained read-out."""
