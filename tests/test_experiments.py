"""Every experiment loads, and its committed results are those of its present sweep."""

import html
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.findings import is_of_these_runs, load_findings
from analysis.report.page import images_of, page
from analysis.report.sentences import found as found_in
from analysis.report.store import read_store
from analysis.tables.columns import OPTIONAL, RUN_COLUMNS
from harness.cli import experiment
from harness.store import open_store
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
        assert store.metrics(run.run_id).num_rows == record["metrics"]["rows"]
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
def test_an_experiment_gives_question_cost_and_promises_and_nothing_found(
    name, monkeypatch
):
    monkeypatch.chdir(ROOT)
    found = experiment.load(name, [])
    first, *rest = found.doc.splitlines()
    assert first.endswith("?")
    assert any(line.startswith("Cost: ") for line in rest)
    assert found.sweep.promises
    text = found.path.read_text()
    assert "Found" not in text
    # Intervals, and numbers to three digits and more, are what is found.
    assert not re.search(r"\[-?\d+\.\d+, -?\d+\.\d+\]", found.doc)


RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/_store.json"))


def test_every_committed_result_is_looked_at():
    assert len(RESULTS) == len(NAMES) + len(FOLDERS) + 1  # one study has two


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_page_asks_and_promises_what_its_experiment_does(
    results, monkeypatch
):
    monkeypatch.chdir(ROOT)
    newest = json.loads((results / "sweep.json").read_text())
    found = experiment.load(newest["name"], [])
    text = (results / "report" / "index.html").read_text()
    (question,) = re.findall(r"<h2>Question</h2>\s*<pre>(.*?)</pre>", text, re.DOTALL)
    assert html.unescape(question) == found.doc
    assert newest["promises"] == [p.to_dict() for p in found.sweep.promises]
    outcomes = load_findings(results).promises
    assert [o.says for o in outcomes] == [p.says for p in found.sweep.promises]
    assert [o.bounds for o in outcomes] == [p["bounds"] for p in newest["promises"]]
    for outcome in outcomes:
        assert html.escape(str(outcome), quote=False) in text.replace("&#39;", "'")
        assert str(outcome) in (results / "FOUND.md").read_text()


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_page_is_what_would_be_written_now(results):
    assert is_of_these_runs(results)
    findings, store = load_findings(results), read_store(results)
    text = (results / "report" / "index.html").read_text()
    images = images_of(text)
    assert text == page(store, findings, images)
    assert (results / "FOUND.md").read_text() == found_in(store, findings)
    assert images.keys() == {picture.name for picture in findings.pictures}
    leading = (results / "report" / "figure.png").read_bytes()
    assert leading in images.values()


def test_committed_results_are_packed_and_small():
    listed = subprocess.run(
        ["git", "ls-files", "results"], capture_output=True, text=True, cwd=ROOT
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    if listed.returncode or not files:
        pytest.skip("not a git checkout")
    assert len(files) < 250
    assert sum(path.stat().st_size for path in files) < 16e6
    of_each = Counter(path.relative_to(ROOT / "results").parts[0] for path in files)
    assert max(of_each.values()) <= 12, of_each
    for results in RESULTS:
        store = open_store(results)
        assert not store.loose() and store.finished()


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.name)
def test_a_committed_result_has_the_columns_of_its_page(results):
    columns = set(pd.read_parquet(results / "runs.parquet").columns)
    assert set(RUN_COLUMNS) - set(OPTIONAL) <= columns


@pytest.mark.parametrize("subject", ["text", "image"])
def test_the_rates_of_families_are_the_rules_that_were_found(subject):
    """To three digits, as the study of rates says them."""
    text = (ROOT / f"experiments/studies/{subject}_families.py").read_text()
    used = re.findall(r"LearningRate\(k=([\d.e+-]+), n=([\d.e+-]+)\)", text)
    rules = [one.rule for one in read_store(ROOT / f"results/{subject}_rates").tuning]
    found = {(f"{rule.k:.3g}", f"{rule.exponents['n']:.3g}") for rule in rules}
    assert {(f"{float(k):.3g}", f"{float(n):.3g}") for k, n in used} == found
