"""Facts about reports and figures: complete, escaped, small, and calm about gaps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plots
from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.frontier import frontier
from analysis.optimal.isoflop import isoflop
from analysis.report.findings import is_of_these_runs, load_findings
from analysis.report.stamp import digest_of_runs
from analysis.report.write import write_page, write_report
from analysis.selection.extrapolation import extrapolate
from analysis.tables.columns import OPTIONAL, RUN_COLUMNS
from analysis.tables.curves import read_metrics
from analysis.tables.table import read_table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.units import Bootstrap
from harness.store.schema import RUN_TYPES
from tests.analysis import synthetic
from tests.analysis.stores import LAW, write_store

FEW = Bootstrap(replicas=50)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = write_store(tmp_path_factory.mktemp("stores") / "toy")
    write_report(store, bootstrap=FEW)
    return store


def test_a_report_holds_page_figures_and_fits(reported: Path) -> None:
    names = ("loss_compute", "isoflop", "law", "optimal", "training")
    names += ("rollout", "exponents", "profiles", "bootstrap")
    for name in names:
        png, svg = (reported / "report" / f"{name}.{k}" for k in ("png", "svg"))
        assert png.stat().st_size > 10_000
        assert 10_000 < svg.stat().st_size < 300_000
    page = (reported / "report" / "index.html").read_text()
    for name in names:
        assert f'src="{name}.svg"' in page
    for part in ("Question", "Warnings", "Exponents by", "rms error", "diverged"):
        assert part in page


def test_a_report_escapes_what_it_is_told(reported: Path) -> None:
    page = (reported / "report" / "index.html").read_text()
    assert "Does &lt;b&gt;a&lt;/b&gt; toy law" in page
    assert "<b>a</b>" not in page
    assert "http" not in page.replace('http-equiv"', "")  # nothing is fetched


def test_fits_json_holds_every_fit_with_its_recipe(reported: Path) -> None:
    records = json.loads((reported / "fits.json").read_text())["fits"]
    fits = [Fit.from_json(r) for r in records]
    assert [f.provenance.convention for f in fits[:3]] == [
        "n_matmul",
        "n_total",
        "n_body",
    ]
    low, high = fits[0].intervals["alpha"]
    assert low - 0.03 < LAW["alpha"] < high + 0.03
    for key in ("law", "constants", "intervals", "objective", "diagnostics", "recipe"):
        assert key in records[0]
    assert records[0]["recipe"]["left_out"][0]["count"] == 1


def test_a_report_is_the_same_when_written_again(reported: Path) -> None:
    before = {p.name: p.read_bytes() for p in (reported / "report").iterdir()}
    write_report(reported, bootstrap=FEW)
    after = {p.name: p.read_bytes() for p in (reported / "report").iterdir()}
    assert before == after


def test_a_page_is_written_from_fits_json_without_fitting(
    reported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = (reported / "report" / "index.html").read_text()
    record = json.loads((reported / "fits.json").read_text())
    stamp = {key: record[key] for key in ("runs", "version")}
    assert stamp | load_findings(reported).to_json() == record
    monkeypatch.setattr("analysis.report.collect.fit_with_intervals", None)
    monkeypatch.setattr("analysis.report.collect.side_by_side", None)
    assert write_page(reported).read_text() == fitted


def test_touched_files_stay_of_these_runs_and_other_runs_make_them_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "toy", budgets=1, sizes=2)
    assert not is_of_these_runs(store)
    write_report(store, bootstrap=FEW)
    runs = pd.read_parquet(store / "runs.parquet")
    os.utime(store / "runs.parquet")
    os.utime(store / "fits.json", (0, 0))
    assert is_of_these_runs(store)
    other_bytes = runs.iloc[::-1, ::-1].assign(empty=None)
    other_bytes.to_parquet(store / "runs.parquet", compression="gzip", index=False)
    assert is_of_these_runs(store)
    with monkeypatch.context() as patch:
        patch.setattr("analysis.report.stamp.version", lambda name: "another")
        assert not is_of_these_runs(store)
    one_more = pd.concat([runs, runs.tail(1).assign(run_id="new")])
    one_more.to_parquet(store / "runs.parquet", index=False)
    assert not is_of_these_runs(store)
    other_loss = runs.assign(loss=runs["loss"] + 1e-9)
    other_loss.to_parquet(store / "runs.parquet", index=False)
    assert not is_of_these_runs(store)
    runs.to_parquet(store / "runs.parquet", index=False)
    assert is_of_these_runs(store)
    (store / "fits.json").write_text("[]")
    assert not is_of_these_runs(store)


def test_a_store_has_all_columns_of_the_page_but_the_optional_ones() -> None:
    specs = {"optimizer.lr"}
    assert set(RUN_COLUMNS) - set(OPTIONAL) - specs <= RUN_TYPES.keys()


@pytest.mark.parametrize(("budgets", "sizes"), [(1, 2), (1, 3), (2, 3)])
def test_small_stores_say_what_is_missing(
    tmp_path: Path, budgets: int, sizes: int
) -> None:
    store = write_store(tmp_path / "small", budgets=budgets, sizes=sizes)
    page = write_report(store, bootstrap=FEW).read_text()
    assert "usable rows with a" in page or "too few" in page


def test_a_store_without_runs_gets_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no run of it has finished"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_runs_all_diverged_says_so(tmp_path: Path) -> None:
    store = write_store(tmp_path / "bad", budgets=1, sizes=1)
    with pytest.raises(AnalysisError, match="1 row left out: the run diverged"):
        write_report(store)
    assert not (store / "report").exists()


def test_each_figure_is_a_figure_with_units(reported: Path) -> None:
    table = read_table(reported)
    metrics = read_metrics(reported, "loss", "eval").rows
    fit = fit_with_intervals(table, bootstrap=FEW)
    curves = isoflop(table, budget="grid.compute")
    made = [
        plots.training_curves(metrics, table),
        plots.loss_against_compute(table, fit, metrics),
        plots.law_surface(fit, table),
        plots.isoflop_curves(curves),
        plots.optimal_allocation((1e12, 3e14), fit, curves),
    ]
    for figure in made:
        assert isinstance(figure, Figure)
        labels = " ".join(a.get_xlabel() + a.get_ylabel() for a in figure.axes)
        assert "tokens" in labels or "FLOPs" in labels or "parameters" in labels


def test_one_damaged_metrics_file_hides_its_own_curve_only(tmp_path: Path) -> None:
    store = write_store(tmp_path / "toy", budgets=3, sizes=4)
    whole = read_metrics(store, "loss", "eval")
    first, second, *_ = sorted((store / "metrics").glob("*.parquet"))
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:200])
    rest = read_metrics(store, "loss", "eval")
    assert whole.damaged == ()
    lost = set(whole.rows["run_id"]) - set(rest.rows["run_id"])
    assert lost == {first.stem, second.stem}
    assert [x.split()[0] for x in rest.damaged] == [
        f"metrics/{p.name}" for p in (first, second)
    ]
    page = write_report(store, bootstrap=FEW).read_text()
    assert f"metrics/{first.name} is damaged" in page
    assert 'src="training.svg"' in page


def test_rolling_out_the_true_law_predicts_within_the_noise() -> None:
    held = extrapolate(synthetic.table(noise=0.002))
    assert len(held) >= 3
    assert held[-1].rms_log_error < 0.004
    assert held[0].reach > held[-1].reach > 1
    assert all(h.rows_fitted + h.rows_predicted == 64 for h in held)


def test_the_frontier_holds_no_run_that_another_beats() -> None:
    table = synthetic.table(noise=0.01)
    front = frontier(table)
    c, loss = front.values("c"), front.values("loss")
    for ci, li in zip(table.values("c"), table.values("loss"), strict=True):
        assert loss[c <= ci].min() <= li


def test_a_hundred_thousand_runs_are_stamped_in_seconds() -> None:
    count = 100_000
    runs = pd.DataFrame(
        {f"number{i}": range(count) for i in range(40)}
        | {f"text{i}": ["transformer"] * count for i in range(20)}
        | {"run_id": [f"{i:016x}" for i in range(count)]}
    )
    started = time.perf_counter()
    assert digest_of_runs(runs) == digest_of_runs(runs.astype({"number0": float}))
    assert time.perf_counter() - started < 20


def test_a_digest_tells_an_empty_cell_from_a_zero_and_a_column_from_another() -> None:
    runs = pd.DataFrame({"run_id": ["a", "b"], "x": [0.0, 1.0], "y": ["p", "q"]})
    others = (
        runs.assign(x=[None, 1.0]),
        runs.assign(x=[1.0, 0.0]),
        runs.assign(y=["p", None]),
        runs.rename(columns={"x": "z"}),
        runs.head(1),
    )
    assert len({digest_of_runs(frame) for frame in (runs, *others)}) == 6


def test_runs_that_metrics_lack_are_named_and_the_rest_reported(tmp_path: Path) -> None:
    store = write_store(tmp_path / "toy")
    runs = pd.read_parquet(store / "runs.parquet")
    runs.loc[[3, 4], "run_id"] = ["e" * 16, "f" * 16]
    runs.to_parquet(store / "runs.parquet")
    write_report(store, bootstrap=FEW)
    found = load_findings(store)
    note = f"without curves in metrics/: 2 ({'e' * 16}, {'f' * 16})"
    assert [note in warning for warning in found.warnings].count(True) == 1
    assert found.fits and {e.approach for e in found.exponents} >= {"1 envelope"}
    runs.loc[3, "run_id"] = None
    runs.to_parquet(store / "runs.parquet")
    with pytest.raises(AnalysisError, match="1 rows without a run_id"):
        write_report(store, bootstrap=FEW)


def test_json_that_is_a_pipe_or_too_deep_is_one_line(tmp_path: Path) -> None:
    store = write_store(tmp_path / "toy")
    (store / "fits.json").write_text("[" * 100_000)
    with pytest.raises(AnalysisError, match="nested too deep"):
        load_findings(store)
    (store / "fits.json").unlink()
    os.mkfifo(store / "fits.json")
    with pytest.raises(AnalysisError, match="not a regular file"):
        load_findings(store)
    with pytest.raises(AnalysisError, match="not a regular file"):
        Fit.load(store / "fits.json")
