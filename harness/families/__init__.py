"""Model families: what each is made of and what it costs (no jax here).

A family is a `ModelSpec`: fields, `check`, `params`, `forward_flops`, and the name of
the Flax module that computes it (`harness/models/`). One line below makes it known.
"""

from harness.families.mlp import MLP
from harness.families.transformer import Transformer
from harness.spec import ModelSpec

FAMILIES: dict[str, type[ModelSpec]] = {f.family: f for f in (MLP, Transformer)}
"""The families that ship; one defined elsewhere is known once it is imported."""

__all__ = ["FAMILIES", "MLP", "Transformer"]
