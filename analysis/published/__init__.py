"""Published scaling laws, brought out again from released data.

`all_reproductions()` lists them; each has a `run()` that returns checks of expected
against obtained numbers. Data that their licence allows to ship are under `data/`.
"""

from analysis.published import (  # noqa: F401  (registers the reproductions)
    chinchilla,
    compute_optimal,
    data_limits,
    ladder,
    learning_curves,
    negative,
    training_choices,
)
from analysis.published.base import (
    Check,
    MissingDataError,
    Outcome,
    Reproduction,
    all_reproductions,
    get_reproduction,
)

__all__ = [
    "Check",
    "MissingDataError",
    "Outcome",
    "Reproduction",
    "all_reproductions",
    "get_reproduction",
]
