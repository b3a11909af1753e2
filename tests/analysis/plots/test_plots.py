"""Figures draw the numbers that they are given: points, lines, scales and labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis import plots
from analysis.optimal.isoflop import isoflop
from analysis.optimal.published_frontiers import HOFFMANN_2022, KAPLAN_2020
from analysis.optimal.side_by_side import Exponent
from analysis.plots.save import figure_bytes, save_figure
from analysis.plots.style import panels, styled
from analysis.selection.extrapolation import HoldOut
from analysis.tables.table import Table, table_from_frame
from tests.analysis.stores import metrics_frame, runs_frame

RUNS = runs_frame(budgets=3, sizes=5).query("status == 'done'").reset_index(drop=True)


@pytest.fixture
def table() -> Table:
    roles = {"n": "n_matmul", "d": "tokens", "c": "flops_train", "run": "run_id"}
    return table_from_frame(RUNS, loss="loss", **roles)


def points(ax: Axes) -> set[tuple[float, float]]:
    """The places of all single markers."""
    lines = [line for line in ax.lines if len(np.atleast_1d(line.get_xdata())) == 1]
    xy = [np.atleast_1d(line.get_xydata())[0] for line in lines]
    return {(float(x), float(y)) for x, y in xy}


def test_every_run_is_one_point_of_loss_against_compute(table: Table) -> None:
    ax = plots.loss_against_compute(table).axes[0]
    assert points(ax) == set(zip(RUNS["flops_train"], RUNS["loss"], strict=True))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "training compute C (FLOPs)"
    assert ax.get_ylabel() == "held-out loss (nats)"


def test_every_run_has_one_training_curve_that_ends_at_its_loss(table: Table) -> None:
    metrics = pd.concat([metrics_frame(run) for _, run in RUNS.iterrows()])
    losses = metrics.query("split == 'eval' and metric == 'loss'")
    ax = plots.training_curves(losses, table).axes[0]
    curves = [line for line in ax.lines if len(np.atleast_1d(line.get_xdata())) > 1]
    assert len(curves) == len(RUNS)
    assert points(ax) == set(zip(RUNS["tokens"], RUNS["loss"], strict=True))
    drawn = {tuple(line.get_xydata()[-1]) for line in curves}
    last = losses.sort_values("step").groupby("run_id").tail(1)
    assert drawn == set(zip(last["tokens"], last["value"], strict=True))


def test_isoflop_curves_draw_the_runs_of_each_budget_and_its_minimum(
    table: Table,
) -> None:
    curves = isoflop(table)
    ax = plots.isoflop_curves(curves).axes[0]
    assert len(curves.parabolas) == 3
    assert len(ax.get_legend().get_texts()) == 3
    inside = [
        p for p in curves.parabolas if p.n[0] / 1.15 <= p.n_star <= p.n[-1] * 1.15
    ]
    assert points(ax) == {(p.n_star, p.loss_star) for p in inside}
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "parameters N"


def test_published_frontiers_are_drawn_to_ten_times_the_largest_budget() -> None:
    figure = plots.optimal_allocation(
        (1e18, 1e20), published=(HOFFMANN_2022, KAPLAN_2020)
    )
    sizes, tokens = figure.axes
    for ax, role in ((sizes, "n_star"), (tokens, "d_star")):
        for frontier in (HOFFMANN_2022, KAPLAN_2020):
            (line,) = [x for x in ax.lines if x.get_label() == frontier.name]
            c, values = (np.asarray(v) for v in line.get_data())
            assert c[[0, -1]] == pytest.approx([1e18, 1e21])
            assert values == pytest.approx(getattr(frontier, role)(c))
    assert sizes.get_ylabel() == "optimal parameters N"
    assert tokens.get_ylabel() == "optimal training tokens D"


def test_an_exponent_is_drawn_at_its_value_and_a_missing_one_says_so() -> None:
    known = Exponent(
        approach="A", convention="n", value=0.5, interval=(0.4, 0.6), note=""
    )
    nan = float("nan")
    missing = Exponent(
        approach="B", convention="n", value=nan, interval=(nan, nan), note="no rows"
    )
    ax = plots.exponent_comparison([known, missing]).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A", "B"]
    assert (0.5, 0.0) in points(ax)
    assert any(list(line.get_xdata()) == [0.4, 0.6] for line in ax.lines)
    assert "no estimate" in [text.get_text() for text in ax.texts]


def test_errors_beyond_a_cutoff_are_one_line_per_law_in_percent() -> None:
    errors = [
        HoldOut(
            cutoff=c,
            rows_fitted=9,
            rows_predicted=3,
            reach=4.0,
            rms_log_error=e,
            mean_log_error=0.0,
        )
        for c, e in ((1e12, 0.02), (1e13, 0.01))
    ]
    ax = plots.rollout_errors({"chinchilla": errors}).axes[0]
    (line,) = ax.lines
    assert line.get_label() == "chinchilla"
    assert list(line.get_ydata()) == [2.0, 1.0]
    assert ax.get_xscale() == "log" and "(%)" in ax.get_ylabel()


@styled
def line():
    figure, (ax,) = panels()
    ax.plot([1, 2], [3, 4])
    return figure


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_figure_is_the_same_file_whenever_it_is_written(tmp_path, form):
    figure = line()
    path = save_figure(figure, tmp_path, "one", form)
    assert path.name == f"one.{form}" and path.stat().st_size > 1_000
    assert figure_bytes(figure, form) == path.read_bytes()
