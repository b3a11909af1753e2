"""The stamp of `fits.json`: a digest of the runs, and the version that fitted them."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.tables.columns import RUN


def stamp(runs: pd.DataFrame) -> dict[str, str]:
    """The digest of the runs and the version of this package."""
    return {"runs": digest_of_runs(runs), "version": version("scaling-harness")}


def digest_of_runs(runs: pd.DataFrame) -> str:
    """The SHA-256 of what the rows of `runs.parquet` say, however its file is encoded.

    Neither the order of rows or columns, nor empty columns, nor whether a number is
    stored as an integer changes it.
    """
    by_id = runs.sort_values(RUN, kind="stable")
    table = pa.Table.from_pandas(by_id, preserve_index=False)
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        column = table[name].combine_chunks()
        if column.null_count < len(column):
            digest.update(f"{name}\n".encode())
            digest.update(_content(column))
    return digest.hexdigest()


def _content(column: pa.Array) -> bytes:
    """The values of a column, its empty cells told from all others."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64(), safe=False).fill_null(0.0)
        present = np.asarray(column.is_valid())
        return present.tobytes() + np.asarray(numbers, "<f8").tobytes()
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    # Arrow hands a column of strings over whole, far faster than its cells by one.
    values = column.to_numpy(zero_copy_only=False) if text else column
    return json.dumps(values.tolist(), sort_keys=True, default=str).encode()
