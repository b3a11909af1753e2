"""Facts about reports and figures: complete, escaped, small, and calm about gaps."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import plots
from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.frontier import frontier
from analysis.optimal.isoflop import isoflop
from analysis.report.findings import is_of_these_runs, load_findings
from analysis.report.page import images_of
from analysis.report.sentences import with_interval
from analysis.report.stamp import digest_of_runs
from analysis.report.write import write_page, write_report
from analysis.selection.extrapolation import extrapolate
from analysis.tables.columns import OPTIONAL, RUN_COLUMNS
from analysis.tables.curves import read_metrics
from analysis.tables.table import read_table, table_from_frame
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import predict
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
    page = (reported / "report" / "index.html").read_text()
    images = images_of(page)
    assert images.keys() == set(names)
    for content in images.values():
        assert 5_000 < len(content) < 200_000
        assert Image.open(io.BytesIO(content)).size[0] > 700
    # The page needs no other file; the figure that says most is one as well.
    assert len(page) < 3_000_000
    files = {p.name: p for p in (reported / "report").iterdir()}
    assert files.keys() == {"index.html", "figure.png"}
    assert files["figure.png"].read_bytes() == images["isoflop"]
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
    written = ("fits.json", "FOUND.md", "report/index.html", "report/figure.png")
    before = {name: (reported / name).read_bytes() for name in written}
    write_report(reported, bootstrap=FEW, figures="svg")
    assert {name: (reported / name).read_bytes() for name in written} == before
    drawn = {p.stem for p in (reported / "report").glob("*.svg")}
    assert drawn == images_of((reported / "report" / "index.html").read_text()).keys()
    write_report(reported, bootstrap=FEW)
    assert not list((reported / "report").glob("*.svg"))


def test_fits_json_has_no_draws_and_finds_them_beside_it(
    reported: Path, tmp_path: Path
) -> None:
    text = (reported / "fits.json").read_text()
    assert "replicas" not in json.loads(text)["fits"][0]
    assert len(text) < 60_000
    fit = Fit.load(reported / "fits.json")
    assert {len(draws) for draws in fit.replicas.values()} == {FEW.replicas}
    band = predict(fit, {"n": 1e5, "d": 1e7})
    assert band.low < band.value < band.high
    # Draws of other runs are no draws of these.
    for name in ("fits.json", "draws.parquet"):
        shutil.copy(reported / name, tmp_path / name)
    record = json.loads(text) | {"runs": "0" * 64}
    (tmp_path / "fits.json").write_text(json.dumps(record))
    assert Fit.load(tmp_path / "fits.json").replicas == {}
    (tmp_path / "draws.parquet").write_bytes(b"torn")
    assert np.isnan(predict(Fit.load(tmp_path / "fits.json"), {"n": 1e5, "d": 1e7}).low)


def test_what_was_found_is_told_in_sentences_with_intervals(reported: Path) -> None:
    text = (reported / "FOUND.md").read_text()
    fit = Fit.load(reported / "fits.json")
    low, high = fit.intervals["alpha"]
    assert text.startswith("# toy: Does <b>a</b> toy law")
    shown = re.search(r"alpha ([\d.]+) \[([\d.]+), ([\d.]+)\]", text)
    assert shown is not None
    for told, value in zip(
        shown.groups(), (fit.constants["alpha"], low, high), strict=True
    ):
        assert float(told) == pytest.approx(value, abs=0.05 * (high - low))
    for part in (
        "approach 3 parametric: ",
        "the laws miss the runs above",
        "## To know",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.684, (0.571, 0.988), "0.68 [0.57, 0.99]"),
        (2.35893, (2.35811, 2.35979), "2.3589 [2.3581, 2.3598]"),
        (1297.75, (172.3, 23677.4), "1298 [172, 23677]"),
        (12.5, (3.0, 6.9e8), "12.5 [3, 6.9e+08]"),
        (0.5, (np.nan, np.nan), "0.5"),
        (0.5, (0.5, 0.5), "0.5 [0.5, 0.5]"),
    ],
)
def test_numbers_have_the_digits_that_their_intervals_allow(
    value: float, interval: tuple[float, float], text: str
) -> None:
    assert with_interval(value, interval) == text


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
    assert "training" in images_of(page)


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


def test_the_frontier_takes_all_seeds_by_their_mean() -> None:
    frame = pd.DataFrame(
        {
            "n": [1e3, 1e3, 2e3, 2e3],
            "d": 1e6,
            "c": [1e9, 1e9, 1e9, 1e9],
            "loss": [1.0, 3.0, 1.8, 1.9],
            "seed": [0, 1, 0, 1],
        }
    )
    table = table_from_frame(frame, n="n", d="d", c="c", loss="loss", seed="seed")
    # The luckiest seed of all is of the model that is worse in the mean.
    assert frontier(table).values("loss").tolist() == [1.8, 1.9]


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
