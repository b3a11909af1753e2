"""One compiled program and the loop that runs it (jax)."""
