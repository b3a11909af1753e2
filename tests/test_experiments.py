"""Every experiment loads, and its committed results are those of its present sweep."""

import json
from pathlib import Path

import pytest

from harness.cli import experiment
from harness.plan import plan
from harness.store import open_store
from harness.store.read import metrics_name

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_complete_and_of_this_sweep(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = experiment.load(name, [])
    store = open_store(ROOT / "results" / name)
    made = plan(found.sweep.points)
    assert {run.run_id for run in made.runs} <= store.finished()
    for run in made.runs:
        record = store.record(run.run_id)
        assert record["row"]["flops_train"] == run.counts.flops_train
        assert store.files.exists(metrics_name(run.run_id))
    assert json.loads(store.files.read("fits.json"))
    assert store.files.exists("report/index.html")


FOLDERS = sorted(
    str(path.relative_to(ROOT / "experiments").with_suffix(""))
    for path in (ROOT / "experiments").glob("*/*.py")
)
"""Classics, controls and studies; none needs its data here to be planned."""


def test_names_are_unique_over_all_folders():
    stems = [name.split("/")[-1] for name in FOLDERS] + NAMES
    assert len(set(stems)) == len(stems)


@pytest.mark.parametrize(
    "name", [n for n in FOLDERS if (ROOT / "results" / n.split("/")[-1]).exists()]
)
def test_stored_results_of_folders_are_complete(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    points = experiment.load(name, []).sweep.points
    store = open_store(ROOT / "results" / name.split("/")[-1])
    (newest,) = store.sweeps()[-1:]
    wanted = {point["run_id"] for point in newest["points"]}
    assert len(wanted) == len(points) and wanted <= store.finished()
    assert {run.run_id for run in plan(points).runs} == wanted
    assert json.loads(store.files.read("fits.json"))


@pytest.mark.parametrize("name", [*NAMES, *FOLDERS])
def test_docstring_gives_question_cost_and_promise(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    doc = experiment.load(name, []).doc
    first, *rest = doc.splitlines()
    assert first.endswith("?")
    assert any(line.startswith("Cost: ") for line in rest)
    assert any(line.startswith("Promise: ") for line in rest)
