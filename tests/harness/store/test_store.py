"""The store: whole files, records written last, readable by anyone at any moment."""

import os
import threading

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness.errors import StoreError
from harness.store import (
    add_metrics,
    add_record,
    add_sweep,
    create_store,
    open_store,
    refresh_runs,
)
from harness.store.files import LocalFiles
from harness.store.read import read_runs
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


def add_run(store, run_id, rows=None, **row):
    stamp = add_metrics(store, run_id, rows or [metric(run_id, 1, 1.0)])
    return add_record(store, record(run_id, **row) | {"metrics": stamp})


def test_of_many_writers_one_publishes(tmp_path):
    files, told = LocalFiles(tmp_path), []

    def write(k):
        told.append((files.publish_once("record.json", f"{k}".encode()), k))

    threads = [threading.Thread(target=write, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [k for first, k in told if first]
    assert len(winners) == 1
    assert files.read("record.json") == str(winners[0]).encode()
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_name_taken_by_a_link_whose_reply_was_lost_is_ones_own(tmp_path, monkeypatch):
    real, files = os.link, LocalFiles(tmp_path)

    def lossy(source, target):
        real(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", lossy)
    assert files.publish_once("record.json", b"1")
    assert not files.publish_once("record.json", b"1")
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_lost_race_for_a_name_that_is_gone_again_is_a_lost_race(
    tmp_path, monkeypatch
):
    def lost(source, target):
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", lost)
    assert not LocalFiles(tmp_path).publish_once("claim.json", b"1")


def test_a_failed_write_leaves_no_trace(tmp_path, monkeypatch):
    files = LocalFiles(tmp_path)
    files.publish("view", b"old")
    monkeypatch.setattr(
        os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(StoreError, match=r"cannot write .*view: the disk is full"):
        files.publish("view", b"new")
    assert (tmp_path / "view").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["view"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".hidden", "a//b", ""])
def test_names_cannot_leave_the_store(tmp_path, name):
    with pytest.raises(StoreError, match="not the name of a file in a results folder"):
        LocalFiles(tmp_path / "s").publish(name, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_published_once(tmp_path):
    store = create_store(tmp_path / "s")
    assert add_run(store, "a", loss=1.0)
    assert not add_run(store, "a", [metric("a", 1, 5.0)], loss=2.0)
    assert store.finished() == {"a"} and store.is_finished("a")
    assert store.record("a")["row"]["loss"] == 1.0
    assert pd.read_parquet(tmp_path / "s/metrics/a.parquet")["value"].tolist() == [1.0]


def test_torn_metrics_of_an_attempt_that_died_are_put_aside(tmp_path):
    store = create_store(tmp_path / "s")
    store.files.publish("metrics/a.parquet", b"PAR1 torn")
    add_run(store, "a", loss=1.0)
    assert len(pd.read_parquet(tmp_path / "s/metrics/a.parquet")) == 1
    assert [n[:29] for n in store.files.walk("quarantine")] == [
        "quarantine/metrics/a.parquet."
    ]


def test_tables_are_read_with_one_glob_and_have_fixed_columns(tmp_path):
    store = create_store(tmp_path / "s")
    for k, name in enumerate("abc"):
        add_run(store, name, [metric(name, k, k)], loss=k + 0.5, **{"model.width": 8})
    refresh_runs(store)
    files = sorted((tmp_path / "s" / "metrics").glob("*.parquet"))
    metrics = pd.concat([pd.read_parquet(f) for f in files])
    assert list(metrics.columns) == METRICS.names and len(metrics) == 3
    runs = pd.read_parquet(tmp_path / "s" / "runs.parquet")
    assert list(runs.columns)[: len(RUN_TYPES)] == list(RUN_TYPES)
    assert runs["loss"].tolist() == [0.5, 1.5, 2.5] and runs["model.width"].dtype == int
    footer = pq.read_metadata(files[0]).metadata
    assert footer[b"harness.format"] == b"3" and footer[b"run_id"] == b"a"
    assert pq.read_metadata(files[0]).row_group(0).column(0).compression == "ZSTD"


def test_a_file_being_written_is_not_a_finished_run(tmp_path):
    store = create_store(tmp_path / "s")
    add_run(store, "a")
    (tmp_path / "s" / "records" / ".b.json.0123.tmp").write_text("{")
    assert store.finished() == {"a"}


def test_damaged_and_foreign_folders_are_named(tmp_path):
    with pytest.raises(StoreError, match="not a results folder"):
        open_store(tmp_path)
    (tmp_path / "_store.json").write_text('{"format": 4}')
    with pytest.raises(StoreError, match="format 4; this harness reads format 3"):
        open_store(tmp_path)
    (tmp_path / "_store.json").write_text("{torn")
    with pytest.raises(StoreError, match=r"_store\.json cannot be read"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        create_store(tmp_path / "file")
    with pytest.raises(StoreError, match="a folder or to s3://"):
        create_store("gs://bucket/x")


def test_a_damaged_record_is_named_and_hides_no_other(tmp_path):
    store = create_store(tmp_path)
    add_run(store, "a")
    add_run(store, "b")
    (tmp_path / "records" / "a.json").write_text('{"run_id":')
    with pytest.raises(StoreError, match=r"a\.json cannot be read"):
        store.record("a")
    with pytest.warns(UserWarning, match=r"left out of runs.parquet: .*a\.json"):
        refresh_runs(store)
    assert pd.read_parquet(tmp_path / "runs.parquet")["run_id"].tolist() == ["b"]


def test_the_view_brought_up_to_date_is_the_view_made_anew(tmp_path):
    """Whatever the order in which runs came, and with columns that come late."""
    store = create_store(tmp_path)
    point = {"run_id": "0" * 16, "trunk_id": "1" * 16, "price": 1.0, "spec": {}}
    sweep = {"sweep_id": "2" * 16, "name": "x"}
    add_sweep(store, sweep | {"points": [point | {"coords": {"lr": 0.5}}]})
    for k, row in enumerate(
        [{"x": 1}, {"x": 2.5, "new": "text"}, {"new": None, "flag": True}, {}]
    ):
        add_run(store, f"{3 - k:016x}", loss=float(k), **row)
        refresh_runs(store)
    piecewise = read_runs(store)
    refresh_runs(store, anew=True)
    assert piecewise.equals(read_runs(store))
    assert piecewise.column("grid.lr").to_pylist() == [0.5, None, None, None]
    # A run that has gone from records/ goes from the view as well.
    (tmp_path / "records" / f"{2:016x}.json").unlink()
    refresh_runs(store)
    assert read_runs(store).num_rows == 3


def test_columns_that_mix_kinds_become_text(tmp_path):
    store = create_store(tmp_path)
    for name, value in (("a", 1), ("b", "tail"), ("c", None)):
        add_run(store, name, **{"grid.held_out": value})
    refresh_runs(store)
    column = pd.read_parquet(tmp_path / "runs.parquet")["grid.held_out"]
    assert column.tolist()[:2] == ["1", "tail"] and column.isna().tolist()[2]


def test_lists_of_a_spec_become_text(tmp_path):
    store = create_store(tmp_path)
    add_run(store, "a", **{"model.channels": [4, 8], "loss": 1.0})
    refresh_runs(store)
    add_run(store, "b", **{"model.channels": [4, 8], "loss": 2.0})
    refresh_runs(store)
    table = pd.read_parquet(tmp_path / "runs.parquet")
    assert table["model.channels"].tolist() == ["[4, 8]"] * 2
    assert table["loss"].tolist() == [1.0, 2.0]


def test_the_sweep_run_last_is_the_current_one(tmp_path):
    store = create_store(tmp_path)
    ids = [f"{k:016x}" for k in (1, 2, 1)]
    for sweep_id in ids:
        add_sweep(store, {"sweep_id": sweep_id, "name": "x", "points": []})
    assert [sweep["sweep_id"] for sweep in store.sweeps()] == [ids[1], ids[0]]
    store.files.remove("sweep.json")
    assert [sweep["sweep_id"] for sweep in store.sweeps()] == ids[:2]


def test_a_better_question_replaces_the_one_before_and_nothing_else(tmp_path):
    store = create_store(tmp_path)
    sweep = {"sweep_id": f"{1:016x}", "name": "x", "points": []}
    add_sweep(store, {**sweep, "doc": "How?"})
    frozen = store.files.read(f"sweeps/{1:016x}.json")
    add_sweep(store, {**sweep, "doc": "Why?"})
    assert store.json("sweep.json")["doc"] == "Why?"
    assert store.files.read(f"sweeps/{1:016x}.json") == frozen
    assert b"How?" not in frozen
