"""Reads the files of tables and of results folders into frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import METRIC, RUN, SPLIT

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".tsv": partial(pd.read_csv, sep="\t"),
    ".parquet": pd.read_parquet,
    ".jsonl": partial(pd.read_json, lines=True),
}
"""Ending of a file's name -> what reads it; also with .gz."""


def read_frame(source: str | Path) -> pd.DataFrame:
    """Every row of a results folder or a file, as it stands there.

    Raises:
        AnalysisError: as `read_runs` and `read_file`.
    """
    path = Path(source)
    return read_runs(path) if path.is_dir() else read_file(path)


def read_runs(store: Path) -> pd.DataFrame:
    """The `runs.parquet` of a results folder: one row per finished run.

    Raises:
        AnalysisError: no such file, it cannot be read, or it has no row.
    """
    path = store / "runs.parquet"
    if not path.is_file():
        raise AnalysisError(
            f"{store} has no runs.parquet: it is not a results folder, or no run of "
            "it has finished yet"
        )
    frame = read_file(path)
    if frame.empty:
        raise AnalysisError(f"{store} has no finished runs yet")
    if RUN in frame and (nameless := int(frame[RUN].isna().sum())):
        raise AnalysisError(
            f"{path} has {nameless} rows without a {RUN}; `harness doctor {store}` "
            "makes it anew"
        )
    return frame


class Curves(NamedTuple):
    """The long rows of one metric, and a sentence for each file that is not in them."""

    rows: pd.DataFrame
    damaged: tuple[str, ...]


def read_metrics(store: Path, metric: str, split: str) -> Curves:
    """The long rows (run_id, step, tokens, flops, value, …) of one metric of all runs.

    A damaged file hides only its own run; it is named in `damaged`.

    Args:
        store: the results folder.
        metric: e.g. "loss" (nats).
        split: e.g. "eval".

    Raises:
        AnalysisError: the folder has no metrics, or no file of them can be read.
    """
    frames, damaged = [], []
    for path in sorted((store / "metrics").glob("*.parquet")):
        try:
            frame = read_file(path)
            frames.append(frame[(frame[METRIC] == metric) & (frame[SPLIT] == split)])
        except (AnalysisError, KeyError) as error:
            damaged.append(
                f"metrics/{path.name} is damaged and left out of the curves: {error}"
            )
    if not frames:
        raise AnalysisError("; ".join(damaged) or f"{store} has no metrics/*.parquet")
    return Curves(pd.concat(frames, ignore_index=True), tuple(damaged))


def read_file(path: Path) -> pd.DataFrame:
    """The rows of a CSV, TSV, JSONL (each also .gz) or parquet file.

    Raises:
        AnalysisError: no such file, another kind of file, or one that cannot be read.
    """
    if not path.is_file():
        raise AnalysisError(
            f"there is no table at {path}: give a CSV, JSONL or parquet file, or a "
            "results folder, which `harness run` writes"
        )
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    reader = READERS.get(suffix.lower())
    if reader is None:
        raise AnalysisError(
            f"{path} is none of {', '.join(READERS)} (or .gz); convert it or rename it"
        )
    try:
        return reader(path)
    except (ValueError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnalysisError(f"cannot read {path}: {first}") from None
