"""A results folder as a Python object: its tables, fits, figures and models."""

from __future__ import annotations

import sys
import tempfile
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SpecError, StoreError
from harness.store import Store, open_store, refresh_runs
from harness.store.read import copy_tables
from harness.store.status import SweepStatus, sweep_status
from harness.sweeps.plan import Plan, plan_of_record

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.fitting.options import FitOptions
    from analysis.fitting.record import Fit
    from analysis.laws import Law
    from analysis.optimal.side_by_side import Exponent
    from analysis.tables.table import Table
    from harness.export.trained import Trained

SHOWN = ("model.family", "n_matmul", "tokens", "flops_train", "loss")
"""Columns of the short table that a notebook shows."""


def open_study(where: str | Path) -> Study:
    """The study in a results folder, on a disk or under s3://bucket/prefix.

    Raises `StoreError` if there is none.
    """
    return Study(open_store(str(where)))


class Study:
    """A results folder: what its runs are, what they found, what can be drawn of it.

    Tables are read anew at each call, so a study may be looked at while workers train.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"Study({self.store.uri!r})"

    def plan(self) -> Plan:
        """The plan of the sweep run last. Raises `UnknownTagError` for foreign parts,
        which have to be imported first."""
        sweeps = self.store.sweeps()
        if not sweeps:
            raise StoreError(f"{self.store.uri} has no sweep yet")
        return plan_of_record(sweeps[-1])

    def status(self) -> SweepStatus:
        """Runs by state, workers, failures."""
        return sweep_status(self.store)

    @property
    def folder(self) -> Path:
        """The folder, or a copy of its tables on this machine."""
        if self.store.folder is not None:
            return self.store.folder
        copy_tables(self.store, self._copy)
        return self._copy

    @cached_property
    def _copy(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="scaling-harness-"))

    @property
    def runs(self) -> pd.DataFrame:
        """One row per finished run: spec, counts, losses, speed."""
        import pandas as pd

        refresh_runs(self.store)
        return pd.read_parquet(self.folder / "runs.parquet")

    @property
    def metrics(self) -> pd.DataFrame:
        """The curves of finished runs: run_id, step, tokens, split, metric, value."""
        import pyarrow as pa

        copy = open_store(self.folder)
        runs = copy.packs.in_order(copy.finished())
        if not runs:
            raise StoreError(f"{self.store.uri} has no finished run yet")
        rows = pa.concat_tables([copy.metrics(run_id) for run_id in runs])
        frame: pd.DataFrame = rows.to_pandas()
        return frame

    def fit(
        self,
        law: str | Law = "chinchilla",
        *,
        bootstrap: int = 1000,
        where: str | None = None,
        options: FitOptions | None = None,
        **roles: str,
    ) -> Fit:
        """A law fitted to the finished runs, with bootstrap intervals.

        Args:
            law: a name that `harness laws` lists, or a `Law` of one's own.
            bootstrap: replicas; 0 for no intervals.
            where: an expression that keeps rows.
            options: `analysis.FitOptions`.
            **roles: columns, or expressions over columns, for roles such as n and d.

        Raises `AnalysisError` where the rows do not allow it.
        """
        import analysis

        rows = self.table(where=where, **roles)
        options = options or analysis.FitOptions()
        if not bootstrap:
            plain: Fit = analysis.fit_law(rows, law, options)
            return plain
        draws = analysis.Bootstrap(kind=analysis.advise(rows).kind, replicas=bootstrap)
        fit: Fit = analysis.fit_with_intervals(rows, law, draws, options)
        return fit

    def table(self, *, where: str | None = None, **roles: str) -> Table:
        """The rows that fits use; of a tuned sweep the minima of its points."""
        import analysis

        read = analysis.read_table(self.folder, where=where, **roles)
        table: Table = analysis.at_minima(read)
        return table

    def approaches(self, *, bootstrap: int = 1000) -> tuple[Exponent, ...]:
        """The exponent of N* against C, by each estimator and counting convention."""
        import analysis
        from analysis.optimal.of_source import exponents_of

        rows = self.table()
        draws = analysis.Bootstrap(kind=analysis.advise(rows).kind, replicas=bootstrap)
        exponents, _ = exponents_of(self.folder, rows, draws)
        return exponents

    def report(self, *, bootstrap: int = 1000) -> Path:
        """Fits all that the runs allow, and writes fits.json and the report's page."""
        import analysis

        page: Path = analysis.write_report(self.folder, replicas=bootstrap)
        return page

    def figure(self, name: str, *, bootstrap: int = 200) -> Figure:
        """A figure of the report, drawn from the runs as they are now.

        Raises `SpecError` for a name that the rows give no figure for; it lists those
        that there are.
        """
        from analysis.report.write import draw_figure

        figure, names = draw_figure(self.folder, name, replicas=bootstrap)
        if figure is None:
            raise SpecError(f"no figure {name!r}; there are {', '.join(names)}")
        _show_figures_in_notebooks()
        return figure

    def load(self, run: str) -> Trained:
        """The weights that were kept of a run, by the first digits of its id."""
        from harness.export.load import load_trained

        return load_trained(self.store, run)

    def _repr_html_(self) -> str:
        """What a notebook shows: the folder, how far it is, the newest runs."""
        finished = len(self.store.finished())
        head = f"<b>{escape(self.store.uri)}</b>: {finished} finished runs"
        if not finished:
            return head
        runs = self.runs
        columns = [name for name in SHOWN if name in runs.columns]
        rows: str = runs[columns].tail(8).to_html(index=False, escape=True)
        return head + rows


def _show_figures_in_notebooks() -> None:
    """Has a notebook draw figures that are the value of a cell."""
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        from IPython.core import pylabtools

        pylabtools.select_figure_formats(shell, {"png"})  # type: ignore[no-untyped-call]
