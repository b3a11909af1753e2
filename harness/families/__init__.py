"""Model families: what each is made of and what it costs (no jax here).

A family is a `ModelSpec`: fields, `check`, `params`, `forward_flops`, and the name of
the Flax module that computes it (`module.py` beside its spec). To add one, write its
folder and name it below; one in an experiment file is known as soon as that is loaded.
"""

from harness.families.cnn.spec import CNN
from harness.families.linear_rnn.spec import LinearRNN
from harness.families.mlp.spec import MLP
from harness.families.random_features.spec import RandomFeatures
from harness.families.resnet.spec import ResNet
from harness.families.rnn.spec import RNN
from harness.families.transformer.spec import Transformer
from harness.families.vit.spec import ViT

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "LinearRNN",
    "RandomFeatures",
    "ResNet",
    "Transformer",
    "ViT",
]
