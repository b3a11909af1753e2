"""Folders with specs of version 1 become folders of version 2, number for number."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harness.store.upgrade import (
    ADDED,
    OPTIMIZERS,
    PENALTIES,
    SCHEDULES,
    SMOOTHING,
    new_path,
    new_spec,
    upgrade,
)

from harness.errors import StoreError
from harness.specs.run import RunSpec
from harness.store import open_store, schema
from harness.store.read import MARKER, Store, files_at

RESULTS = Path(__file__).parents[3] / "results"
SPECS = json.loads((Path(__file__).parent / "specs_version_1.json").read_text())
"""The spec of one run of each committed folder, as version 1 wrote it, and its id."""
DEFAULTS = {
    "cooldown": 0.2,
    "final": 0.0,
    "weight_decay": 0.0,
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "momentum": 0.0,
}


def old_spec(new):
    """The way back: fields that an optimiser or a schedule did not use had defaults."""
    optimizer, schedule = dict(new["optimizer"]), dict(new["schedule"])
    optim = {
        **DEFAULTS,
        "optimizer": optimizer.pop("name"),
        "schedule": schedule.pop("name"),
        **{name: new[name] for name in PENALTIES},
        SMOOTHING: new.get("loss", {}).get(SMOOTHING, 0.0),
        **optimizer,
        **schedule,
    }
    gone = {"optimizer", "schedule", "loss", *PENALTIES}
    return {k: v for k, v in new.items() if k not in gone} | {"optim": optim}


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_of_each_committed_folder_maps_to_its_run_and_back(name):
    old = SPECS[name]["spec"]
    old = old | {"optim": dict.fromkeys(ADDED, 0.0) | old["optim"]}
    assert old_spec(new_spec(old)) == old
    run = RunSpec.from_dict(new_spec(old))
    assert run.run_id != SPECS[name]["run_id"]
    record = open_store(str(RESULTS / name)).record(run.run_id)
    # Fields that were added since are at their defaults.
    assert RunSpec.from_dict(record["spec"]) == run
    assert record["row"]["run_id"] == run.run_id


def test_smoothing_and_other_choices_map_there_and_back():
    old = json.loads(json.dumps(SPECS["quickstart"]["spec"]))
    for optimizer in OPTIMIZERS:
        for schedule in SCHEDULES:
            used = {*OPTIMIZERS[optimizer], *SCHEDULES[schedule], *ADDED}
            fields = {**DEFAULTS, **dict.fromkeys(used, 0.125), "warmup": 3}
            old["optim"] = {**fields, "optimizer": optimizer, "schedule": schedule}
            run = RunSpec.from_dict(new_spec(old))
            assert old_spec(new_spec(old)) == old
            assert run.loss.label_smoothing == run.l1 == run.optimizer.lr == 0.125


def test_an_old_spec_without_the_fields_that_were_added_later_has_them_at_zero():
    old = json.loads(json.dumps(SPECS["quickstart"]["spec"]))
    for name in ADDED:
        del old["optim"][name]
    again = RunSpec.from_dict(new_spec(old))
    assert again == RunSpec.from_dict(new_spec(SPECS["quickstart"]["spec"]))


def test_the_paths_of_axes_follow_their_fields():
    spec = SPECS["quickstart"]["spec"]
    paths = ("optim.lr", "optim.warmup", "optim.l2", "optim.label_smoothing", "optim")
    new = ("optimizer.lr", "schedule.warmup", "l2", "loss.label_smoothing", "schedule")
    assert [new_path(path, spec) for path in paths] == list(new)
    assert new_path("model.width", spec) == "model.width"


@pytest.fixture
def old_folder(tmp_path):
    """A folder of format 1 with one run, made from a committed one."""
    new, folder = open_store(str(RESULTS / "two_moons")), tmp_path / "old"
    sample = SPECS["two_moons"]
    run = RunSpec.from_dict(new_spec(sample["spec"]))
    old_id, files = sample["run_id"], Store(files_at(str(folder))).files
    rows = pq.read_table(RESULTS / "two_moons/metrics" / f"{run.run_id}.parquet")
    renamed = [{**row, "run_id": old_id} for row in rows.to_pylist()]
    content = schema.parquet_bytes(schema.metrics_table(renamed), run_id=old_id)
    files.publish(f"metrics/{old_id}.parquet", content)
    record = new.record(run.run_id)
    optim = {f"optim.{k}": v for k, v in sample["spec"]["optim"].items()}
    columns = ("optimizer.", "schedule.", "loss.")
    row = {k: v for k, v in record["row"].items() if not k.startswith(columns)}
    stamp = {"sha256": hashlib.sha256(content).hexdigest(), "rows": len(renamed)}
    old = {**record, "spec": sample["spec"], "run_id": old_id, "metrics": stamp}
    old["row"] = {**row, **optim, "run_id": old_id}
    files.publish(f"records/{old_id}.json", schema.with_checksum(old))
    files.publish(MARKER, schema.json_bytes({"format": 1}))
    return folder, run.run_id


def test_records_and_rows_move_with_their_runs(old_folder, tmp_path):
    folder, run_id = old_folder
    with pytest.raises(StoreError, match=r"format 1; `harness upgrade .* NEW`"):
        open_store(str(folder))
    assert upgrade(Store(files_at(str(folder))), tmp_path / "new") == 1
    ours, committed = open_store(str(tmp_path / "new")), RESULTS / "two_moons"
    record = ours.record(run_id)
    expected = open_store(str(committed)).record(run_id)
    assert RunSpec.from_dict(record["spec"]) == RunSpec.from_dict(expected["spec"])
    assert expected["row"].items() <= json.loads(json.dumps(record["row"])).items()
    assert record["metrics"] == expected["metrics"]
    name = f"metrics/{run_id}.parquet"
    assert ours.files.read(name) == (committed / name).read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        upgrade(Store(files_at(str(folder))), tmp_path / "new")
