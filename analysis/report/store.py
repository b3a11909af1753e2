"""A results folder as a report reads it: each of its tables once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.tables.columns import INNER_AXIS
from analysis.tables.files import read_runs
from analysis.tables.plain import read_json
from analysis.tables.table import Table, table_of_runs
from analysis.tuning.lr_minima import keep_minima, lr_curves
from analysis.tuning.summary import TuningSummary, summarise_tuning
from analysis.uncertainty.units import Advice, advise


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """The runs of a results folder, and the rows of them that fits use.

    Attributes:
        path: the folder.
        question: the docstring of its sweep, "" when none is recorded.
        runs: all finished runs, diverged ones included.
        table: the rows that fits use; of a tuned sweep, the minima of its points.
        tuning: the minima of a tuned sweep, by family; empty otherwise.
        advice: which bootstrap suits the rows, and why.
    """

    path: Path
    question: str
    runs: pd.DataFrame
    table: Table
    tuning: tuple[TuningSummary, ...]
    advice: Advice

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing about the rows that a reader must know."""
        return (
            *map(str, self.table.left_out),
            *(note for summary in self.tuning for note in summary.notes()),
            *((self.advice.caution,) if self.advice.caution else ()),
        )


def read_store(folder: str | Path) -> Store:
    """The runs and the question of a results folder.

    Raises:
        AnalysisError: the folder holds no finished run that a fit could use.
    """
    path = Path(folder)
    runs = read_runs(path)
    table, tuning = _rows_of_fits(runs, str(path))
    return Store(
        path=path,
        question=_question(path),
        runs=runs,
        table=table,
        tuning=tuning,
        advice=advise(table),
    )


def _rows_of_fits(
    runs: pd.DataFrame, source: str
) -> tuple[Table, tuple[TuningSummary, ...]]:
    table = table_of_runs(runs, source, duplicates="keep")
    if INNER_AXIS not in runs:
        return table, ()
    points = lr_curves(table)
    is_tuned = bool(runs[INNER_AXIS].notna().any())
    return keep_minima(*points), summarise_tuning(points) if is_tuned else ()


def _question(path: Path) -> str:
    try:
        return str(read_json(path / "sweep.json")["doc"])
    # A damaged file hides the question, not the fits.
    except (OSError, ValueError, KeyError, TypeError):
        return ""
