"""Facts about tuned sweeps: planted minima and rules come back, the rest is flagged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from analysis.plots import loss_against_rate, rates_against_size
from analysis.report.page import images_of
from analysis.report.write import write_report
from analysis.tables.table import Table, read_table, table_from_frame
from analysis.tuning.lr_curve import lr_minimum
from analysis.tuning.lr_minima import (
    LrCurves,
    at_minima,
    rate_curves,
    read_lr_curves,
    with_rates,
)
from analysis.tuning.lr_rule import LrRule, fit_lr_rule
from analysis.tuning.summary import summarise_tuning
from analysis.uncertainty.units import Bootstrap
from harness.cli import app
from tests.analysis.stores import runs_frame, write_store

RATES = 2.0 ** np.arange(-11, 0)
TRUTH = {"k": 1.3, "n": -0.35, "d": -0.06, "batch": 0.5}


def planted(
    noise: float = 0.0,
    seed: int = 0,
    n: tuple[float, ...] = (1e4, 4e4, 1.6e5),
    d: tuple[float, ...] = (1e6, 8e6),
    batch: tuple[float, ...] = (8, 32),
    rates: np.ndarray = RATES,
) -> pd.DataFrame:
    """Losses that are parabolas in ln LR around `TRUTH`."""
    axes = np.meshgrid(n, d, batch, rates, indexing="ij")
    frame = pd.DataFrame(
        dict(zip(("n", "d", "batch", "lr"), map(np.ravel, axes), strict=True))
    )
    best = TRUTH["k"] * np.prod(
        [frame[r] ** TRUTH[r] for r in ("n", "d", "batch")], axis=0
    )
    draws = noise * np.random.default_rng(seed).standard_normal(len(frame))
    rise = 0.05 * np.log(frame["lr"] / best) ** 2
    frame["loss"] = 1 + 40 * frame["n"] ** -0.4 + rise + draws
    return frame


def table(frame: pd.DataFrame) -> Table:
    roles = {r: r for r in ("n", "d", "loss", "lr", "batch") if r in frame}
    return with_rates(table_from_frame(frame, **roles))


def rule_of(frame: pd.DataFrame) -> LrRule:
    return fit_lr_rule(rate_curves(table(frame)))


def test_a_planted_rule_comes_back_exactly_without_noise() -> None:
    rule = rule_of(planted())
    assert rule.points == 12 and rule.fixed == {}
    assert {"k": rule.k, **rule.exponents} == pytest.approx(TRUTH, rel=1e-6)
    expected = TRUTH["k"] * 1e6**-0.35 * 1e9**-0.06 * 64**0.5
    assert rule.at(1e6, 1e9, 64) == pytest.approx(expected, rel=1e-6)


def test_intervals_hold_the_planted_rule_as_often_as_they_say() -> None:
    held = dict.fromkeys(TRUTH, 0)
    tries = 150
    for seed in range(tries):
        rule = rule_of(planted(0.003, seed))
        for name, (low, high) in rule.intervals.items():
            held[name] += low <= TRUTH[name] <= high
    # Four standard deviations of a binomial share of 95 % in 150 tries.
    assert all(0.88 <= count / tries <= 1 for count in held.values()), held


@pytest.mark.parametrize(
    ("change", "free", "reason"),
    [
        ({"batch": (16,)}, {"n", "d"}, "B is about 16 at every minimum"),
        ({"d": (1e6,), "batch": (16,)}, {"n"}, "D is about 1e+06"),
        ({"n": (1e5,), "d": (1e6,), "batch": (16,)}, set(), "N is about 1e+05"),
        ({"n": (1e4, 4e4), "d": (1e6,)}, {"n", "batch"}, "D is about"),
    ],
)
def test_only_columns_that_vary_have_exponents(change, free, reason) -> None:
    rule = rule_of(planted(**change))
    assert {r for r, e in rule.exponents.items() if e} == free
    assert {r for r in rule.exponents if r not in rule.fixed} == free
    assert any(reason in why for why in rule.fixed.values())
    for role in free:
        assert rule.exponents[role] == pytest.approx(TRUTH[role], abs=1e-6)


def test_tokens_in_proportion_to_size_leave_one_exponent() -> None:
    frame = planted(d=(2e5, 8e5, 3.2e6), batch=(16,))
    rule = rule_of(frame[np.isclose(frame["d"], 20 * frame["n"])])
    assert "D follows N" in rule.fixed["d"] and rule.exponents["d"] == 0
    assert rule.exponents["n"] == pytest.approx(TRUTH["n"] + TRUTH["d"], abs=1e-6)


def test_one_point_gives_a_factor_and_no_interval() -> None:
    rule = rule_of(planted(n=(1e5,), d=(1e6,), batch=(16,)))
    assert rule.points == 1 and rule.intervals == {}
    assert "no intervals" in rule.notes[0]
    assert rule.at(7, 8, 9) == pytest.approx(rule.k)


NAN = float("nan")
CASES = {
    "first": ([1, 2, 4, 8], [1.0, 1.1, 1.2, 1.3], 1, True, "lowest rate 1"),
    "last": ([1, 2, 4, 8], [1.3, 1.2, 1.1, 1.0], 8, True, "highest rate 8"),
    "two": ([1, 2], [1.1, 1.0], 2, True, "highest rate 2"),
    "one": ([1], [1.0], 1, True, "one rate only"),
    "beside diverged": ([1, 2, 4, 8], [1.3, 1.2, 1.1, NAN], 4, False, "8 diverged"),
    "flat": ([1, 2, 4], [1.0, 1.0, 1.0], 2, False, "same at three rates"),
    "steep": ([1, 2, 4], [10.0, 1.0, 1.001], 2, False, "too steeply"),
    "all diverged": ([1, 2], [NAN, NAN], NAN, False, "every run diverged"),
}


@pytest.mark.parametrize("case", CASES)
def test_without_a_vertex_the_best_run_is_kept_and_flagged(case: str) -> None:
    rates, losses, best, edge, flag = CASES[case]
    found = lr_minimum(np.array(rates, float), np.array(losses))
    assert found.lr == pytest.approx(best, nan_ok=True)
    lowest = min((x for x in losses if x == x), default=NAN)
    assert found.loss == pytest.approx(lowest, nan_ok=True)
    assert found.lr_at_edge is edge
    assert flag in found.flag and found.parabola is None


def test_ties_have_their_vertex_between_them() -> None:
    for losses in ([1.0, 1.0, 1.2], [1.2, 1.0, 1.0], [1.1, 1.0, 1.0, 1.1]):
        rates = 4.0 ** np.arange(len(losses))
        found = lr_minimum(rates, np.array(losses))
        tied = rates[np.array(losses) == 1.0]
        assert found.lr == pytest.approx(np.sqrt(tied.prod())) and not found.flag
        assert 0.97 < found.loss < 1.0


def test_three_rates_are_enough_and_a_diverged_one_further_off_changes_nothing() -> (
    None
):
    u = np.log([1.0, 3.0, 9.0])
    losses = 2 + 0.1 * (u - np.log(2.5)) ** 2
    found = lr_minimum(np.exp(u), losses)
    more = lr_minimum(np.append(np.exp(u), 27.0), np.append(losses, NAN))
    for one in (found, more):
        assert one.lr == pytest.approx(2.5) and one.loss == pytest.approx(2)
        assert one.flag == ""


def tuned_store(folder: Path) -> Path:
    """The toy sweep, each run at five rates; at the smallest size the best is last."""
    store = write_store(folder)
    runs = runs_frame().query("status == 'done'")
    frames = []
    for j, rate in enumerate(1e-3 * 2.0 ** np.arange(5)):
        best = 4e-3 * (runs["n_matmul"] / runs["n_matmul"].median()) ** -0.2
        best = best.where(runs["model.width"] > 16, 1.0)
        loss = runs["loss"] * (1 + 0.02 * np.log(rate / best) ** 2)
        changed = {"optimizer.lr": rate, "grid.tune.lr": rate, "loss": loss}
        named = runs["run_id"].str[:-1] + str(j) if j != 2 else runs["run_id"]
        frames.append(runs.assign(**changed, run_id=named))
    lost = frames[4].index[-1]
    frames[4].loc[lost, ["status", "loss"]] = ["diverged", np.nan]
    pd.concat(frames, ignore_index=True).to_parquet(store / "runs.parquet")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_store(tmp_path_factory.mktemp("tuned") / "toy")


def test_reading_reads_and_the_minima_are_asked_for(store: Path) -> None:
    every = read_table(store)
    kept = at_minima(every)
    assert len(every) == 5 * 35 - 1 and len(kept) == 35
    assert "another learning rate" in kept.left_out[-1].reason
    assert kept.left_out[-1].count == len(every) - len(kept)
    flagged = kept.frame["lr_flag"] != ""
    assert set(kept.frame.loc[flagged, "model.width"]) == {16}
    clean = runs_frame().query("status == 'done'")["loss"].sort_values().to_numpy()
    inner = np.sort(kept.frame.loc[~flagged, "loss_at_best_lr"])
    assert np.isin(inner.round(6), clean.round(6)).all()  # the vertex, exactly
    assert (kept.values("loss") <= kept.frame["loss"] + 1e-12).all()


def test_a_table_without_an_inner_axis_has_no_minima_to_ask_for(tmp_path: Path) -> None:
    table = read_table(write_store(tmp_path / "toy"))
    assert at_minima(table) is table


def test_points_are_told_apart_by_what_was_trained_not_by_grid_or_names(
    store: Path, tmp_path: Path
) -> None:
    frame = pd.read_parquet(store / "runs.parquet")
    shuffled = frame.sample(frac=1, random_state=0).assign(sweep="x")
    shuffled["grid.size"] = "same"
    shuffled.to_parquet(tmp_path / "runs.parquet")
    one, other = (read_lr_curves(s).curves for s in (store, tmp_path))
    seen = [[(c.n, c.d, str(c.losses), c.lr) for c in x] for x in (one, other)]
    assert len(seen[0]) == 35 and seen[0] == seen[1]
    assert sum(len(c.diverged) for c in one) == 1


def test_the_report_shows_the_curves_and_fits_the_minima(store: Path) -> None:
    page = write_report(store, bootstrap=Bootstrap(replicas=20)).read_text()
    assert "Tuned learning rates" in page
    assert {"rates", "rate_rule"} <= images_of(page).keys()
    assert "RULE = recipe.LearningRate(k=" in page and "tuned points have no" in page
    assert "loss = loss_at_best_lr" in page and "another learning rate" in page
    fits = json.loads((store / "fits.json").read_text())["fits"]
    assert fits[0]["diagnostics"]["rows"] == 35


def test_figures_are_drawn_for_any_points() -> None:
    for frame in (planted(), planted(n=(1e5,), d=(1e6,), batch=(16,))):
        curves = rate_curves(table(frame))
        assert loss_against_rate(curves).axes
        assert rates_against_size(curves, fit_lr_rule(curves)).axes
    lone = with_rates(
        table_from_frame(planted().assign(g="a").iloc[:11], loss="loss", lr="lr", n="n")
    )
    assert loss_against_rate(rate_curves(lone)).axes


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(app, ["tune", *map(str, args)])


def test_the_command_prints_optima_rule_and_the_line_to_paste(call) -> None:
    frame = planted()
    frame.loc[frame["lr"] == RATES[-1], "loss"] = np.nan
    frame.to_csv("t.csv", index=False)
    done = call("t.csv", "--json", "t.json")
    assert done.exit_code == 0, done.output
    assert re.search(r"exponent of B +0.5 +\[", done.output)
    (found,) = json.loads(Path("t.json").read_text())
    assert found["line"] in done.output.splitlines()
    assert len(found["points"]) == 12 and found["points"][0]["losses"][-1] is None
    assert found["rule"]["exponents"]["n"] == pytest.approx(TRUTH["n"])


BAD = {
    "no rates": (lambda f: f.drop(columns="lr"), "--lr COLUMN"),
    "zero": (lambda f: f.assign(lr=f["lr"].where(f.index != 3, 0)), "in row 4"),
    "one rate": (lambda f: f[f["lr"] == RATES[0]], r"tune\(points, lr="),
    "no point": (lambda f: f.drop(columns=["n", "d", "batch"]), "name --n and --d"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_get_one_line(call, name: str) -> None:
    spoil, message = BAD[name]
    spoil(planted()).to_csv("t.csv", index=False)
    done = call("t.csv")
    assert isinstance(done.exception, AnalysisError), done.output
    assert re.search(message, str(done.exception))
    assert "\n" not in str(done.exception)


def test_without_a_minimum_there_is_a_table_and_no_rule() -> None:
    curves = planted(n=(1e4,), d=(1e6,), batch=(8,), rates=RATES[:2])
    (found,) = summarise_tuning(read := _curves(curves))
    assert found.rule is None and "no rule" in str(found) and len(read.curves) == 1


def test_every_family_has_a_rule_of_its_own(call) -> None:
    own, other = planted().assign(family="own"), planted().assign(family="other")
    other["lr"] *= 3
    pd.concat([own, other]).to_csv("t.csv", index=False)
    done = call("t.csv", "--json", "t.json")
    assert done.exit_code == 0, done.output
    found = {f["family"]: f for f in json.loads(Path("t.json").read_text())}
    assert [len(f["points"]) for f in found.values()] == [12, 12]
    for family, times in (("own", 1), ("other", 3)):
        assert found[family]["rule"]["k"] == pytest.approx(times * TRUTH["k"])
        assert found[family]["line"].startswith(f"{family.upper()}_RULE = recipe.")
        assert found[family]["line"] in done.output.splitlines()


def _curves(frame: pd.DataFrame):
    made = table(frame)
    return LrCurves(made, rate_curves(made))


def test_a_batch_that_no_option_names_is_never_mixed_into_one_point(
    tmp_path: Path,
) -> None:
    frame = planted().rename(columns={"batch": "bs"})
    frame.to_csv(tmp_path / "rates.csv", index=False)
    roles = {"n": "n", "d": "d", "lr": "lr", "loss": "loss"}
    with pytest.raises(AnalysisError, match=r"differ in 'bs' \(8, 32\).*--batch 'bs'"):
        read_lr_curves(tmp_path / "rates.csv", **roles)
    named = read_lr_curves(tmp_path / "rates.csv", **roles, batch="bs")
    rule = fit_lr_rule(named.curves)
    assert {"k": rule.k, **rule.exponents} == pytest.approx(TRUTH, rel=1e-6)
    one = read_lr_curves(tmp_path / "rates.csv", **roles, where="bs == 8")
    assert len(one.curves) == 6


def test_seeds_and_measures_do_not_split_a_point(tmp_path: Path) -> None:
    frame = pd.concat([planted(1e-3, k).assign(seed=k) for k in range(3)])
    frame["accuracy"] = 1 / frame["loss"]
    frame.to_csv(tmp_path / "rates.csv", index=False)
    roles = {"n": "n", "d": "d", "lr": "lr", "loss": "loss", "batch": "batch"}
    assert len(read_lr_curves(tmp_path / "rates.csv", **roles).curves) == 12
