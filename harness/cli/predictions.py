"""The command that asks a fit: the loss of a model, or the best model.

Names of `analysis` load when they are used: its help needs no jax.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

import analysis
from analysis.errors import AnalysisError
from analysis.tables.numbers import amount
from harness.cli.options import AsJson, command_group, roles_of

if TYPE_CHECKING:
    from analysis.fitting.record import Fit
    from analysis.laws.allocation import Demand
    from analysis.laws.arrays import FloatArray
    from analysis.uncertainty.predictions import Band

app = command_group()

Amount = Annotated[str | None, typer.Option(help="A number, such as 7e10 or 70B.")]
LOSSES_IN_NATS = ("loss", "loss_at_best_lr")
"""Columns whose unit is known by their name."""
SYMBOLS = {"n": "N*", "d": "D*", "d_per_n": "D*/N*"}
NAMES = {
    "n": "parameters",
    "d": "tokens",
    "d_per_n": "tokens per parameter",
    "training": "FLOPs of training",
    "total": "FLOPs with serving",
    "hours": "hours of training",
}


@app.callback()
def questions() -> None:
    """Commands that ask fits."""


@app.command()
def predict(
    fit_file: Annotated[Path, typer.Argument(help="Record of `harness fit --json`.")],
    n: Annotated[list[str] | None, typer.Option(help="Parameters, e.g. 70B.")] = None,
    d: Annotated[
        list[str] | None, typer.Option(help="Training tokens, e.g. 1.4T.")
    ] = None,
    x: Annotated[
        list[str] | None, typer.Option(help="Scale (one-variable laws).")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Any other column: NAME=VALUE.")
    ] = None,
    compute: Annotated[
        list[str] | None,
        typer.Option(help="The best model for so many FLOPs: 1e21,1e22 or 10PF-days."),
    ] = None,
    target_loss: Annotated[
        list[str] | None, typer.Option(help="The cheapest model of this loss.")
    ] = None,
    inference_tokens: Annotated[
        str, typer.Option(help="Tokens that the model will serve; they cost 2 N each.")
    ] = "0",
    fixed_n: Annotated[
        str | None, typer.Option(help="The best model has so many parameters.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(help="The best model has so many tokens each.")
    ] = None,
    max_tokens: Annotated[
        str | None, typer.Option(help="There are no more tokens than these.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Also hours on such GPUs: h100, a100, …")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many GPUs there are.")] = 1,
    mfu: Annotated[
        float, typer.Option(min=0.01, max=1, help="The share of their peak reached.")
    ] = 0.4,
    group: Annotated[
        str | None, typer.Option(help="Which group, of a file with several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the loss of a model, or the best model for a budget or a loss."""
    record = analysis.Fit.load(fit_file, group)
    others = {k: _number(f"column {k}", v) for k, v in roles_of(column or []).items()}
    others |= _kind(record, group)
    scales = {k: _amounts(k, v) for k, v in {"n": n, "d": d, "x": x}.items() if v}
    best = compute or target_loss
    if best and scales:
        raise AnalysisError("give either --compute or --n and --d, not both")
    if compute and target_loss:
        raise AnalysisError("give either --compute or --target-loss, not both")
    if best:
        option = "compute" if compute else "target-loss"
        limits = {
            "n": _optional("fixed-n", fixed_n),
            "ratio": _optional("ratio", ratio),
            "most_d": _optional("max-tokens", max_tokens) or math.inf,
            "served": _number("inference-tokens", inference_tokens),
        }
        demands = [
            _demand(record, option, value, limits, others)
            for value in _amounts(option, best)
        ]
        answers = [(_asked(demand), _best(record, demand)) for demand in demands]
    else:
        _need(record, set(scales) | set(others))
        answers = [
            (point, {"loss": analysis.predict(record, point)})
            for point in _points(scales, others)
        ]
    speed = None if gpu is None else _speed(gpu, count, mfu)
    answers = [(a, _with_cost(record, a, b, speed)) for a, b in answers]
    if as_json:
        plain = [{k: _known(b) for k, b in bands.items()} for _, bands in answers]
        one = plain[0] if len(plain) == 1 else plain
        typer.echo(json.dumps(one, indent=1, allow_nan=False))
        return
    for asked, bands in answers:
        if len(answers) > 1:
            typer.echo(", ".join(f"{k} = {v:.4g}" for k, v in asked.items()))
        _print_bands(bands, record)
        for note in _extrapolations(record, asked, bands):
            typer.echo(f"  note: {note}")
    for warning in record.diagnostics.notes:
        typer.echo(f"  WARNING of the fit: {warning}")


def _kind(fit: Fit, group: str | None) -> dict[str, float]:
    """The number of the group that is asked for, of a law that has groups."""
    from analysis.laws.grouped import KIND, group_number, labels_of

    law = analysis.get_law(fit.law)
    return {KIND: group_number(law, group)} if labels_of(law) else {}


def _points(
    scales: dict[str, list[float]], others: dict[str, float]
) -> Iterator[dict[str, float]]:
    """One point for each of the values; a single value goes with all of the others.

    Raises:
        AnalysisError: the lists are of different lengths.
    """
    longest = max((len(v) for v in scales.values()), default=1)
    for name, values in scales.items():
        if len(values) not in (1, longest):
            raise AnalysisError(
                f"--{name} has {len(values)} values where another has {longest}"
            )
    for i in range(longest):
        yield {k: v[i % len(v)] for k, v in scales.items()} | others


def _demand(
    fit: Fit,
    option: str,
    value: float,
    limits: dict[str, float | None],
    others: dict[str, float],
) -> Demand:
    from analysis.laws.allocation import Demand

    asked = {"loss" if option == "target-loss" else "compute": value}
    k = fit.provenance.flops_per_nd
    return Demand(flops_per_nd=k, others=others, **asked, **limits)  # type: ignore[arg-type]


