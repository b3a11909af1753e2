"""The columns of a results folder: every name that analysis reads, spelled once.

A run is one row of `runs.parquet`, an evaluation or a training loss one long row of
`metrics/`. In anybody's own table any column may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

RUN = "run_id"
STATUS = "status"
DONE = "done"
"""Status of a run that trained to its end; others diverged or were stopped."""
FAMILY = "family"
LOSS = "loss"
ERROR = "error"
"""Share of wrong classes, of tasks that classify."""
ANNEALED = "annealed"
"""True where a run ended with its learning rate decayed."""
BATCH = "batch"
STEPS = "steps"
TOKENS = "tokens"
UNIQUE = "unique_tokens"
"""The data that a run has seen, each token or example counted once."""
LEARNING_RATE = "optimizer.lr"
SCHEDULE = "schedule.name"
COOLDOWN = "schedule.cooldown"
"""Share of a run's steps in which its learning rate decays."""

STORE_COLUMNS = {
    "n": "n_matmul",
    "d": TOKENS,
    "c": "flops_train",
    "loss": LOSS,
    "run": RUN,
}
"""Role of a fit -> the column that has it unless another is named."""
CONVENTIONS = ("n_matmul", "n_total", "n_body")
"""Columns that count parameters, the default one first; each counts other weights."""

INNER_AXIS = "grid.tune.lr"
"""The learning rates of a tuned sweep; empty where the rate is no inner axis."""
RATE_COLUMNS = (LEARNING_RATE, "lr", INNER_AXIS)
BUDGET_COLUMN = "grid.compute"
"""The nominal compute budget (FLOPs) of an isoFLOP sweep."""

STEP, FLOPS, VALUE = "step", "flops", "value"
METRIC, SPLIT = "metric", "split"
"""Columns of the long rows of metrics, beside `RUN` and `TOKENS`."""
HELD_OUT = "eval"
"""The split on which a run is judged."""

RUN_COLUMNS = (
    RUN,
    STATUS,
    FAMILY,
    "model.width",
    "model.depth",
    "n_matmul",
    TOKENS,
    "flops_train",
    LOSS,
    "loss_se",
    ERROR,
    LEARNING_RATE,
    "epochs",
    "seconds_train",
)
"""The columns of a report's table of runs."""
OPTIONAL = ("model.width", "model.depth", "loss_se", ERROR)
"""Those of them that some families and tasks do not have."""

SPEC = (FAMILY, BATCH, "precision", "l1", "l2")
SPEC_PARTS = ("model.", "data.", "optimizer.", "schedule.", "loss.", "metrics.")
SEEDS = ("seed_init", "seed_order", "seed_data")
LENGTH = (STEPS, "patience")


def spec_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns of a run's spec without its length and its seeds.

    None in a table that does not say what was trained.
    """
    return tuple(c for c in frame.columns if c in SPEC or str(c).startswith(SPEC_PARTS))


def run_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """All columns of a run's spec; () where a table does not say what was trained."""
    spec = spec_columns(frame)
    if STEPS not in frame.columns or not any(c.startswith("model.") for c in spec):
        return ()
    return (*spec, *(c for c in (*SEEDS, *LENGTH) if c in frame.columns))


def group_labels(frame: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """A number (rows,) that rows with equal values in all the columns share."""
    groups = frame.groupby(list(columns), dropna=False, sort=True)
    return np.asarray(groups.ngroup())
