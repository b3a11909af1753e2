"""Packs a results folder of many runs, and opens it packed and loose.

python -m tests.benchmarks.packs [RUNS] prints seconds, memory and sizes. The runs are
those of a committed folder, over and over, each with a seed and an id of its own.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from harness.specs.run import RunSpec
from harness.store import add_sweep, create_store, open_store, schema
from harness.store.read import metrics_name, record_name
from tests.benchmarks.machine import machine

SOURCE = Path(__file__).parents[2] / "results" / "text_families"
RUNS = 20_000


def fill(folder: Path, count: int) -> None:
    """Writes `count` finished runs and the sweep that asked for them."""
    source, store = open_store(SOURCE), create_store(folder)
    real = [
        (source.record(i), source.metrics(i))
        for i in source.packs.in_order(source.finished())
    ]
    sweep, points = source.sweeps()[-1], []
    frozen = {point["run_id"]: point for point in sweep["points"]}
    for sub in ("records", "metrics"):
        (folder / sub).mkdir()
    for k in range(count):
        record, rows = real[k % len(real)]
        spec = {**record["spec"], "seed_init": 1000 + k}
        run_id, trunk_id = RunSpec.from_dict(spec).ids()
        ids = pa.array([run_id] * rows.num_rows)
        content = schema.parquet_bytes(
            rows.replace_schema_metadata(None).set_column(0, "run_id", ids),
            run_id=run_id,
        )
        (folder / metrics_name(run_id)).write_bytes(content)
        stamp = {"sha256": hashlib.sha256(content).hexdigest(), "rows": rows.num_rows}
        new = {
            **{k: v for k, v in record.items() if k != "seal"},
            "run_id": run_id,
            "spec": spec,
            "metrics": stamp,
            "row": {**record["row"], "run_id": run_id, "seed_init": 1000 + k},
        }
        (folder / record_name(run_id)).write_bytes(schema.with_checksum(new))
        if old := frozen.get(record["run_id"]):
            point = {**old, "run_id": run_id, "trunk_id": trunk_id, "spec": spec}
            coords = {**old["coords"], "seed_init": 1000 + k}
            points.append({**point, "coords": coords})
    add_sweep(store, {**sweep, "sweep_id": f"{count:016x}", "points": points})


STEPS = {
    "pack": "from harness.store.packing.pack import pack; print(pack(store))",
    "view": "from harness.store import refresh_runs; refresh_runs(store)",
    "view anew": "from harness.store import refresh_runs; "
    "refresh_runs(store, anew=True)",
    "finished": "print(len(store.finished()))",
    "status": "from harness.store.status import sweep_status; "
    "print(sweep_status(store).counts)",
    "fit": """
import analysis
def fit():
    start = time.monotonic()
    table = analysis.read_table(store.folder, where='family == "transformer"')
    analysis.fit_law(table, "chinchilla")
    return f"{len(table.frame)} rows: {time.monotonic() - start:.2f} s"
print(fit(), "and again", fit())""",
    "curves": "from analysis.tables.curves import read_metrics; "
    "print(len(read_metrics(store.folder, 'loss', 'eval').rows))",
}
AGAIN = [step for step in STEPS if step != "fit"]
PROGRAM = """
import sys, time
from harness.store import open_store
from tests.benchmarks.peak import peak_mib
store = open_store(sys.argv[1])
start = time.monotonic()
{step}
print(f"FACTS {{time.monotonic() - start:.2f}} {{peak_mib()}}")
"""


def measure(folder: Path, step: str) -> str:
    """Seconds and peak memory of one step in a process of its own."""
    start = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(step=STEPS[step]), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    *said, facts = told.splitlines()
    seconds, mib = facts.split()[1:]
    whole = time.monotonic() - start
    line = f"{seconds:>7} s of {whole:6.2f} s, {mib:>5} MiB  {' '.join(said)}"
    return line.rstrip()


def size(folder: Path) -> int:
    """Bytes of records and long rows."""
    return sum(
        p.stat().st_size
        for sub in ("records", "metrics", "packed")
        for p in (folder / sub).rglob("*")
        if p.is_file()
    )


def main(count: int = RUNS) -> None:
    """Fills a folder, and measures each step on it loose and packed."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        fill(folder, count)
        loose = size(folder)
        for step in ("view", "finished", "status", "pack", *AGAIN):
            print(f"{step:>10}: {measure(folder, step)}", flush=True)
        print(f"{count} runs: {loose:,} bytes loose, {size(folder):,} packed")
        print(f"       fit: {measure(folder, 'fit')}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
