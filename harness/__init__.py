"""Scaling-law experiment harness: from one sweep file to fitted exponents.

    Sweep ─▶ plan ─▶ train ─▶ store ─▶ fit ─▶ report
    specs    ids     jitted   parquet  laws   HTML, PNG, JSON

An experiment file makes a `SWEEP` from the names below; `harness run FILE` does the
rest. The fits live in the package `analysis`, which works on any table.
"""

from harness import recipe, xla
from harness.families import (
    CNN,
    MLP,
    RNN,
    LinearRNN,
    RandomFeatures,
    ResNet,
    Transformer,
    ViT,
)
from harness.sources import (
    Images,
    ManifoldTeacher,
    PowerLawFeatures,
    SparseParity,
    Table,
    TeacherStudent,
    Text,
    TwoMoons,
    ZipfMarkov,
)
from harness.spec import OptimSpec, RunSpec
from harness.sweep import (
    Sweep,
    chain,
    isoflop,
    ladder,
    octaves,
    product,
    tune,
    with_recipe,
    with_seeds,
    zip_,
)

xla.vectorise()

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "Images",
    "LinearRNN",
    "ManifoldTeacher",
    "OptimSpec",
    "PowerLawFeatures",
    "RandomFeatures",
    "ResNet",
    "RunSpec",
    "SparseParity",
    "Sweep",
    "Table",
    "TeacherStudent",
    "Text",
    "Transformer",
    "TwoMoons",
    "ViT",
    "ZipfMarkov",
    "chain",
    "isoflop",
    "ladder",
    "octaves",
    "product",
    "recipe",
    "tune",
    "with_recipe",
    "with_seeds",
    "zip_",
]
