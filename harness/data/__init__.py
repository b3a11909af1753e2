"""Data sets: the only folder that reads them (numpy, no jax).

A data set is a few arrays and an order. The batch at step s depends on `seed_order` and
s alone, so every model size and learning rate sees the same batches, and a resumed run
needs to know only its step.
"""

from harness.data.dataset import Dataset
from harness.data.order import epoch_order
from harness.data.sources import at_hand, load, resolve

__all__ = ["Dataset", "at_hand", "epoch_order", "load", "resolve"]
