"""The findings of a report: what was fitted to one store, to and from `fits.json`.

Together with the runs and the question it is all that a page says: a page is written
from `fits.json`, so that it can be written again without fitting again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit, write_draws
from analysis.optimal.families import Curve, EqualCompute
from analysis.optimal.side_by_side import Exponent
from analysis.report.promises import Outcome, outcome_from
from analysis.report.stamp import stamp
from analysis.selection.extrapolation import HoldOut
from analysis.tables.files import read_runs
from analysis.tables.plain import (
    JsonObject,
    dump_json,
    number,
    read_json,
    to_json,
    write_text,
)
from analysis.uncertainty.predictions import Band

FITS = "fits.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure that a report has drawn.

    Attributes:
        figure: name of the figure, see `analysis.report.figures`.
        subject: what it is about, where a report has several of the name; else "".
    """

    figure: str
    subject: str = ""

    @property
    def name(self) -> str:
        """The name of its files, without ending."""
        return f"{self.figure}_{self.subject}" if self.subject else self.figure


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimalModels:
    """The best model at some compute budgets, by the law under the default convention.

    Attributes:
        c: budgets (FLOPs), the last one an extrapolation.
        bands: "n", "d", "d_per_n" and "loss" -> (value, low, high) at each budget.
    """

    c: tuple[float, ...]
    bands: dict[str, tuple[tuple[float, float, float], ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The fits of a store, and what they say.

    Attributes:
        fits: convention -> Chinchilla fit; empty when the rows do not allow one.
        curves: power laws of the frontier in c.
        families: curves of each family, where there are several; no law is then
            fitted to the rows of all together.
        exponents: exponents of N*, by estimator and convention.
        held_out: law -> prediction errors beyond compute cutoffs.
        warnings: one sentence each.
        optimal: the best model at some budgets; None where there is no law.
        equal_compute: each measure of the families at budgets that they share.
        promises: what came of those of the sweep.
        pictures: figures of the report, in the order of the page.
    """

    fits: dict[str, Fit] = field(default_factory=dict)
    curves: tuple[Fit, ...] = ()
    families: tuple[Curve, ...] = ()
    exponents: tuple[Exponent, ...] = ()
    held_out: dict[str, tuple[HoldOut, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    optimal: OptimalModels | None = None
    equal_compute: tuple[EqualCompute, ...] = ()
    promises: tuple[Outcome, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def all_fits(self) -> tuple[Fit, ...]:
        """Every fit, the default convention first."""
        of_families = [fit for c in self.families for fit in c.fits.values()]
        return (*self.fits.values(), *self.curves, *of_families)

    def to_json(self) -> JsonObject:
        """Plain JSON values: every fit in one list, the rest says whose they are."""
        held_out = {k: [asdict(h) for h in v] for k, v in self.held_out.items()}
        plain: JsonObject = to_json(
            {
                "fits": [fit.to_json(replicas=False) for fit in self.all_fits],
                "conventions": list(self.fits),
                "curves": len(self.curves),
                "families": [_curve(curve) for curve in self.families],
                "exponents": [asdict(e) for e in self.exponents],
                "held_out": held_out,
                "warnings": self.warnings,
                "optimal": None if self.optimal is None else asdict(self.optimal),
                "equal_compute": [
                    {
                        "measure": e.measure,
                        "budgets": e.budgets,
                        "reached": {k: list(band) for k, band in e.reached.items()},
                    }
                    for e in self.equal_compute
                ],
                "promises": [asdict(p) for p in self.promises],
                "pictures": [asdict(p) for p in self.pictures],
            }
        )
        return plain

    @classmethod
    def from_json(cls, record: JsonObject) -> Findings:
        """The findings that `to_json` made plain.

        Raises:
            AnalysisError: the record holds anything else.
        """
        try:
            return _findings(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnalysisError(
                f"these are not the findings of a report: {type(error).__name__} "
                f"{error}; `harness report` writes them anew"
            ) from None


def save_findings(findings: Findings, folder: Path, runs: pd.DataFrame) -> None:
    """Write `fits.json`, stamped with its runs and the version that fitted them.

    The bootstrap draws go into a file beside it.

    Args:
        findings: what the file says.
        folder: the results folder.
        runs: all rows of its `runs.parquet`.
    """
    made_of = stamp(runs)
    write_draws(folder, findings.all_fits, made_of)
    write_text(folder / FITS, dump_json(made_of | findings.to_json()) + "\n")


def load_findings(folder: Path) -> Findings:
    """The findings in `fits.json`.

    Raises:
        AnalysisError: the file is missing or damaged.
    """
    return Findings.from_json(_read(folder))


def is_of_these_runs(folder: Path) -> bool:
    """Whether `fits.json` is of the present runs, and of this version."""
    try:
        return stamp(read_runs(folder)).items() <= _read(folder).items()
    except AnalysisError:
        return False


def _read(folder: Path) -> JsonObject:
    try:
        record = read_json(folder / FITS)
    except (OSError, ValueError) as error:
        raise AnalysisError(f"cannot read {folder / FITS}: {error}") from None
    if not isinstance(record, dict):
        raise AnalysisError(f"{folder / FITS} does not hold the findings of a report")
    return record


def _curve(curve: Curve) -> JsonObject:
    plain = {k: getattr(curve, k) for k in ("family", "axis", "measure", "x", "y")}
    return plain | {"laws": list(curve.fits), "notes": curve.notes}


def _findings(record: JsonObject) -> Findings:
    fits = map(Fit.from_json, record["fits"])
    return Findings(
        fits=dict(zip(record["conventions"], fits, strict=False)),
        curves=tuple(islice(fits, record["curves"])),
        families=tuple(_curve_from(c, fits) for c in record["families"]),
        exponents=tuple(_exponent_from(e) for e in record["exponents"]),
        held_out={
            law: tuple(_held_out_from(h) for h in errors)
            for law, errors in record["held_out"].items()
        },
        warnings=tuple(record["warnings"]),
        optimal=_optimal_from(record["optimal"]),
        equal_compute=tuple(_equal_from(e) for e in record["equal_compute"]),
        promises=tuple(outcome_from(p) for p in record["promises"]),
        pictures=tuple(Picture(**p) for p in record["pictures"]),
    )


def _curve_from(record: JsonObject, fits: Iterator[Fit]) -> Curve:
    return Curve(
        family=record["family"],
        axis=record["axis"],
        measure=record["measure"],
        x=np.array(record["x"], np.float64),
        y=np.array(record["y"], np.float64),
        fits=dict(zip(record["laws"], fits, strict=False)),
        notes=tuple(record["notes"]),
    )


def _optimal_from(record: JsonObject | None) -> OptimalModels | None:
    if record is None:
        return None
    return OptimalModels(
        c=tuple(map(number, record["c"])),
        bands={
            k: tuple((number(v), number(low), number(high)) for v, low, high in band)
            for k, band in record["bands"].items()
        },
    )


def _equal_from(record: JsonObject) -> EqualCompute:
    return EqualCompute(
        measure=record["measure"],
        budgets=tuple(map(number, record["budgets"])),
        reached={
            family: Band(*(np.array([number(x) for x in row]) for row in band))
            for family, band in record["reached"].items()
        },
    )


def _exponent_from(record: JsonObject) -> Exponent:
    low, high = map(number, record["interval"])
    return Exponent(
        approach=record["approach"],
        convention=record["convention"],
        value=number(record["value"]),
        interval=(low, high),
        note=record["note"],
    )


def _held_out_from(record: JsonObject) -> HoldOut:
    return HoldOut(
        cutoff=number(record["cutoff"]),
        rows_fitted=record["rows_fitted"],
        rows_predicted=record["rows_predicted"],
        reach=number(record["reach"]),
        rms_log_error=number(record["rms_log_error"]),
        mean_log_error=number(record["mean_log_error"]),
    )
