"""The report as one static HTML page: plain data for the template `page.html.j2`.

What is always said stands in the template, which escapes every text that it is given;
what depends on the runs is made here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import pandas as pd

from analysis.fitting.record import FLAG_MEANING, Fit, interval_line
from analysis.laws import get_law
from analysis.optimal.side_by_side import Exponent
from analysis.plots.save import shown_width
from analysis.report.collect import BEYOND
from analysis.report.families import family_tables
from analysis.report.figures import caption, main_fit
from analysis.report.findings import Findings, OptimalModels
from analysis.report.grid import Grid, cell, is_prose
from analysis.report.store import Store
from analysis.selection.extrapolation import HoldOut
from analysis.tables.columns import RUN, RUN_COLUMNS, STORE_COLUMNS
from analysis.tuning.summary import HEAD, PASTE, TuningSummary
from analysis.uncertainty.units import WHEN, Advice

MOST_RUNS = 200
PREFIX = "data:image/png;base64,"
IMAGE = re.compile(rf'<img data-figure="([^"]+)" src="{PREFIX}([^"]*)"')


def page(store: Store, findings: Findings, images: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        store: the runs and the question.
        findings: what was fitted to them.
        images: name of each picture -> PNG; a page needs no file beside it.
    """
    fit = main_fit(store, findings)
    return _template().render(
        name=store.name,
        summary=summary(store, findings),
        question=store.question,
        warnings=findings.warnings,
        tuning=store.tuning,
        rates=sum(len(c.rates) for s in store.tuning for c in s.curves),
        points=sum(len(s.curves) for s in store.tuning),
        tuned_points=_tuned_points,
        lr_rule=_lr_rule,
        paste=PASTE,
        family_tables=family_tables(findings.families, findings.equal_compute),
        laws=[_law(x) for x in _printed_fits(fit, findings)],
        conventions=_conventions(findings),
        exponents=_exponents(findings.exponents),
        intervals=_intervals(findings, store.advice),
        held_out=_held_out(findings),
        optimal=None if findings.optimal is None else _optimal(findings.optimal),
        beyond=BEYOND,
        promises=findings.promises,
        pictures=[p for p in findings.pictures if p.name in images],
        source={name: _data_uri(png) for name, png in images.items()},
        width={name: shown_width(png) for name, png in images.items()},
        caption=caption,
        runs=_runs(store.runs),
        more_runs=max(0, len(store.runs) - MOST_RUNS),
        fits=findings.all_fits,
        several_families=bool(findings.families),
    )


def images_of(text: str) -> dict[str, bytes]:
    """The pictures in a page that was written before."""
    return {name: base64.b64decode(content) for name, content in IMAGE.findall(text)}


def _data_uri(png: bytes) -> str:
    return PREFIX + base64.b64encode(png).decode()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    environment.tests["prose"] = is_prose
    return environment.get_template("page.html.j2")


def summary(store: Store, findings: Findings) -> str:
    """Two sentences: what was trained, what came out."""
    table = store.table
    spans = ", ".join(
        f"{name} {table.values(k).min():.3g} to {table.values(k).max():.3g}"
        for k, name in (("n", "N"), ("d", "D"), ("c", "C"))
    )
    trained = (
        f"{len(store.runs)} finished runs, {len(table)} of them in the fits: {spans}."
    )
    return f"{trained} {_outcome(findings, main_fit(store, findings))}"


def _outcome(findings: Findings, fit: Fit | None) -> str:
    if findings.families:
        names = ", ".join(dict.fromkeys(c.family for c in findings.families))
        return f"Laws are fitted to each family by itself: {names}."
    if fit is None:
        return "No law in N and D could be fitted; the warnings say why."
    low, high = fit.intervals["a"]
    return (
        f"Compute-optimal size grows as N* ∝ C^{fit.derived['a']:.3f} "
        f"({_level(fit)} interval {low:.3f} to {high:.3f}), by the law {fit.law}."
    )


def _level(fit: Fit) -> str:
    return f"{fit.provenance.bootstrap['level']:.0%}"


def _tuned_points(tuning: TuningSummary) -> Grid:
    return Grid(HEAD, tuning.rows())


def _lr_rule(tuning: TuningSummary) -> Grid | None:
    rule = tuning.rule
    if rule is None:
        return None
    return Grid(("constant", "value", f"{rule.level:.0%} from", "to", ""), rule.rows())


def _printed_fits(main: Fit | None, findings: Findings) -> tuple[Fit, ...]:
    others = tuple(findings.fits.values())[:1]
    return (*((main,) if main else others), *findings.curves)


class _PrintedLaw(NamedTuple):
    """A fitted law: its title, its constants and its certificate in one line."""

    title: str
    constants: Grid
    certificate: str


