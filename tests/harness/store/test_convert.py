"""Folders of older formats are read, or become ones of this format."""

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.specs.run import RunSpec
from harness.store import open_store, refresh_runs, schema
from harness.store.convert import (
    ADDED,
    OPTIMIZERS,
    PENALTIES,
    SCHEDULES,
    SMOOTHING,
    convert,
    new_path,
    new_spec,
)
from harness.store.doctor import examine
from harness.store.read import MARKER, Store, files_at

RESULTS = Path(__file__).parents[3] / "results"
FORMATS = Path(__file__).parent / "formats"
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


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_folder_of_each_format_is_read_for_ever(version, tmp_path):
    """The same three runs, as programs of each time have written them."""
    folder = shutil.copytree(FORMATS / str(version), tmp_path / "old")
    assert json.loads((folder / MARKER).read_text()) == {"format": version}
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    if version in schema.OLDER_FORMATS:
        hint = f"format {version}; `harness doctor .* --convert NEW`"
        with pytest.raises(StoreError, match=hint):
            open_store(folder)
        assert convert(Store(files_at(folder)), tmp_path / "new") == 3
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
        with pytest.raises(StoreError, match="is there already"):
            convert(Store(files_at(folder)), tmp_path / "new")
        folder = tmp_path / "new"
    store, newest = open_store(folder), open_store(FORMATS / "3")
    assert store.finished() == newest.finished() and len(store.finished()) == 3
    for run_id in store.finished():
        record, expected = store.record(run_id), newest.record(run_id)
        assert RunSpec.from_dict(record["spec"]).run_id == run_id
        # Fields that came later, and are at their defaults, may be missing.
        rows = (record["row"], expected["row"])
        common = rows[0].keys() & rows[1].keys()
        assert len(common) > 60
        assert [rows[0][k] for k in common] == [rows[1][k] for k in common]
        assert store.metrics(run_id).equals(newest.metrics(run_id))
        seconds = [i["row"]["seconds_train"] for i in (record, expected)]
        assert seconds[0] == seconds[1]
    refresh_runs(store)
    points = store.sweeps()[-1]["points"]
    assert store.finished() <= {point["run_id"] for point in points}
    assert examine(store, mend=False).ailments == []


def test_a_sample_is_kept_of_every_format():
    known = {*schema.OLDER_FORMATS, *schema.READ_FORMATS}
    assert {int(path.name) for path in FORMATS.iterdir()} == known
