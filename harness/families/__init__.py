"""Model families: what each is made of and what it costs (no jax here).

A family is a `ModelSpec`: fields, `check`, `params`, `forward_flops`, and the name of
the Flax module that computes it (`module.py` beside its spec). One line below makes it
known.
"""

from harness.families.cnn.spec import CNN
from harness.families.linear_rnn.spec import LinearRNN
from harness.families.mlp.spec import MLP
from harness.families.random_features.spec import RandomFeatures
from harness.families.resnet.spec import ResNet
from harness.families.rnn.spec import RNN
from harness.families.transformer.spec import Transformer
from harness.families.vit.spec import ViT
from harness.specs.run import ModelSpec

FAMILIES: dict[str, type[ModelSpec]] = {
    f.family: f
    for f in (MLP, CNN, ResNet, RNN, LinearRNN, RandomFeatures, Transformer, ViT)
}
"""The families that ship; one defined elsewhere is known once it is imported."""

__all__ = [
    "CNN",
    "FAMILIES",
    "MLP",
    "RNN",
    "LinearRNN",
    "RandomFeatures",
    "ResNet",
    "Transformer",
    "ViT",
]
