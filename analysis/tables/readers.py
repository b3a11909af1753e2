"""Reads tables as people have them into frames: formats, headers, numbers as text.

Nothing is taken in silence: what was changed on the way is a sentence in
`frame.attrs["notes"]`, and what could be meant in two ways is refused with a remedy.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import lzma
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from analysis.errors import AnalysisError
from analysis.tables.numbers import NOTES, as_numbers

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip", ".zst": "zstd"}
SEPARATORS = ",;\t|"
UNREADABLE = (
    ValueError,
    OSError,
    RecursionError,
    pa.ArrowException,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What a damaged file, or one of another kind, raises."""


def read_file(path: Path) -> pd.DataFrame:
    """The rows of a file, or of all files of a pattern or a folder, one below another.

    CSV, TSV, JSONL, JSON arrays, parquet, feather and Arrow files; each also
    compressed as .gz, .bz2, .xz, .zip or .zst.

    Raises:
        AnalysisError: no such file, another kind of file, or one that cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file() and glob.has_magic(str(path)):
        return _read_pattern(path)
    return _read_one(path)


def _read_one(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise AnalysisError(
            f"there is no table at {path}: give a CSV, JSONL or parquet file, or a "
            "results folder, which `harness run` writes"
        )
    packed = COMPRESSED.get(path.suffix.lower())
    suffix = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise AnalysisError(
            f"{path} is none of {', '.join(READERS)} (or compressed as "
            f"{', '.join(COMPRESSED)}); convert it or rename it"
        )
    try:
        return reader(path, _content(path, packed))
    except AnalysisError:
        raise
    except UNREADABLE as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnalysisError(f"cannot read {path}: {first}") from None


def _content(path: Path, packed: str | None) -> bytes:
    if packed in (None, "gzip", "bz2", "zstd"):
        with pa.input_stream(str(path), compression=packed) as stream:
            content: bytes = stream.read()
        return content
    if packed == "xz":
        return lzma.decompress(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)} files, not one")
        return archive.read(names[0])


def _read_folder(folder: Path) -> pd.DataFrame:
    """A partitioned dataset: parquet files in folders called column=value."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise AnalysisError(
            f"{folder} has no runs.parquet: it is not a results folder, or no run of "
            "it has finished yet; nor has it parquet files of a dataset"
        )
    try:
        return as_numbers(pyarrow.parquet.read_table(folder).to_pandas())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise AnalysisError(f"cannot read {folder}: {error}") from None


def _read_pattern(pattern: Path) -> pd.DataFrame:
    paths = [Path(p) for p in sorted(glob.glob(str(pattern)))]
    if not paths:
        raise AnalysisError(f"no file matches {pattern}")
    frames = [_read_one(path).assign(file=path.name) for path in paths]
    together = pd.concat(frames, ignore_index=True)
    notes = [note for frame in frames for note in frame.attrs.get(NOTES, ())]
    together.attrs[NOTES] = [f"{len(paths)} files were read", *dict.fromkeys(notes)]
    return together


def _read_text(path: Path, content: bytes) -> pd.DataFrame:
    text = content.decode("utf-8-sig")
    lines = text.splitlines(keepends=True)
    start = 0
    while start < len(lines) and _is_comment(lines[start]):
        start += 1
    if start == len(lines):
        raise AnalysisError(f"{path} has no rows")
    separator = _separator(lines[start])
    names = [n.strip() for n in next(csv.reader([lines[start]], delimiter=separator))]
    _refuse_twins(path, names)
    frame = pd.read_csv(
        io.StringIO("".join(lines[start:]) if start else text),
        sep=separator,
        skipinitialspace=True,
    )
    if len(frame.columns) == len(names):
        nameless = {i for i, name in enumerate(names) if not name}
        frame.columns = pd.Index(
            f"column {i + 1}" if i in nameless and len(nameless) > 1 else name
            for i, name in enumerate(names)
        )
    notes = [f"{start} lines of comments were skipped"] if start else []
    if separator != "," and path.suffix.lower() not in (".tsv", ".txt"):
        notes.append(f"columns are separated by {separator!r}")
    frame, dropped = _without_heads(frame)
    frame.attrs[NOTES] = notes + dropped
    return as_numbers(frame, decimal_comma=separator == ";")


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _separator(header: str) -> str:
    """The separator that the header has most of; a comma if none."""
    return max(SEPARATORS, key=lambda s: (header.count(s), s == ","))


