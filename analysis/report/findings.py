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
from analysis.fitting.record import Fit
from analysis.optimal.families import Curve
from analysis.optimal.side_by_side import Exponent
from analysis.plots.save import Format
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

FITS = "fits.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure that a report has drawn.

    Attributes:
        figure: name of the figure, see `analysis.report.figures`.
        subject: what it is about, where a report has several of the name; else "".
        shown: format that the page shows.
    """

    figure: str
    subject: str = ""
    shown: Format = "svg"

    @property
    def name(self) -> str:
        """The name of its files, without ending."""
        return f"{self.figure}_{self.subject}" if self.subject else self.figure


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
        pictures: figures of the report, in the order of the page.
    """

    fits: dict[str, Fit] = field(default_factory=dict)
    curves: tuple[Fit, ...] = ()
    families: tuple[Curve, ...] = ()
    exponents: tuple[Exponent, ...] = ()
    held_out: dict[str, tuple[HoldOut, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
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
                "fits": [fit.to_json() for fit in self.all_fits],
                "conventions": list(self.fits),
                "curves": len(self.curves),
                "families": [_curve(curve) for curve in self.families],
                "exponents": [asdict(e) for e in self.exponents],
                "held_out": held_out,
                "warnings": self.warnings,
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

    Args:
        findings: what the file says.
        folder: the results folder.
        runs: all rows of its `runs.parquet`.
    """
    record = stamp(runs) | findings.to_json()
    write_text(folder / FITS, dump_json(record) + "\n")


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
