"""Scaling-law experiment harness: from one sweep file to fitted exponents.

    Sweep ─▶ plan ─▶ train ─▶ store ─▶ fit ─▶ report
    specs    ids     jitted   parquet  laws   HTML, PNG, JSON

An experiment file makes a `SWEEP` from the names below; `harness run FILE` does the
rest; `harness.train(run)` trains one run in this process. The fits live in the package
`analysis`, which works on any table.
"""

from importlib import import_module
from typing import Any

from harness.data.arrays.spec import Arrays
from harness.data.images.spec import Images
from harness.data.synthetic.spec import (
    ManifoldTeacher,
    PowerLawFeatures,
    SparseParity,
    TeacherStudent,
    TwoMoons,
    ZipfMarkov,
)
from harness.data.tables.spec import Table
from harness.data.text.spec import Text
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
from harness.optimizers.spec import (
    SGD,
    Adafactor,
    AdamW,
    AdEMAMix,
    Lion,
    Muon,
    ScheduleFreeAdamW,
)
from harness.schedules.spec import WSD, Constant, Cosine, InverseSqrt, Linear
from harness.specs.loss import Likelihood, SmoothedLikelihood
from harness.specs.reading import run_id_of
from harness.specs.run import RunSpec
from harness.study.fork import watch_forks
from harness.sweeps import recipe
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.promises import (
    FamilyExponents,
    FittedConstant,
    Minima,
    Promise,
    RmsResidual,
    RunValue,
)
from harness.sweeps.sweep import (
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
from harness.training import xla

xla.vectorise()
watch_forks()

__all__ = [
    "CNN",
    "MLP",
    "RNN",
    "SGD",
    "WSD",
    "AdEMAMix",
    "Adafactor",
    "AdamW",
    "Arrays",
    "Constant",
    "Cosine",
    "FamilyExponents",
    "FittedConstant",
    "Images",
    "InverseSqrt",
    "Likelihood",
    "Linear",
    "LinearRNN",
    "Lion",
    "ManifoldTeacher",
    "Minima",
    "Muon",
    "PowerLawFeatures",
    "Promise",
    "RandomFeatures",
    "ResNet",
    "RmsResidual",
    "RunSpec",
    "RunValue",
    "ScheduleFreeAdamW",
    "SmoothedLikelihood",
    "SparseParity",
    "Study",
    "Sweep",
    "Table",
    "TeacherStudent",
    "Text",
    "TrainOptions",
    "Trained",
    "TrainedRun",
    "Transformer",
    "TwoMoons",
    "ViT",
    "WorkerOptions",
    "ZipfMarkov",
    "chain",
    "isoflop",
    "ladder",
    "load_trained",
    "octaves",
    "open_study",
    "product",
    "recipe",
    "run",
    "run_id_of",
    "train",
    "tune",
    "with_recipe",
    "with_seeds",
    "zip_",
]


LAZY = {
    "Trained": "harness.export.trained",
    "load_trained": "harness.export.load",
    "Study": "harness.study.study",
    "TrainedRun": "harness.study.train",
    "open_study": "harness.study.study",
    "run": "harness.study.run",
    "train": "harness.study.train",
}
"""Module of each public name that is imported when it is first used."""


def __getattr__(name: str) -> Any:
    # These need jax or pandas; specs and plans must start without them.
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