def _refuse_twins(path: Path, names: list[str]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1 and name]
    if twins:
        at = [str(i + 1) for i, name in enumerate(names) if name == twins[0]]
        raise AnalysisError(
            f"{path}: {len(at)} columns are called {twins[0]!r} (columns "
            f"{' and '.join(at)}): rename or remove all but one"
        )


def _without_heads(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows that are data: not the header once more, and not its units."""
    notes: list[str] = []
    texts = [
        c
        for c in frame.columns
        if frame[c].dtype == object or pd.api.types.is_string_dtype(frame[c].dtype)
    ]
    if len(frame) < 2 or not texts:
        return frame, notes
    cells = frame[texts].astype(str).apply(lambda column: column.str.strip())
    again = (cells == [str(c) for c in texts]).all(axis=1).to_numpy()
    if len(texts) == len(frame.columns) and again.any():
        count = int(again.sum())
        noun = "row repeats" if count == 1 else "rows repeat"
        notes.append(f"{count} {noun} the header; left out")
        frame = frame[~again]
    first = frame.iloc[0]
    if not all(map(_is_word, first)):
        return frame, notes
    rest = as_numbers(frame.iloc[1:].copy())
    if all(pd.api.types.is_numeric_dtype(rest[c]) for c in rest.columns):
        shown = ", ".join(map(str, first))
        notes.append(f"the first row was left out: it holds units ({shown})")
        frame = frame.iloc[1:]
    return frame, notes


def _is_word(value: object) -> bool:
    return (
        isinstance(value, str)
        and re.search(r"[A-Za-z]", value) is not None
        and (re.fullmatch(r"[\d.,eE+-]+\s*[KMBGTk%]?", value.strip()) is None)
    )


def _read_lines(path: Path, content: bytes) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise AnalysisError(
                    f"cannot read {path}: line {number}: {error}"
                ) from None
    return _records(path, rows)


def _read_array(path: Path, content: bytes) -> pd.DataFrame:
    value = json.loads(content.decode("utf-8-sig"))
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else [value]
    return _records(path, value)


def _records(path: Path, rows: object) -> pd.DataFrame:
    """Objects as rows; what is nested gets names with dots."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnalysisError(f"cannot read {path}: it is no list of objects")
    records: list[dict[str, object]] = rows
    if not any(isinstance(v, dict) for row in records for v in row.values()):
        return as_numbers(pd.DataFrame(records))
    frame = pd.json_normalize(records)
    example = next(c for c in frame.columns if "." in c)
    frame.attrs[NOTES] = [f"nested columns have names with dots, such as {example}"]
    return as_numbers(frame)


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    table = pyarrow.parquet.read_table(pa.BufferReader(content))
    return _from_arrow(path, table)


def _read_arrow(path: Path, content: bytes) -> pd.DataFrame:
    return _from_arrow(path, pyarrow.feather.read_table(pa.BufferReader(content)))


def _from_arrow(path: Path, table: pa.Table) -> pd.DataFrame:
    _refuse_twins(path, list(table.column_names))
    nested = any(pa.types.is_struct(field.type) for field in table.schema)
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    frame: pd.DataFrame = table.to_pandas()
    if nested:
        frame.attrs[NOTES] = ["nested columns have names with dots"]
    return as_numbers(frame)


READERS: dict[str, Callable[[Path, bytes], pd.DataFrame]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_array,
    ".parquet": _read_parquet,
    ".feather": _read_arrow,
    ".arrow": _read_arrow,
    ".ipc": _read_arrow,
}
"""Ending of a file's name -> what reads its content."""
