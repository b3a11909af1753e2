"""The record of a fit: constants, certificate and provenance, to and from JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import AnalysisError
from analysis.tables.plain import (
    JsonObject,
    dump_json,
    number,
    read_json,
    to_json,
    write_text,
)
from analysis.tables.table import Excluded

FLAG_MEANING = {
    "unidentifiable": "the rows cannot tell the constants apart",
    "at_bound": "a constant ended on its bound",
    "few_starts_agree": "under a fifth of the starts reached the best objective",
    "not_converged": "the solver stopped before its tolerance",
    "units": "parameters, tokens and FLOPs are not in units of one",
    "outliers": "rows stand out from the others",
    "explained": "a column that the law does not read explains the residuals",
    "lack_of_fit": "the law misses the rows by more than their noise",
    "influential": "a few rows decide on a constant",
    "no_spare_rows": "as many constants as rows: the residuals say nothing",
}
"""The flags of a fit, each with what it says to a reader."""
DRAWS = "draws.parquet"
"""The file with the bootstrap draws of a `fits.json` beside it: large, and a seed away,
so that it is not kept with results."""
MEASURES = ("share_at_best", "gradient_norm", "condition_number", "rms_residual")
"""The diagnostics that are measured, and may be infinite or NaN: null in JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnostics:
    """The certificate of an optimum.

    Attributes:
        rows: rows used.
        starts: starting points tried.
        share_at_best: share of the starts that ended at the best objective.
        gradient_norm: Euclidean norm of the objective's gradient at the optimum in
            solver coordinates, constants held by a bound left out.
        condition_number: of the Jacobian of the residuals with columns scaled to unit
            length; 1 is ideal, above 1e6 the constants are unidentifiable.
        rms_residual: root mean square residual (of ln loss when the space is "log").
        flags: keys of `FLAG_MEANING`.
        notes: one plain sentence for each thing that a reader must know.
    """

    rows: int
    starts: int
    share_at_best: float
    gradient_norm: float
    condition_number: float
    rms_residual: float
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noted(self, flag: str, sentence: str | None) -> Diagnostics:
        """The same with one more warning, if there is a sentence."""
        if sentence is None:
            return self
        return replace(self, flags=(*self.flags, flag), notes=(*self.notes, sentence))


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The choices and rows of a fit, all that is needed to repeat it.

    Attributes:
        source: where the rows came from.
        columns: role -> column or expression.
        convention: the column that counts parameters, "" when the law reads none.
        left_out: rows not used, by reason.
        space: "log" (residuals of ln loss) or "linear".
        loss: "huber", "squares" or "absolute".
        delta: Huber threshold, in units of the residual.
        starts, seed, tolerance: of the solver.
        bootstrap: kind, units, replicas, level and seed of the intervals, whether units
            or their residuals were drawn, and the share of draws cut off on either side
            (tail); empty without.
        scale_range: role -> (least, greatest) value seen by the fit.
        flops_per_nd: median of c / (n d) over the rows: the k of C = k N D.
        versions: of the libraries that did the arithmetic.
        notes: sentences on how the file was read.
        beyond: how the error grows beyond the rows (most, slope, cutoffs: see
            `uncertainty.beyond.Beyond`); empty without intervals.
        group: which rows of the source these are, e.g. "family = cnn"; "" for all.
    """

    source: str
    columns: dict[str, str]
    convention: str
    left_out: tuple[Excluded, ...]
    space: str
    loss: str
    delta: float
    starts: int
    seed: int
    tolerance: float
    scale_range: dict[str, tuple[float, float]]
    flops_per_nd: float
    versions: dict[str, str]
    bootstrap: JsonObject = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    beyond: JsonObject = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A fitted law.

    Attributes:
        law: name of the law.
        constants: name -> value, natural units.
        derived: name -> value computed from the constants, e.g. a = β/(α+β).
        intervals: name -> (low, high) for constants and derived values; empty when no
            bootstrap was asked for.
        objective: sum of the robust loss over rows at the optimum.
        diagnostics: the certificate.
        provenance: the choices and rows it rests on; "recipe" in JSON.
        residuals: one per row: ln(predicted / observed), or predicted - observed in
            linear space.
        replicas: name -> bootstrap draws of the constant; empty without bootstrap.
    """

    law: str
    constants: dict[str, float]
    derived: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    objective: float
    diagnostics: Diagnostics
    provenance: Provenance
    residuals: tuple[float, ...]
    replicas: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def to_json(self, *, replicas: bool = True) -> JsonObject:
        """A dict of plain JSON values; what is not known is null.

        Args:
            replicas: whether the bootstrap draws are in it.
        """
        plain: JsonObject = to_json(asdict(self))
        if not replicas:
            del plain["replicas"]
        return {"recipe" if k == "provenance" else k: v for k, v in plain.items()}

    @classmethod
    def from_json(cls, record: JsonObject) -> Fit:
        """The fit that `to_json` wrote down.

        Raises:
            AnalysisError: the record is of something else.
        """
        try:
            return _fit_from(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnalysisError(
                f"this is not a fit record: {type(error).__name__} {error}; "
                "write one with `harness fit … --json FILE`"
            ) from None

    def of_group(self, group: str) -> Fit:
        """The same fit, said to be of one group of its source."""
        return replace(self, provenance=replace(self.provenance, group=group))

    def save(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all.

        Raises:
            AnalysisError: the file cannot be written.
        """
        try:
            write_text(Path(path), dump_json(self.to_json()) + "\n")
        except OSError as error:
            raise AnalysisError(f"cannot write the fit {path}: {error}") from None

    @classmethod
    def load(cls, path: str | Path, group: str | None = None) -> Fit:
        """The fit that `save` wrote, or one of a file of several.

        Args:
            path: the file.
            group: part of the group's name where the fits are of several; the first
                fit when they are not.

        Raises:
            AnalysisError: the file is missing or is not a fit record, or nothing says
                which of its groups is meant.
        """
        try:
            record = read_json(Path(path))
        except (OSError, ValueError) as error:
            raise AnalysisError(
                f"cannot read the fit {path}: {error}; write one with "
                "`harness fit TABLE … --json FILE`"
            ) from None
        if isinstance(record, dict) and record.get("fits"):
            index = _chosen(Path(path), record["fits"], group)
            chosen = record["fits"][index]
            if "replicas" not in chosen:
                draws = read_draws(Path(path).parent, record)
                chosen = chosen | {"replicas": draws.get(index, {})}
            record = chosen
        if not isinstance(record, dict):
            raise AnalysisError(f"{path} holds no fit record")
        return cls.from_json(record)

    def __str__(self) -> str:
        return format_fit(self)


def save_fits(fits: Sequence[Fit], path: str | Path) -> None:
    """Write a fit as `Fit.save` does, or those of several groups into one file.

    Raises:
        AnalysisError: the file cannot be written.
    """
    if len(fits) == 1:
        fits[0].save(path)
        return
    try:
        record = {"fits": [fit.to_json() for fit in fits]}
        write_text(Path(path), dump_json(record) + "\n")
    except OSError as error:
        raise AnalysisError(f"cannot write the fits {path}: {error}") from None


def _chosen(path: Path, records: Sequence[JsonObject], group: str | None) -> int:
    """The position of the group that is meant. Raises `AnalysisError` if none is."""
    groups = [str(r.get("recipe", {}).get("group", "")) for r in records]
    if not any(groups):
        return 0
    found = [i for i, name in enumerate(groups) if group is not None and group in name]
    exact = [i for i in found if groups[i].endswith(f"= {group}")]
    for matches in (found, exact):
        if len(matches) == 1:
            return matches[0]
    raise AnalysisError(
        f"{path} holds the fits of {len(groups)} groups ({'; '.join(groups)}): name "
        "one with --group"
    )


def format_fit(fit: Fit) -> str:
    """A readable table of constants, certificate and what was left out."""
    level = fit.provenance.bootstrap.get("level")
    head = f"{level:.0%} interval" if level else "interval"
    group = f", {fit.provenance.group}" if fit.provenance.group else ""
    lines = [
        f"{fit.law}: {fit.provenance.source}{group}",
        f"  {'':14}{'value':>12}   {head}",
    ]
    for name, value in (fit.constants | fit.derived).items():
        low_high = fit.intervals.get(name)
        interval = _interval(low_high) if low_high else "not asked"
        lines.append(f"  {name:14}{value:>12.6g}   {interval}")
    d, r = fit.diagnostics, fit.provenance
    lines += [
        f"  objective {fit.objective:.8g} ({r.loss}, delta {r.delta:g}, {r.space} "
        f"space, sum over {d.rows} rows); rms residual {d.rms_residual:.3g}",
        f"  {d.share_at_best:.0%} of {d.starts} starts at the best objective; gradient"
        f" norm {d.gradient_norm:.2g}; condition number {d.condition_number:.3g}",
        "  columns: " + ", ".join(f"{k} = {v}" for k, v in r.columns.items()),
    ]
    lines += [f"  {interval_line(fit)}"] if fit.provenance.bootstrap else []
    lines += [f"  {x}" for x in r.left_out]
    lines += [f"  read: {x}" for x in r.notes]
    lines += [f"  WARNING {x}" for x in d.notes]
    return "\n".join(lines)


def _interval(low_high: tuple[float, float]) -> str:
    low, high = low_high
    known = math.isfinite(low) and math.isfinite(high)
    return f"[{low:.5g}, {high:.5g}]" if known else "not determined"


def interval_line(fit: Fit) -> str:
    """The sentence about what the intervals of a fit rest on, for one that has them."""
    record = fit.provenance.bootstrap
    drawn = "the residuals of " if record.get("drawn") == "residuals" else ""
    units = f"{record['units']} {record['kind']}s"
    return f"intervals from {record['replicas']} draws of {drawn}{units}"


def write_draws(folder: Path, fits: Sequence[Fit], stamp: Mapping[str, str]) -> None:
    """Write the bootstrap draws of the fits of a `fits.json` beside it.

    Args:
        folder: of the file.
        fits: in the order of the file.
        stamp: of the runs, as the file has it.
    """
    columns = {
        f"{index}.{name}": np.asarray(values)
        for index, fit in enumerate(fits)
        for name, values in fit.replicas.items()
    }
    longest = max((len(c) for c in columns.values()), default=0)
    arrays = {
        name: np.pad(c, (0, longest - len(c)), constant_values=np.nan)
        for name, c in columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata(dict(stamp))
    temporary = folder / f".{DRAWS}.{os.getpid()}.tmp"
    pq.write_table(table, temporary, compression="zstd")
    temporary.replace(folder / DRAWS)


def read_draws(
    folder: Path, record: JsonObject
) -> dict[int, dict[str, tuple[float, ...]]]:
    """The draws that `write_draws` wrote: number of the fit -> name -> draws.

    Empty where the file is missing or damaged, or of other runs than a `fits.json`.
    """
    try:
        table = pq.read_table(folder / DRAWS)
    except (OSError, ValueError, pa.ArrowException):
        return {}
    stamp = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    if not stamp or any(record.get(key) != value for key, value in stamp.items()):
        return {}
    draws: dict[int, dict[str, tuple[float, ...]]] = {}
    try:
        for column in table.column_names:
            index, _, name = column.partition(".")
            count = record["fits"][int(index)]["recipe"]["bootstrap"]["replicas"]
            values = table[column].to_numpy()[:count]
            draws.setdefault(int(index), {})[name] = tuple(values.tolist())
    except (KeyError, IndexError, TypeError, ValueError):
        return {}
    return draws


def _numbers(values: JsonObject) -> dict[str, float]:
    return {k: number(v) for k, v in values.items()}


def _pairs(values: JsonObject) -> dict[str, tuple[float, float]]:
    return {k: (number(v[0]), number(v[1])) for k, v in values.items()}


def _fit_from(record: JsonObject) -> Fit:
    diagnostics = dict(record["diagnostics"])
    for key in ("flags", "notes"):
        diagnostics[key] = tuple(diagnostics[key])
    for key in MEASURES:
        diagnostics[key] = number(diagnostics[key])
    provenance = dict(record["recipe"])
    provenance["notes"] = tuple(provenance.get("notes", ()))
    beyond = provenance.get("beyond") or {}
    provenance["beyond"] = {k: number(v) for k, v in beyond.items()}
    provenance["left_out"] = tuple(Excluded(**x) for x in provenance["left_out"])
    provenance["scale_range"] = _pairs(provenance["scale_range"])
    for key in ("delta", "tolerance", "flops_per_nd"):
        provenance[key] = number(provenance[key])
    return Fit(
        law=str(record["law"]),
        constants=_numbers(record["constants"]),
        derived=_numbers(record["derived"]),
        intervals=_pairs(record["intervals"]),
        objective=number(record["objective"]),
        diagnostics=Diagnostics(**diagnostics),
        provenance=Provenance(**provenance),
        residuals=tuple(number(x) for x in record["residuals"]),
        replicas={
            k: tuple(number(x) for x in v)
            for k, v in record.get("replicas", {}).items()
        },
    )
