"""Which columns of a results folder say what was trained."""

from __future__ import annotations

import pandas as pd

SPEC = ("family", "batch", "precision")
SPEC_PARTS = ("model.", "data.", "optim.")
SEEDS = ("seed_init", "seed_order", "seed_data")
BUDGET = ("steps", "patience")


def spec_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Columns of the spec but its length and its seeds; none in anyone's own table."""
    return tuple(c for c in frame.columns if c in SPEC or str(c).startswith(SPEC_PARTS))


def run_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Every column of the spec, () where the table does not say what was trained."""
    spec = spec_columns(frame)
    if "steps" not in frame.columns or not any(c.startswith("model.") for c in spec):
        return ()
    return (*spec, *(c for c in (*SEEDS, *BUDGET) if c in frame.columns))
