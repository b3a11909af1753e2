"""The report as one static HTML page; every text that comes from data is escaped."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.fitting.record import FLAG_MEANING, Fit, interval_line
from analysis.laws import get_law
from analysis.report.families import families_section
from analysis.report.findings import Picture
from analysis.report.html import html_table
from analysis.report.study import Study
from analysis.tables.columns import RUN_COLUMNS
from analysis.tuning.summary import HEAD, PASTE, TuningSummary
from analysis.uncertainty.intervals import optimum_at
from analysis.uncertainty.units import WHEN

MOST_RUNS = 200
STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#111;background:#fff;max-width:1080px;
 margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}
h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #e4e4e4}
th:first-child,td:first-child{text-align:left}
td{white-space:nowrap}
td.prose{text-align:left;white-space:normal}
.scroll{overflow-x:auto;max-height:60rem}
.warning{background:#fff6e0;border-left:4px solid #b36b00;padding:.3rem .8rem;
 margin:.3rem 0}
figure{margin:1.5rem 0}figure img{max-width:100%;height:auto}
figcaption,.note{color:#444;font-size:.9rem}
pre{white-space:pre-wrap;background:#f6f6f6;padding:.8rem;font-size:.85rem}
"""


def page(found: Study) -> str:
    """The whole page."""
    sections = [
        f"<h1>{escape(found.name)}</h1>",
        f"<p>{escape(summary(found))}</p>",
        _section("Question", f"<pre>{escape(found.doc)}</pre>" if found.doc else ""),
        _section("Warnings", "".join(map(_warning, found.findings.warnings))),
        _section("Tuned learning rates", _rates(found)),
        _section("Families side by side", families_section(found.findings.families)),
        _section("Fitted laws", "".join(map(fit_table, _printed_fits(found)))),
        _section("Exponents by counting convention", _conventions(found)),
        _section("The exponent by every estimator", _exponents(found)),
        _section("How the intervals were made", _intervals(found)),
        _section("Prediction beyond the fitted budgets", _held_out(found)),
        _section("Compute-optimal models", _optimal(found)),
        _section("Figures", "".join(map(_figure, found.findings.pictures))),
        _section("Runs", _runs(found.runs)),
        _section("How the fits were made", _recipes(found)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(found.name)}</title><style>{STYLE}</style></head><body>"
        + "".join(sections)
        + "</body></html>\n"
    )


def summary(found: Study) -> str:
    """Two sentences: what was trained, what came out."""
    table, runs = found.table, found.runs
    spans = ", ".join(
        f"{name} {table.values(k).min():.3g} to {table.values(k).max():.3g}"
        for k, name in (("n", "N"), ("d", "D"), ("c", "C"))
    )
    text = f"{len(runs)} finished runs, {len(table)} of them in the fits: {spans}."
    fit = found.main_fit
    if found.findings.families:
        names = ", ".join(dict.fromkeys(c.family for c in found.findings.families))
        return f"{text} Laws are fitted to each family by itself: {names}."
    if fit is None:
        return text + " No law in N and D could be fitted; the warnings say why."
    low, high = fit.intervals["a"]
    return (
        f"{text} Compute-optimal size grows as N* ∝ C^{fit.derived['a']:.3f} "
        f"({_level(fit)} interval {low:.3f} to {high:.3f}), by the law {fit.law}."
    )


def _level(fit: Fit) -> str:
    return f"{fit.recipe.bootstrap['level']:.0%}"


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>{body}" if body else ""


def _warning(text: str) -> str:
    return f'<div class="warning">{escape(text)}</div>'


def _rates(found: Study) -> str:
    """What was kept of the runs at every rate, and why; the rule through it."""
    curves = [c for study in found.rates for c in study.curves]
    if not curves:
        return ""
    note = (
        f'<p class="note">{sum(len(c.rates) for c in curves)} rates at '
        f"{len(curves)} points. The fits use one row of each point: the vertex "
        "of the parabola in ln LR through the rates around the best, so that no size "
        "is judged at a rate that suits another. Where a flag says that there is no "
        "vertex, the best run itself is kept.</p>"
    )
    return note + "".join(map(_rates_of_family, found.rates))


def _rates_of_family(study: TuningSummary) -> str:
    title = f"<h3>{escape(study.family)}</h3>" if study.family else ""
    body = title + html_table(HEAD, study.rows())
    rule = study.rule
    if rule is None:
        return body
    head = ("constant", "value", f"{rule.level:.0%} from", "to", "")
    return (
        f"{body}<h3>{escape(rule.formula)}</h3>{html_table(head, rule.rows())}"
        f'<p class="note">{rule.points} minima; {escape(PASTE)}</p>'
        f"<pre>{escape(study.line())}</pre>"
    )


def _printed_fits(found: Study) -> tuple[Fit, ...]:
    fits, curves = found.findings.fits, found.findings.curves
    main = (found.main_fit,) if found.main_fit else tuple(fits.values())[:1]
    return (*main, *curves)


