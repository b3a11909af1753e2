"""Data drawn from a law that is known exactly."""
