"""Scaling-law experiment harness: from one sweep file to fitted exponents.

    Sweep ─▶ plan ─▶ train ─▶ store ─▶ fit ─▶ report
    specs    ids     jitted   parquet  laws   HTML, PNG, JSON

An experiment file makes a `SWEEP` from the names below; `harness run FILE` does the
rest. The fits live in the package `analysis`, which works on any table.
"""

from harness import recipe
from harness.families import CNN, MLP, RNN, LinearRNN, ResNet, Transformer, ViT
from harness.spec import OptimSpec, RunSpec, TeacherStudent, Text
from harness.sweep import (
    Sweep,
    chain,
    isoflop,
    ladder,
    product,
    with_recipe,
    with_seeds,
    zip_,
)

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "LinearRNN",
    "OptimSpec",
    "ResNet",
    "RunSpec",
    "Sweep",
    "TeacherStudent",
    "Text",
    "Transformer",
    "ViT",
    "chain",
    "isoflop",
    "ladder",
    "product",
    "recipe",
    "with_recipe",
    "with_seeds",
    "zip_",
]
