"""Reads the long rows of a results folder: loose files of runs, and packs of many.

A pack counts if the newest index names it, and a loose file if its run is in none: so
each run is read once, also while another program packs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from analysis.tables.columns import METRIC, RUN, SPLIT

INDEX = re.compile(r"index-(\d{6})\.parquet")
PACK = re.compile(r"packed-(.+)\.parquet")
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError)


class Curves(NamedTuple):
    """The long rows of one metric, and a sentence for each file that is not in them."""

    rows: pd.DataFrame
    damaged: tuple[str, ...]


def read_metrics(store: Path, metric: str, split: str) -> Curves:
    """The long rows (run_id, step, tokens, flops, value, …) of one metric of all runs.

    A damaged file hides only its own runs; it is named in `damaged`.

    Args:
        store: the results folder.
        metric: e.g. "loss" (nats).
        split: e.g. "eval".

    Raises:
        AnalysisError: the folder has no metrics, or no file of them can be read.
    """
    while True:
        newest = _newest_index(store)
        try:
            curves = _read(store, newest, metric, split)
        except FileNotFoundError:
            # It was packed since the folder was listed.
            continue
        if _newest_index(store) == newest:
            return curves


def _read(store: Path, index: Path | None, metric: str, split: str) -> Curves:
    tables, damaged = [], []
    packed, packs = _packed(index)
    for path in sorted((store / "metrics").glob("*.parquet")):
        match = PACK.fullmatch(path.name)
        if match[1] not in packs if match else path.stem in packed:
            continue
        try:
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
            wanted = pc.and_(
                pc.equal(table[METRIC], metric), pc.equal(table[SPLIT], split)
            )
            tables.append(table.filter(wanted).replace_schema_metadata(None))
        except UNREADABLE as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                raise
            reason = str(error).splitlines()[0] if str(error) else "no parquet file"
            damaged.append(
                f"metrics/{path.name} is damaged and left out of the curves: {reason}"
            )
    if not tables:
        raise AnalysisError("; ".join(damaged) or f"{store} has no metrics/*.parquet")
    rows = pa.concat_tables(tables, promote_options="default")
    # Whether runs are packed, and in which order, must not show in what is fitted.
    frame = rows.to_pandas().sort_values(RUN, kind="stable", ignore_index=True)
    return Curves(frame, tuple(damaged))


def _newest_index(store: Path) -> Path | None:
    found = [p for p in (store / "packed").glob("*") if INDEX.fullmatch(p.name)]
    return max(found, default=None)


def _packed(index: Path | None) -> tuple[set[str], set[str]]:
    """Ids of the runs in packs, and names of the packs."""
    if index is None:
        return set(), set()
    try:
        table = pq.read_table(index, columns=[RUN, "pack"])
    except UNREADABLE as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(index):
            raise
        raise AnalysisError(
            f"{index} is damaged: {error}; `harness doctor` mends it"
        ) from None
    return (
        set(table[RUN].to_pylist()),
        set(table["pack"].cast(pa.string()).unique().to_pylist()),
    )
