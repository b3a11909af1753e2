"""Data sets: a folder per subject with its spec beside the code that reads it.

A data set is a few arrays and an order. The batch at step s depends on `seed_order` and
s alone, so every model size and learning rate sees the same batches, and a resumed run
needs to know only its step.
"""