def _law(fit: Fit) -> _PrintedLaw:
    law = get_law(fit.law)
    scope = "" if "n" in law.columns else " over the frontier"
    rows = [
        (name, value, *fit.intervals.get(name, (None, None)))
        for name, value in (fit.constants | fit.derived).items()
    ]
    head = ("constant", "value", f"{_level(fit)} from", "to")
    return _PrintedLaw(
        title=f"{fit.law}: {law.formula}{scope}",
        constants=Grid(head, rows),
        certificate=f"{law.reference}. {_certificate(fit)}",
    )


def _certificate(fit: Fit) -> str:
    d = fit.diagnostics
    flags = "; ".join(FLAG_MEANING[f] for f in d.flags) or "no flags"
    return (
        f"{d.rows} rows; objective {fit.objective:.6g} ({fit.provenance.loss}, "
        f"δ = {fit.provenance.delta:g}); rms residual {100 * d.rms_residual:.2g} %; "
        f"{d.share_at_best:.0%} of {d.starts} starts at the best objective; gradient "
        f"norm {d.gradient_norm:.1g}; condition number {d.condition_number:.3g}; "
        f"{flags}."
    )


def _conventions(findings: Findings) -> Grid | None:
    if not findings.fits:
        return None
    rows = [
        (
            name,
            *(_with_interval(fit, key) for key in ("alpha", "beta", "a")),
            fit.provenance.flops_per_nd,
        )
        for name, fit in findings.fits.items()
    ]
    return Grid(("parameters counted as", "α", "β", "a", "C / (N D)"), rows)


def _with_interval(fit: Fit, name: str) -> str:
    value, (low, high) = (fit.constants | fit.derived)[name], fit.intervals[name]
    return f"{value:.3f}  [{low:.3f}, {high:.3f}]"


def _exponents(exponents: Sequence[Exponent]) -> Grid | None:
    if not exponents:
        return None
    rows = [
        (
            e.approach,
            e.convention,
            e.value,
            f"[{e.interval[0]:.3f}, {e.interval[1]:.3f}]" if e.known else "–",
            e.note,
        )
        for e in exponents
    ]
    head = ("approach", "parameters counted as", "exponent of N*", "interval", "note")
    return Grid(head, rows)


class _Intervals(NamedTuple):
    """Sentences on the bootstrap that was used, and a table of what suits what."""

    lines: tuple[str, ...]
    kinds: Grid


def _intervals(findings: Findings, advice: Advice) -> _Intervals | None:
    if not findings.all_fits:
        return None
    first = findings.all_fits[0]
    used = (
        f"By {first.provenance.bootstrap['kind']}. Advised: by {advice.kind}, because "
        f"{advice.why}."
    )
    kinds = Grid(("bootstrap by", "when"), WHEN.items())
    return _Intervals((used, interval_line(first)), kinds)


def _held_out(findings: Findings) -> Grid | None:
    if not findings.held_out:
        return None
    names = list(findings.held_out)
    head = ["fitted up to C", "rows", "rows predicted", "reach"]
    head += [f"rms error, {x}" for x in names] + [f"mean error, {names[0]}"]
    errors = zip(*findings.held_out.values(), strict=True)
    return Grid(head, [_errors_beyond(of_laws) for of_laws in errors])


def _errors_beyond(of_laws: tuple[HoldOut, ...]) -> tuple[object, ...]:
    """The row of one cutoff; the first law is the main one."""
    first = of_laws[0]
    return (
        first.cutoff,
        first.rows_fitted,
        first.rows_predicted,
        f"{first.reach:.3g}×",
        *(f"{100 * h.rms_log_error:.2f} %" for h in of_laws),
        f"{100 * first.mean_log_error:+.2f} %",
    )


def _optimal(best: OptimalModels) -> Grid:
    """The best model at a tenth of the largest budget, at it, and beyond it."""
    bands = [best.bands[key] for key in ("n", "d", "d_per_n", "loss")]
    rows = [
        (
            c,
            *(f"{value:.3g}  [{low:.3g}, {high:.3g}]" for value, low, high in at),
        )
        for c, *at in zip(best.c, *bands, strict=True)
    ]
    return Grid(("C (FLOPs)", "N*", "D*", "D*/N*", "loss (nats)"), rows)


def _runs(runs: pd.DataFrame) -> Grid:
    columns = [c for c in RUN_COLUMNS if c in runs.columns]
    by_compute = runs.sort_values(
        [c for c in (STORE_COLUMNS["c"], RUN) if c in columns]
    )
    rows = by_compute[columns].head(MOST_RUNS).itertuples(index=False)
    return Grid(columns, rows)
