"""Token ids from arrays, parquet and Hugging Face folders to one token file.

Tables and folders are read in batches, so memory does not grow with them. Each row of a
column of lists is a document; the file `NAME.documents.npy` says where they start.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.files import Array, read_npz, write_whole
from harness.data.text.token_files import documents_file, id_type
from harness.errors import DataError

ROWS = 4096
"""Rows of a table that are read at once."""
BLOCK = 2**22
"""Ids of an array that are copied at once."""

Block = tuple[Array, Array]
"""Ids (k,), and the positions in them where documents start."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """The token file that was written."""

    file: Path
    tokens: int
    documents: int
    vocab: int
    sha256: str

    def source(self, separator: int | None) -> str:
        """The data source that reads it, as it stands in a sweep file."""
        by = "" if separator is None else f", separator={separator}"
        whole = f", hold_out='documents'{by}" if self.documents > 1 or by else ""
        return f"Text(corpus='{self.file}', vocab={self.vocab}{whole})"


def import_tokens(
    source: Path,
    out: Path,
    *,
    column: str | None = None,
    vocab: int | None = None,
    separator: int | None = None,
) -> Imported:
    """Writes `tokens.bin`, its JSON file and its documents into the folder `out`.

    Args:
        source: an `.npy` file, an `.npz` file, a parquet file, or a folder that Hugging
            Face datasets saved (one split, or one with "train").
        out: folder that is written.
        column: the column, or the array of an `.npz` file, that holds ids; by default
            the only one that can.
        vocab: size of the vocabulary; by default one more than the largest id.
        separator: an id to write after each document.

    Raises:
        DataError: for a source that cannot be read, values that are no ids, and ids at
            or above `vocab`.
    """
    limit = vocab or 2**32
    blocks = _checked(_blocks(source, column), source, limit)
    if separator is not None:
        blocks = (_separated(block, separator) for block in blocks)
    file = out / "tokens.bin"
    total = _Total()
    width = id_type(limit)
    write_whole(file, functools.partial(total.write, blocks, width))
    if not total.tokens:
        file.unlink()
        raise DataError(f"{source} holds no token")
    vocab = vocab or total.largest + 1
    starts = np.concatenate(total.starts)
    write_whole(documents_file(file), functools.partial(_save, starts))
    facts = {
        "tokenizer": f"ids of {source.name}",
        "vocab": vocab,
        "documents": len(starts),
        "tokens": total.tokens,
        "sha256": total.digest.hexdigest(),
        "dtype": width,
    }
    text = json.dumps(facts, indent=1) + "\n"
    write_whole(file.with_suffix(".json"), lambda path: path.write_text(text))
    return Imported(
        file=file,
        tokens=total.tokens,
        documents=len(starts),
        vocab=vocab,
        sha256=total.digest.hexdigest(),
    )


class _Total:
    """The counts of all blocks, taken while they are written."""

    def __init__(self) -> None:
        self.tokens, self.largest = 0, 0
        self.starts: list[NDArray[np.int64]] = []
        self.digest = hashlib.sha256()

    def write(self, blocks: Iterator[Block], width: str, path: Path) -> None:
        with path.open("wb") as file:
            for ids, starts in blocks:
                raw = ids.astype(np.dtype(width).newbyteorder("<")).tobytes()
                file.write(raw)
                self.digest.update(raw)
                self.starts.append(starts.astype(np.int64) + self.tokens)
                self.tokens += len(ids)
                self.largest = max(self.largest, int(ids.max(initial=0)))


def _save(array: Array, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _checked(blocks: Iterator[Block], source: Path, limit: int) -> Iterator[Block]:
    before = 0
    for ids, starts in blocks:
        bad = np.flatnonzero((ids < 0) | (ids >= limit))
        if len(bad):
            raise DataError(
                f"{source} holds {ids[bad[0]]} at position {before + int(bad[0]):,}; "
                f"ids lie in [0, {limit:,})"
            )
        before += len(ids)
        yield ids, starts


def _separated(block: Block, separator: int) -> Block:
    """The block with the separator after each of its documents."""
    ids, starts = block
    ends = [*starts[1:], len(ids)]
    moved = starts + np.arange(len(starts))
    return np.insert(ids, np.asarray(ends, np.int64), separator), moved


def _blocks(source: Path, column: str | None) -> Iterator[Block]:
    if source.is_dir():
        return _tables(_saved_batches(source), source, column)
    if not source.is_file():
        raise DataError(f"{source} is not a file or folder on this machine")
    if source.suffix == ".parquet":
        return _tables(_parquet_batches(source), source, column)
    if source.suffix in (".npy", ".npz"):
        return _array_blocks(_array(source, column), source)
    raise DataError(
        f"{source}: give an .npy, .npz or parquet file, or a folder that Hugging Face "
        "datasets saved"
    )


def _array(source: Path, column: str | None) -> Array:
    if source.suffix == ".npz":
        return read_npz(source, (column or "tokens",))[column or "tokens"]
    try:
        ids: Array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{source} is not a readable .npy file ({error})") from None
    return ids


def _array_blocks(ids: Array, source: Path) -> Iterator[Block]:
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
        raise DataError(
            f"{source} holds {ids.dtype} of shape {ids.shape}; ids are whole numbers, "
            "flat or a document a row"
        )
    rows = max(1, BLOCK // (ids.shape[1] if ids.ndim == 2 else 1))
    for start in range(0, len(ids), rows):
        part = np.asarray(ids[start : start + rows])
        if ids.ndim == 2:
            yield part.reshape(-1), np.arange(len(part)) * ids.shape[1]
        else:
            yield part, np.zeros(int(start == 0), np.int64)


def _parquet_batches(source: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from pq.ParquetFile(source).iter_batches(batch_size=ROWS)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a readable parquet file ({error})") from None


def _saved_batches(folder: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a saved data set: Arrow streams in files that a JSON file names."""
    if (folder / "dataset_dict.json").is_file():
        folder = folder / "train"
    state = folder / "state.json"
    try:
        names = [
            file["filename"] for file in json.loads(state.read_text())["_data_files"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{folder} was not saved by Hugging Face datasets: it has no state.json "
            "that names its files"
        ) from None
    for name in names:
        try:
            with pa.memory_map(str(folder / Path(name).name)) as content:
                yield from pa.ipc.open_stream(content)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{folder / name} cannot be read ({error})") from None


def _tables(
    batches: Iterator[pa.RecordBatch], source: Path, column: str | None
) -> Iterator[Block]:
    first = True
    for batch in batches:
        column = column or _only_column(batch.schema, source)
        if column not in batch.schema.names:
            raise DataError(
                f"{source} has no column {column!r}; it has "
                f"{', '.join(batch.schema.names)}"
            )
        yield _of_column(batch.column(column), source, column, first=first)
        first = False


def _of_column(values: pa.Array, source: Path, column: str, *, first: bool) -> Block:
    if values.null_count:
        raise DataError(f"{source}: column {column!r} has empty rows; drop them")
    if not _is_list(values.type):
        if not pa.types.is_integer(values.type):
            raise DataError(
                f"{source}: column {column!r} holds {values.type}; give one of whole "
                "numbers, or of lists of them (text: `harness data import text`)"
            )
        ids = values.to_numpy(zero_copy_only=False)
        return ids, np.zeros(int(first), np.int64)
    flat = values.flatten()
    if not pa.types.is_integer(flat.type) or flat.null_count:
        raise DataError(
            f"{source}: column {column!r} holds lists of {flat.type} with "
            f"{flat.null_count} empty; ids are whole numbers"
        )
    lengths = np.asarray(values.value_lengths().to_numpy(zero_copy_only=False))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return flat.to_numpy(zero_copy_only=False), starts[lengths > 0]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _only_column(schema: pa.Schema, source: Path) -> str:
    """The only column that can hold ids."""
    fitting = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type)
        or (_is_list(field.type) and pa.types.is_integer(field.type.value_type))
    ]
    if len(fitting) == 1:
        return str(fitting[0])
    raise DataError(
        f"{source} has {len(fitting) or 'no'} columns of whole numbers; name the one "
        f"of token ids with --column (columns: {', '.join(schema.names)})"
    )
