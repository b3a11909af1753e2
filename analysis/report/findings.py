"""What was fitted to one store, to and from `fits.json`.

Together with the runs and the question it is all that a page says: a page is written
from `fits.json`, so that it can be written again without fitting again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from analysis.optimal.families import Curve
from analysis.optimal.side_by_side import Exponent
from analysis.selection.extrapolation import HoldOut
from analysis.tables.plain import dump_json, number, to_json, write_text

FITS = "fits.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure's files, relative to the page, and its caption."""

    shown: str
    png: str
    svg: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """The fits of a store, and what was made of them.

    Attributes:
        fits: convention -> Chinchilla fit; empty when the rows do not allow one.
        curves: power laws of the frontier in c.
        families: curves of each family, where there are several; no law is then
            fitted to the rows of all together.
        exponents: of N*, by estimator and convention.
        held_out: law -> prediction errors beyond compute cutoffs.
        warnings: one sentence each.
        pictures: of the report, in the order of the page.
    """

    fits: dict[str, Fit]
    curves: tuple[Fit, ...]
    families: tuple[Curve, ...]
    exponents: tuple[Exponent, ...]
    held_out: dict[str, tuple[HoldOut, ...]]
    warnings: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()

    @property
    def all_fits(self) -> tuple[Fit, ...]:
        """Every fit, the default convention first."""
        of_families = [fit for c in self.families for fit in c.fits.values()]
        return (*self.fits.values(), *self.curves, *of_families)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: every fit in one list, the rest tells whose they are."""
        held_out = {k: [asdict(h) for h in v] for k, v in self.held_out.items()}
        plain: dict[str, Any] = to_json(
            {
                "fits": [asdict(fit) for fit in self.all_fits],
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
    def from_json(cls, record: Mapping[str, Any]) -> Findings:
        """The inverse of `to_json`. Raises `AnalysisError` for anything else."""
        try:
            return _findings(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnalysisError(
                f"these are not the findings of a report: {type(error).__name__} "
                f"{error}; `harness report` writes them anew"
            ) from None


def save_findings(found: Findings, store: Path) -> None:
    """Write `fits.json`, stamped with its runs and the version that made it."""
    write_text(store / FITS, dump_json(_stamp(store) | found.to_json()) + "\n")


def load_findings(store: Path) -> Findings:
    """Read `fits.json`. Raises `AnalysisError` when it is missing or damaged."""
    return Findings.from_json(_read(store))


def is_of_these_runs(store: Path) -> bool:
    """Whether `fits.json` is of the present runs, and made by this version."""
    try:
        return _stamp(store).items() <= _read(store).items()
    except AnalysisError:
        return False


def digest_of_runs(store: Path) -> str:
    """SHA-256 of what `runs.parquet` says, however its file is encoded.

    Neither the order of rows or columns, nor empty columns, nor whether a number is
    stored as an integer changes it.
    """
    rows = pq.read_table(store / "runs.parquet").to_pylist()
    text = "\n".join(sorted(map(_line, rows)))
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(store: Path) -> dict[str, str]:
    return {"runs": digest_of_runs(store), "version": version("scaling-harness")}


def _line(row: Mapping[str, Any]) -> str:
    known = {k: _same(v) for k, v in row.items() if v is not None}
    return json.dumps(known, sort_keys=True)


def _same(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole else value


def _read(store: Path) -> dict[str, Any]:
    try:
        record = json.loads((store / FITS).read_text())
    except (OSError, ValueError) as error:
        raise AnalysisError(f"cannot read {store / FITS}: {error}") from None
    if not isinstance(record, dict):
        raise AnalysisError(f"{store / FITS} does not hold the findings of a report")
    return record


def _curve(curve: Curve) -> dict[str, Any]:
    plain = {k: getattr(curve, k) for k in ("family", "axis", "measure", "x", "y")}
    return plain | {"laws": list(curve.fits), "notes": curve.notes}


def _findings(record: Mapping[str, Any]) -> Findings:
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


def _curve_from(record: Mapping[str, Any], fits: Iterator[Fit]) -> Curve:
    return Curve(
        family=record["family"],
        axis=record["axis"],
        measure=record["measure"],
        x=np.array(record["x"], np.float64),
        y=np.array(record["y"], np.float64),
        fits=dict(zip(record["laws"], fits, strict=False)),
        notes=tuple(record["notes"]),
    )


def _exponent_from(record: Mapping[str, Any]) -> Exponent:
    low, high = map(number, record["interval"])
    return Exponent(
        approach=record["approach"],
        convention=record["convention"],
        value=number(record["value"]),
        interval=(low, high),
        note=record["note"],
    )


def _held_out_from(record: Mapping[str, Any]) -> HoldOut:
    return HoldOut(
        cutoff=number(record["cutoff"]),
        rows_fitted=record["rows_fitted"],
        rows_predicted=record["rows_predicted"],
        reach=number(record["reach"]),
        rms_log_error=number(record["rms_log_error"]),
        mean_log_error=number(record["mean_log_error"]),
    )
