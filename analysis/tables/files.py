"""Reads the files of tables, and the runs of results folders, into frames."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import RUN
from analysis.tables.readers import read_file

RUNS = "runs.parquet"
"""The file that makes a folder one of results."""


def read_frame(source: str | Path) -> pd.DataFrame:
    """Every row of a results folder or a file, as it stands there.

    Raises:
        AnalysisError: as `read_runs` and `read_file`.
    """
    path = Path(source)
    return read_runs(path) if is_results_folder(path) else read_file(path)


def is_results_folder(path: Path) -> bool:
    """Whether a path is a folder with runs, and not one of a dataset's files."""
    return (path / RUNS).is_file() or (path / "_store.json").is_file()


def read_runs(store: Path) -> pd.DataFrame:
    """The `runs.parquet` of a results folder: one row per finished run.

    Raises:
        AnalysisError: no such file, it cannot be read, or it has no row.
    """
    path = store / RUNS
    if not path.is_file():
        raise AnalysisError(
            f"{store} has no runs.parquet: it is not a results folder, or no run of "
            "it has finished yet"
        )
    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnalysisError(f"cannot read {path}: {first}") from None
    if frame.empty:
        raise AnalysisError(f"{store} has no finished runs yet")
    if RUN in frame and (nameless := int(frame[RUN].isna().sum())):
        raise AnalysisError(
            f"{path} has {nameless} rows without a {RUN}; `harness doctor {store}` "
            "makes it anew"
        )
    return frame