def fit_table(fit: Fit) -> str:
    """Constants with intervals, then the certificate in one line."""
    law, d = get_law(fit.law), fit.diagnostics
    rows = [
        (name, value, *fit.intervals.get(name, (None, None)))
        for name, value in (fit.constants | fit.derived).items()
    ]
    flags = "; ".join(FLAG_MEANING[f] for f in d.flags) or "no flags"
    scope = "" if "n" in law.columns else " over the frontier"
    return (
        f"<h3>{escape(fit.law)}: {escape(law.formula)}{scope}</h3>"
        + html_table(("constant", "value", f"{_level(fit)} from", "to"), rows)
        + f'<p class="note">{escape(law.reference)}. {d.rows} rows; objective '
        f"{fit.objective:.6g} ({escape(fit.recipe.loss)}, δ = {fit.recipe.delta:g}); "
        f"rms residual {100 * d.rms_residual:.2g} %; {d.share_at_best:.0%} of "
        f"{d.starts} starts at the best objective; gradient norm "
        f"{d.gradient_norm:.1g}; condition number {d.condition_number:.3g}; "
        f"{escape(flags)}.</p>"
    )


def _conventions(found: Study) -> str:
    if not found.findings.fits:
        return ""
    rows = []
    for name, fit in found.findings.fits.items():
        cells: list[Any] = [name]
        for key in ("alpha", "beta", "a"):
            value = (fit.constants | fit.derived)[key]
            low, high = fit.intervals[key]
            cells.append(f"{value:.3f}  [{low:.3f}, {high:.3f}]")
        rows.append([*cells, fit.recipe.flops_per_nd])
    note = (
        '<p class="note">a = β/(α+β) is the exponent of N* against C. n_matmul: '
        "weights used in matrix products; n_total: all; n_body: without embedding and "
        "head.</p>"
    )
    head = ("parameters counted as", "α", "β", "a", "C / (N D)")
    return html_table(head, rows) + note


def _held_out(found: Study) -> str:
    if not found.findings.held_out:
        return ""
    names = list(found.findings.held_out)
    rows = []
    for first, *others in zip(*found.findings.held_out.values(), strict=True):
        errors = [f"{100 * h.rms_log_error:.2f} %" for h in (first, *others)]
        mean = f"{100 * first.mean_log_error:+.2f} %"
        counts = (first.rows_fitted, first.rows_predicted, f"{first.reach:.3g}×")
        rows.append((first.cutoff, *counts, *errors, mean))
    head = ["fitted up to C", "rows", "rows predicted", "reach"]
    head += [f"rms error, {x}" for x in names] + [f"mean error, {names[0]}"]
    note = (
        '<p class="note">Each law is fitted to the runs up to a budget and predicts '
        "the loss of those above it; errors are of ln loss.</p>"
    )
    return html_table(head, rows) + note


def _exponents(found: Study) -> str:
    rows = [
        (
            e.approach,
            e.convention,
            e.value,
            f"[{e.interval[0]:.3f}, {e.interval[1]:.3f}]" if e.found else "–",
            e.note,
        )
        for e in found.findings.exponents
    ]
    head = ("approach", "parameters counted as", "exponent of N*", "interval", "note")
    return html_table(head, rows) if rows else ""


def _intervals(found: Study) -> str:
    """Which bootstrap was used, and which suits what."""
    if not found.findings.all_fits:
        return ""
    used = found.findings.all_fits[0]
    advice = found.advice
    lines = [
        f"By {used.recipe.bootstrap['kind']}. Advised: by {advice.kind}, because "
        f"{advice.why}.",
        interval_line(used),
    ]
    shown = "".join(f"<li>{escape(x)}</li>" for x in lines)
    return f"<ul>{shown}</ul>" + html_table(("bootstrap by", "when"), WHEN.items())


def _optimal(found: Study) -> str:
    fit = found.main_fit
    if fit is None:
        return ""
    top = fit.recipe.scale_range["c"][1]
    budgets = top * np.array([0.1, 1.0, 10.0])
    best = optimum_at(fit, budgets)

    def cell(key: str, i: int) -> str:
        band = best[key]
        return f"{band.value[i]:.3g}  [{band.low[i]:.3g}, {band.high[i]:.3g}]"

    rows = [
        (c, *(cell(k, i) for k in ("n", "d", "d_per_n", "loss")))
        for i, c in enumerate(budgets)
    ]
    head = ("C (FLOPs)", "N*", "D*", "D*/N*", "loss (nats)")
    note = (
        f'<p class="note">The last line is {10}× the largest budget trained: an '
        "extrapolation. Intervals are those of the fitted law, not of a single run.</p>"
    )
    return html_table(head, rows) + note


def _figure(picture: Picture) -> str:
    shown, png, svg = (escape(x) for x in (picture.shown, picture.png, picture.svg))
    caption = escape(picture.caption)
    return (
        f'<figure><img src="{shown}" alt="{caption}"><figcaption>{caption} '
        f'<a href="{png}">PNG</a> <a href="{svg}">SVG</a></figcaption></figure>'
    )


def _runs(runs: pd.DataFrame) -> str:
    columns = [c for c in RUN_COLUMNS if c in runs.columns]
    shown = runs.sort_values([c for c in ("flops_train", "run_id") if c in columns])
    rows = shown[columns].head(MOST_RUNS).itertuples(index=False)
    rest = max(0, len(runs) - MOST_RUNS)
    note = f'<p class="note">{rest} more in runs.parquet.</p>' if rest else ""
    return html_table(columns, rows) + note


def _recipes(found: Study) -> str:
    fits = found.findings.all_fits
    recipes = "".join(f"<pre>{escape(str(f))}</pre>" for f in fits)
    if not found.findings.families:
        return recipes
    return f"<details><summary>{len(fits)} fits</summary>{recipes}</details>"
