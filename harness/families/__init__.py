"""Model families: what each is made of and what it costs (no jax here).

A family is a `ModelSpec`: fields, `check`, `params`, `forward_flops`, and the name of
the Flax module that computes it (`harness/models/`). One line below makes it known.
"""

from harness.families.cnn import CNN
from harness.families.linear_rnn import LinearRNN
from harness.families.mlp import MLP
from harness.families.random_features import RandomFeatures
from harness.families.resnet import ResNet
from harness.families.rnn import RNN
from harness.families.transformer import Transformer
from harness.families.vit import ViT
from harness.spec import ModelSpec

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
