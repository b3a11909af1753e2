"""Every experiment loads, and its committed results are those of its present sweep."""

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.findings import is_of_these_runs, load_findings
from analysis.report.page import page
from analysis.report.store import read_store
from analysis.tables.columns import OPTIONAL, RUN_COLUMNS
from harness.cli import experiment
from harness.store import open_store
from harness.store.read import metrics_name
from harness.sweeps.plan import plan

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


RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/_store.json"))


def test_every_committed_result_is_looked_at():
    assert len(RESULTS) == len(NAMES) + len(FOLDERS) + 1  # one study has two


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_page_asks_what_its_experiment_asks(results, monkeypatch):
    monkeypatch.chdir(ROOT)
    name = json.loads((results / "sweep.json").read_text())["name"]
    text = (results / "report" / "index.html").read_text()
    (question,) = re.findall(r"<h2>Question</h2>\s*<pre>(.*?)</pre>", text, re.DOTALL)
    assert html.unescape(question) == experiment.load(name, []).doc


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_page_is_what_would_be_written_now(results):
    assert is_of_these_runs(results)
    findings = load_findings(results)
    fresh = page(read_store(results), findings)
    assert (results / "report" / "index.html").read_text() == fresh
    drawn = {f"{p.name}.{k}" for p in findings.pictures for k in ("png", "svg")}
    assert {p.name for p in (results / "report").iterdir()} == drawn | {"index.html"}


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_result_has_the_columns_of_its_page(results):
    columns = set(pd.read_parquet(results / "runs.parquet").columns)
    assert set(RUN_COLUMNS) - set(OPTIONAL) <= columns
