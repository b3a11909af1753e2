"""Rows that stand twice: resumed runs, copies behind an index, copies in charts."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.tables.table import Table, table_from_frame
from tests.analysis import synthetic


def curves() -> pd.DataFrame:
    """Three sizes, each logged at five steps."""
    frame = synthetic.frame(noise=0.003, sizes=3, budgets=5)
    frame["run"] = [f"r{n:.0f}" for n in frame["n"]]
    return frame.sort_values(["n", "d"], ignore_index=True).assign(step=[*range(5)] * 3)


def table(frame: pd.DataFrame, **options: str) -> Table:
    return table_from_frame(frame, n="n", d="d", loss="loss", **options)


@pytest.mark.parametrize("named", [True, False])
def test_of_a_step_logged_twice_the_later_row_counts(named: bool) -> None:
    frame = curves()
    again = frame[(frame["n"] == 1e7) & (frame["step"] > 2)]
    wrong = frame.copy()
    wrong.loc[again.index, "loss"] += 0.1
    resumed = pd.concat([wrong.loc[:4], again, wrong.loc[5:]], ignore_index=True)
    options = {"run": "run"} if named else {}
    read = table(resumed, **options)
    assert [str(x) for x in read.left_out] == [
        "2 rows left out: a later row has the same run and step"
    ]
    assert fit_law(read).constants == fit_law(table(frame, **options)).constants


def test_metrics_splits_and_repeats_are_no_resumed_steps() -> None:
    frame = curves()
    splits = pd.concat([frame.assign(split=s) for s in ("eval", "train")])
    assert len(table(splits.assign(loss=range(1, 31)))) == 30
    # A column called run that counts seeds: sizes differ within it.
    seeds = frame.assign(run=0, step=1000)
    assert len(table(seeds)) == 15
    lengths = frame.assign(step=1000)
    assert len(table(lengths)) == 15


def test_copies_behind_an_index_are_copies() -> None:
    frame = synthetic.frame(sizes=3, budgets=4)
    twice = pd.concat([frame, frame], ignore_index=True)
    for name, first in (("", 0), ("Unnamed: 0", 0), ("id", 1)):
        indexed = twice.copy()
        indexed.insert(0, name, range(first, first + len(twice)))
        with pytest.raises(AnalysisError, match=r"rows 13, .* and 7 more .*--dup"):
            table(indexed)
        assert len(table(indexed, duplicates="drop")) == 12
        assert len(table(indexed, duplicates="keep")) == 24
    # A column of one's own that counts from elsewhere tells rows apart.
    assert len(table(twice.assign(order=range(7, 31)))) == 24


def test_a_charts_least_and_greatest_are_no_losses() -> None:
    frame = curves().rename(columns={"loss": "a - loss"})
    frame["a - loss__MIN"] = frame["a - loss__MAX"] = frame["a - loss"]
    roles = {"n": "n", "d": "d"}
    with pytest.raises(AnalysisError, match="chart's copy of 'a - loss'"):
        table_from_frame(frame, loss="a - loss__MIN", **roles)
    assert len(table_from_frame(frame, loss="a - loss", **roles)) == 15
    alone = frame.drop(columns="a - loss")
    assert len(table_from_frame(alone, loss="a - loss__MAX", **roles)) == 15
