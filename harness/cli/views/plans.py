"""The answer of `harness plan`, as data and as text."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import NotRequired, TypedDict

from harness.cli.views import forecasts
from harness.cli.views.display import duration, model_label, si
from harness.specs.count import training_bytes
from harness.store import Store
from harness.store.read import read_runs
from harness.study import prepare
from harness.sweeps.plan import Cohort, Plan, PlannedRun

"""Weights, gradients and moments are float32."""


class ModelRow(TypedDict):
    """The runs of one model; `tokens` are the fewest and the most of a run."""

    model: str
    n_matmul: int
    n_total: int
    state_bytes: int
    tokens: list[int]
    flops: float
    runs: int
    finished: int


class PlanView(TypedDict):
    """A sweep's models, tokens, FLOPs and warnings, ready for JSON."""

    runs: int
    duplicates: int
    finished: int
    cohorts: int
    models: list[ModelRow]
    flops_alone: float
    flops: float
    flops_left: float
    seconds_left: float | None
    mismatch: list[str]
    warnings: list[str]
    probe: NotRequired[forecasts.Forecast]


def describe(plan: Plan, store: Store | None) -> PlanView:
    """The view of a plan, and of what a store has of it already."""
    finished = store.finished() if store else set()
    remaining = plan.without(finished)
    rates = _rates(store) if store else {}
    return {
        "runs": len(plan.runs),
        "duplicates": plan.duplicates,
        "finished": len(plan.runs) - len(remaining.runs),
        "cohorts": len(plan.cohorts),
        "models": [_model_row(c, finished) for c in _by_size(plan)],
        "flops_alone": float(plan.flops_alone),
        "flops": float(plan.flops),
        "flops_left": float(remaining.flops),
        "seconds_left": _seconds(remaining, rates),
        "mismatch": prepare.mismatch_lines(plan, store) if store else [],
        "warnings": _warnings(plan),
    }


def text(view: PlanView, shown: int) -> str:
    """The view for a person, with so many models at most."""
    lines = [
        f"{view['runs']} runs, {view['finished']} finished, "
        f"{view['cohorts']} compiled programs"
    ]
    head = ("model", "N matmul", "N total", "state", "D from", "D to", "C")
    form = "{:<30} {:>9} {:>8} {:>7} {:>8} {:>8} {:>9} {:>5} {:>5}"
    lines.append(form.format(*head, "runs", "done"))
    for row in view["models"][:shown]:
        lines.append(
            form.format(
                row["model"],
                si(row["n_matmul"]),
                si(row["n_total"]),
                si(row["state_bytes"]) + "B",
                si(row["tokens"][0]),
                si(row["tokens"][1]),
                f"{row['flops']:.2e}",
                row["runs"],
                row["finished"],
            )
        )
    if (more := len(view["models"]) - shown) > 0:
        lines.append(f"… and {more} more models")
    saved = view["flops_alone"] / max(1.0, view["flops"])
    lines.append(
        f"{view['flops']:.3g} FLOPs with shared trunks, {saved:.2f}× fewer than run "
        f"by run; {view['flops_left']:.3g} to do"
    )
    lines.append("state: weights, gradients and moments; activations come on top of it")
    if "probe" in view:
        lines += forecasts.text(view["probe"], shown)
    else:
        lines.append(_time_left(view["seconds_left"]))
    lines += view["mismatch"]
    lines += [f"warning: {warning}" for warning in view["warnings"]]
    return "\n".join(lines)


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return "time: not known before a run has finished here; --probe times them now"
    return f"about {duration(seconds)} to do, at the speed of the runs finished here"


def _by_size(plan: Plan) -> list[Cohort]:
    return sorted(plan.cohorts, key=lambda c: c.runs[0].counts.n_matmul)


def _model_row(cohort: Cohort, finished: set[str]) -> ModelRow:
    runs = cohort.runs
    tokens = [r.run.tokens for r in runs]
    return {
        "model": model_label(runs[0].run),
        "n_matmul": runs[0].counts.n_matmul,
        "n_total": runs[0].counts.n_total,
        "state_bytes": training_bytes(runs[0].run),
        "tokens": [min(tokens), max(tokens)],
        "flops": float(cohort.flops),
        "runs": len(runs),
        "finished": sum(r.run_id in finished for r in runs),
    }


def _rates(store: Store) -> dict[int, list[float]]:
    """The FLOP/s of finished runs, by `n_matmul`."""
    rates: defaultdict[int, list[float]] = defaultdict(list)
    table = read_runs(store)
    if table is not None:
        columns = ["n_matmul", "flops_train", "seconds_train", "status"]
        for row in table.select(columns).to_pylist():
            if row["status"] == "done" and row["seconds_train"]:
                speed = row["flops_train"] / row["seconds_train"]
                rates[row["n_matmul"]].append(speed)
    return rates


def _seconds(remaining: Plan, rates: dict[int, list[float]]) -> float | None:
    """The seconds to train a plan, at the median speed of its sizes or else of all."""
    if not rates and remaining.runs:
        return None
    every = [rate for group in rates.values() for rate in group]
    return sum(
        cohort.flops
        / statistics.median(rates.get(cohort.runs[0].counts.n_matmul) or every)
        for cohort in remaining.cohorts
    )


def _warnings(plan: Plan) -> list[str]:
    warnings = []
    ratios = {_ratio(r) for r in plan.runs}
    if len(plan.runs) > 1 and max(ratios) / min(ratios) < 1.5:
        warnings.append(
            "every run has nearly the same D/N: no law in both N and D can be "
            "identified from this grid; vary tokens per parameter"
        )
    if repeated := sum(r.run.tokens > r.run.data.unique for r in plan.runs):
        warnings.append(
            f"runs that see some data more than once: {repeated}; the columns epochs "
            "and unique_tokens say how often"
        )
    if plan.duplicates:
        warnings.append(
            f"{plan.duplicates} points of the grid are the same run as others"
        )
    return warnings


def _ratio(planned: PlannedRun) -> float:
    return planned.run.tokens / planned.counts.n_matmul