def _asked(demand: Demand) -> dict[str, float]:
    if demand.compute is None:
        return {"loss": float(demand.loss or math.nan)}
    return {"c": float(demand.compute)}


def _best(fit: Fit, demand: Demand) -> dict[str, Band]:
    """The best model, with its FLOPs where they are not those that were asked for."""
    bands: dict[str, Band] = analysis.best_at(fit, demand)
    if not math.isfinite(float(bands["n"].value)):
        raise AnalysisError(_why_none(fit, demand))
    spends_all = demand.compute is not None and math.isinf(demand.most_d)
    if not demand.served:
        del bands["total"]
        if spends_all:
            del bands["training"]
    return bands


def _why_none(fit: Fit, demand: Demand) -> str:
    if demand.compute is not None:
        return "the law has no optimum at this budget"
    floor = fit.constants.get("E")
    below = f"; its irreducible loss is {floor:.4g}" if floor is not None else ""
    return f"no model reaches a loss of {demand.loss:g} under these limits{below}"


def _speed(gpu: str, count: int, mfu: float) -> float:
    """The FLOP/s that so many GPUs reach."""
    from harness.training.peaks import peak_of

    return peak_of(gpu) * count * mfu


def _with_cost(
    fit: Fit, asked: dict[str, float], bands: dict[str, Band], speed: float | None
) -> dict[str, Band]:
    """The answer with the hours of its training, where FLOP/s are given."""
    if speed is None:
        return bands
    if "training" in bands:
        flops = bands["training"]
        return bands | {"hours": _hours(flops, speed)}
    whole = fit.provenance.flops_per_nd * asked.get("n", math.nan) * asked.get("d", 1.0)
    value = np.asarray(asked.get("c", whole))
    return bands | {"hours": _hours((value, value, value), speed)}


def _hours(flops: Iterable[FloatArray], speed: float) -> Band:
    from analysis.uncertainty.predictions import Band

    return Band(*(value / speed / 3600 for value in flops))


def _need(fit: Fit, given: set[str]) -> None:
    """Raises `AnalysisError` that names the options which a prediction still needs."""
    columns = analysis.get_law(fit.law).columns
    missing = [
        f"--{name} …" if name in ("n", "d", "x") else f"--column {name}=…"
        for name in columns
        if name not in given
    ]
    if missing:
        whole = (
            ", or --compute C for the best model" if set(columns) == {"n", "d"} else ""
        )
        raise AnalysisError(f"{fit.law} predicts from {' '.join(missing)}{whole}")


def _extrapolations(
    fit: Fit, asked: dict[str, float], bands: dict[str, Band]
) -> list[str]:
    """A note for each scale asked for, and the compute, outside the fitted rows."""
    ranges = fit.provenance.scale_range
    scales = {k: v for k, v in asked.items() if k != "loss"}
    if "n" in bands:
        scales |= {k: float(bands[k].value) for k in ("n", "d")}
    if {"n", "d"} <= set(scales) and "c" not in scales:
        scales["c"] = fit.provenance.flops_per_nd * scales["n"] * scales["d"]
    notes = []
    for name, value in scales.items():
        low, high = ranges.get(name, (value, value))
        times = max(value / high, low / value)
        if times > 1.001:
            side = "above" if value > high else "below"
            notes.append(
                f"{name} = {value:.4g} is {times:.3g} times {side} the fitted rows "
                f"({low:.3g} to {high:.3g})"
            )
    beyond = fit.provenance.beyond
    if notes and beyond and scales.get("c", 0.0) > beyond["most"]:
        known = math.isfinite(beyond["slope"])
        notes.append(
            f"the interval of the loss holds what the law missed in "
            f"{beyond['cutoffs']:.0f} roll-outs over such distances"
            if known
            else "too few budgets to measure how wrong the law is beyond them: the "
            "interval holds the noise of the runs alone"
        )
    return notes


def _amounts(name: str, texts: list[str]) -> list[float]:
    """The positive numbers of an option, which may be given often and hold lists."""
    parts = [part for text in texts for part in text.split(",") if part.strip()]
    return [_positive(name, part) for part in parts]


def _optional(name: str, text: str | None) -> float | None:
    return None if text is None else _positive(name, text)


def _positive(name: str, text: str) -> float:
    number = _number(name, text)
    if not 0 < number < math.inf:
        raise AnalysisError(f"--{name} {text} must be a positive number")
    return number


def _number(name: str, text: str) -> float:
    try:
        return amount(text)
    except ValueError:
        raise AnalysisError(f"--{name} {text!r} is not a number") from None


def _print_bands(bands: dict[str, Band], fit: Fit) -> None:
    best = "n" in bands
    for key, band in bands.items():
        value, low, high = _known(band).values()
        known = low is not None
        interval = f"[{low:.5g}, {high:.5g}]" if known else "no bootstrap in the fit"
        name = _name(key, fit, best)
        typer.echo(f"{name:30} {value:.5g}   {interval}")


def _name(key: str, fit: Fit, best: bool) -> str:
    """What a value is called, with its unit; a star marks the best model's."""
    if key == "loss":
        column = fit.provenance.columns.get("loss", "loss")
        return "loss (nats)" if column in LOSSES_IN_NATS else f"loss (as {column})"
    symbol = SYMBOLS.get(key, "") if best else ""
    return f"{symbol} ({NAMES[key]})" if symbol else NAMES[key]


def _known(band: Band) -> dict[str, float | None]:
    """A band as JSON values; what is not known is null."""
    return {
        k: float(v) if math.isfinite(v) else None for k, v in band._asdict().items()
    }
