"""The store: whole files, records written last, readable by anyone at any moment."""

import json
import os
import threading

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.errors import StoreError
from harness.store import (
    add_failure,
    add_run,
    add_sweep,
    create_store,
    open_store,
    publish,
    publish_once,
    refresh_runs,
    sole_worker,
)
from harness.store.schema import METRICS, RUN_TYPES


def metric(run_id, step, value):
    return {
        "run_id": run_id,
        "step": step,
        "tokens": 10 * step,
        "flops": 1e3 * step,
        "wall_s": 0.5,
        "split": "eval",
        "metric": "loss",
        "value": value,
        "annealed": False,
    }


def record(run_id, **row):
    return {"run_id": run_id, "status": "done", "row": {"run_id": run_id, **row}}


def test_of_many_writers_one_publishes(tmp_path):
    path = tmp_path / "record.json"
    told = []

    def write(k):
        told.append((publish_once(path, f"{k}".encode()), k))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [k for first, k in told if first]
    assert len(winners) == 1
    assert path.read_text() == str(winners[0])
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch):
    publish(tmp_path / "view", b"old")
    monkeypatch.setattr(
        os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(StoreError, match=r"cannot write .*view: full"):
        publish(tmp_path / "view", b"new")
    assert (tmp_path / "view").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["view"]


def test_a_run_is_published_once(tmp_path):
    store = create_store(tmp_path / "s")
    assert add_run(store, record("a", loss=1.0), [metric("a", 1, 1.0)])
    assert not add_run(store, record("a", loss=2.0), [metric("a", 1, 1.0)])
    assert store.finished() == {"a"}
    assert store.record("a")["row"]["loss"] == 1.0


def test_tables_are_read_with_one_glob_and_have_fixed_columns(tmp_path):
    store = create_store(tmp_path / "s")
    for k, name in enumerate("abc"):
        add_run(
            store,
            record(name, loss=k + 0.5, **{"model.width": 8}),
            [metric(name, k, k)],
        )
    refresh_runs(store)
    files = sorted((tmp_path / "s" / "metrics").glob("*.parquet"))
    metrics = pd.concat([pd.read_parquet(f) for f in files])
    assert list(metrics.columns) == METRICS.names and len(metrics) == 3
    runs = pd.read_parquet(tmp_path / "s" / "runs.parquet")
    assert list(runs.columns)[: len(RUN_TYPES)] == list(RUN_TYPES)
    assert runs["loss"].tolist() == [0.5, 1.5, 2.5] and runs["model.width"].dtype == int
    footer = pq.read_metadata(files[0]).metadata
    assert footer[b"harness.format"] == b"1" and footer[b"run_id"] == b"a"
    assert pq.read_metadata(files[0]).row_group(0).column(0).compression == "ZSTD"


def test_a_file_being_written_is_not_a_finished_run(tmp_path):
    store = create_store(tmp_path / "s")
    add_run(store, record("a"), [metric("a", 1, 1.0)])
    (store.root / "records" / ".b.json.0123.tmp").write_text("{")
    assert store.finished() == {"a"}


def test_damaged_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(StoreError, match="not a results folder"):
        open_store(tmp_path)
    (tmp_path / "_store.json").write_text('{"format": 2}')
    with pytest.raises(StoreError, match="format 2; this harness reads up to 1"):
        open_store(tmp_path)
    (tmp_path / "_store.json").write_text("{torn")
    with pytest.raises(StoreError, match=r"_store\.json cannot be read"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        create_store(tmp_path / "file")


def test_a_damaged_record_is_named_and_hides_no_other(tmp_path):
    store = create_store(tmp_path)
    add_run(store, record("a"), [metric("a", 1, 1.0)])
    add_run(store, record("b"), [metric("b", 1, 1.0)])
    store.record_path("a").write_text('{"run_id":')
    with pytest.raises(StoreError, match=r"a\.json cannot be read"):
        store.record("a")
    with pytest.warns(UserWarning, match=r"left out of runs.parquet: .*a\.json"):
        refresh_runs(store)
    assert pd.read_parquet(tmp_path / "runs.parquet")["run_id"].tolist() == ["b"]


def test_one_worker_at_a_time(tmp_path):
    store = create_store(tmp_path)
    with (
        sole_worker(store),
        pytest.raises(StoreError, match=f"trained by .* {os.getpid()}"),
        sole_worker(store),
    ):
        pass
    with sole_worker(store):
        pass


def test_every_failed_attempt_is_a_file(tmp_path):
    store = create_store(tmp_path)
    for _ in range(2):
        try:
            raise MemoryError("out of it")
        except MemoryError as error:
            add_failure(store, "a", error)
    first, second = store.failures()
    assert first["error"] == second["error"] == "MemoryError: out of it"
    assert "test_store.py" in first["traceback"]
    names = sorted(p.name for p in (tmp_path / "failures").iterdir())
    assert names == ["a.000001.json", "a.000002.json"]
    assert json.loads((tmp_path / "failures" / names[0]).read_text())["run_id"] == "a"


def test_columns_that_mix_kinds_become_text(tmp_path):
    store = create_store(tmp_path)
    for name, value in (("a", 1), ("b", "tail"), ("c", None)):
        add_run(store, record(name, **{"grid.held_out": value}), [metric(name, 1, 1)])
    refresh_runs(store)
    column = pd.read_parquet(store.runs_path)["grid.held_out"]
    assert column.tolist()[:2] == ["1", "tail"] and column.isna().tolist()[2]


def test_the_sweep_run_last_is_the_current_one(tmp_path):
    store = create_store(tmp_path)
    for sweep_id in ("first", "second", "first"):
        add_sweep(store, {"sweep_id": sweep_id, "name": "x", "points": []})
    assert [sweep["sweep_id"] for sweep in store.sweeps()] == ["second", "first"]


def test_torn_leftovers_go_when_a_worker_comes(tmp_path):
    store = create_store(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / ".a.parquet.12.tmp").write_text("torn")
    with sole_worker(store):
        assert list((tmp_path / "metrics").iterdir()) == []
