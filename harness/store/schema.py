"""The two tables of a store with their columns; how JSON and parquet are written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import StoreError

FORMAT = 3
"""Version of the layout and of the specs in it; a reader refuses a greater one. In
format 1 specs were of version 1: see `store.convert`. Format 2 knew no packs."""
READ_FORMATS = (2, FORMAT)
"""Formats that are read, and gone on with, as they are."""
OLDER_FORMATS = (1,)
"""Formats that are converted first."""

METRICS = pa.schema(
    [
        ("run_id", pa.string()),
        ("step", pa.int64()),
        ("tokens", pa.int64()),
        ("flops", pa.float64()),
        ("wall_s", pa.float64()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("annealed", pa.bool_()),
    ]
)
"""Long rows: new metrics never change it. `annealed` marks the end of a decay."""

RUN_TYPES: dict[str, pa.DataType] = {
    "run_id": pa.string(),
    "sweep": pa.string(),
    "sweep_id": pa.string(),
    "family": pa.string(),
    "status": pa.string(),
    "tokens": pa.int64(),
    **{
        f"n_{role}": pa.int64()
        for role in (
            "embed",
            "head",
            "body",
            "total",
            "matmul",
            "nonembed",
            "active",
            "matmul_total",
        )
    },
    **{
        f"flops_{kind}": pa.float64()
        for kind in (
            "train",
            "train_causal",
            "6nd_total",
            "6nd_nonembed",
            "6nd_matmul",
            "chinchilla",
            "optimizer",
        )
    },
    "loss": pa.float64(),
    "loss_se": pa.float64(),
    "best_loss": pa.float64(),
    "train_loss": pa.float64(),
    "bits_per_byte": pa.float64(),
    "unique_tokens": pa.int64(),
    "epochs": pa.float64(),
    "annealed": pa.bool_(),
    "stopped_step": pa.int64(),
    "diverged_step": pa.int64(),
    "attempts": pa.int64(),
    "population": pa.int64(),
    "devices": pa.int64(),
    "seconds_compile": pa.float64(),
    "seconds_train": pa.float64(),
    "tokens_per_second": pa.float64(),
    "mfu": pa.float64(),
    "peak_memory": pa.int64(),
    "device": pa.string(),
    "device_platform": pa.string(),
    "device_count": pa.int64(),
    "cpu_cores": pa.int64(),
    "os": pa.string(),
    "python": pa.string(),
    **{
        f"version.{package}": pa.string()
        for package in ("harness", "jax", "flax", "optax", "numpy")
    },
    "git_commit": pa.string(),
}
"""Columns that every runs table has, in this order; spec fields, further metrics and
grid coordinates follow."""


ROW_GROUP = 2048
"""Rows that are held in memory once more while they are written."""


def parquet_bytes(table: pa.Table, **metadata: str) -> bytes:
    """`table` as a parquet file: zstd, page checksums, format and metadata in the
    footer."""
    stamped = {"harness.format": str(FORMAT), **metadata}
    merged = {**(table.schema.metadata or {}), **stamped}
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(merged),
        sink,
        compression="zstd",
        write_page_checksum=True,
        row_group_size=ROW_GROUP,
    )
    return sink.getvalue()


def read_parquet(
    content: bytes, name: str, columns: list[str] | None = None
) -> pa.Table:
    """The table in `content`, or some columns of it, their page checksums verified.

    Raises `StoreError` that gives the file's `name` if it is damaged.
    """
    with damage_named(name):
        return pq.read_table(
            io.BytesIO(content),
            columns=columns,
            page_checksum_verification=True,
            use_threads=False,
        )


def parquet_columns(content: bytes, name: str) -> list[str]:
    """Names of the columns in `content`; raises as `read_parquet` does."""
    with damage_named(name):
        return list(pq.read_schema(io.BytesIO(content)).names)


@contextlib.contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Has errors that damage causes name the file, as `StoreError`."""
    try:
        yield
    # Damage shows as any of arrow's errors, or as an operating-system error.
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"{name} is damaged: {reason}") from None


def metrics_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Metric rows in the fixed schema."""
    return pa.Table.from_pylist(list(rows), schema=METRICS)


def runs_table(
    names: Iterable[str], values: Callable[[str], Sequence[object]]
) -> pa.Table:
    """A row per run: the fixed columns, then others of these names, with the values
    that `values` has of each."""
    names = [*RUN_TYPES, *sorted(set(names) - RUN_TYPES.keys())]
    return pa.Table.from_arrays([_array(n, values(n)) for n in names], names=names)


def json_bytes(value: object, *, indent: int | None = 1) -> bytes:
    """JSON with sorted keys; non-finite numbers must have been made null before."""
    text = json.dumps(value, indent=indent, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"


def with_checksum(value: Mapping[str, object], *, indent: int | None = 1) -> bytes:
    """A JSON object with its own checksum in it, under `seal`."""
    return json_bytes({**value, "seal": checksum(value)}, indent=indent)


def checksum(value: Mapping[str, object]) -> str:
    """SHA-256 of a JSON object's compact text, without the checksum itself."""
    plain = {key: inner for key, inner in value.items() if key != "seal"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _array(name: str, values: Sequence[object]) -> pa.Array:
    kind = _type(name, values)
    if kind == pa.string():
        # A column of the grid may mix numbers and names.
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, type=kind)


def _type(name: str, values: Sequence[object]) -> pa.DataType:
    if name in RUN_TYPES:
        return RUN_TYPES[name]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and kinds:
        return pa.bool_()
    if kinds <= {int} and kinds:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string()
