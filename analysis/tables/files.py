"""Reads the files of tables, and the runs of results folders, into frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.columns import RUN

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
