"""Short names and numbers for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.specs.run import RunSpec
from harness.sweeps.plan import PlannedRun
from harness.sweeps.sweep import Scalar

SHOWN_ANYWAY = {"model.width", "model.depth", "size", "tokens", "steps", "compute"}
"""Coordinates that the line of a finished run shows as its model, N, D or C."""


def model_label(run: RunSpec) -> str:
    """A short name such as `transformer width 64 depth 4`."""
    sizes = {name: getattr(run.model, name, None) for name in ("width", "depth")}
    shown = " ".join(f"{k} {v}" for k, v in sizes.items() if v is not None)
    return f"{run.model.family} {shown}".strip()


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def si(value: float) -> str:
    """Three digits and a unit: 1.23M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def distinctions(
    points: Mapping[str, Mapping[str, Scalar]], besides: Collection[str] = ()
) -> dict[str, str]:
    """What tells each run of a sweep from the others, by id: `lr 0.01  seed 1`.

    `points` are the coordinates of each run; those that all have alike are left out,
    and those named in `besides`.
    """
    values: defaultdict[str, set[Scalar | None]] = defaultdict(set)
    names = dict.fromkeys(name for coords in points.values() for name in coords)
    for coords in points.values():
        for name in names:
            values[name].add(coords.get(name))
    varying = [n for n in names if len(values[n]) > 1 and n not in besides]
    return {
        run_id: "  ".join(
            f"{name.rpartition('.')[2]} {_short(coords[name])}"
            for name in varying
            if name in coords
        )
        for run_id, coords in points.items()
    }


def shared_distinction(labels: Iterable[str]) -> str:
    """What the labels of a trunk's runs have in common: all but their length."""
    parts = [label.split("  ") for label in labels]
    first = parts[0] if parts else []
    return "  ".join(part for part in first if all(part in p for p in parts))


def _short(value: Scalar) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def run_line(planned: PlannedRun, row: Mapping[str, Any], distinction: str = "") -> str:
    """One finished run: its model, N, D, C, what came of it, what sets it apart."""
    loss = "diverged"
    if row.get("status") == "done" and row.get("loss") is not None:
        loss = f"loss {row['loss']:.4f} ± {row.get('loss_se') or 0.0:.4f}"
    run, counts = planned.run, planned.counts
    return (
        f"{model_label(run):<30} N {si(counts.n_matmul):>6}  D {si(run.tokens):>6}"
        f"  C {counts.flops_train:.2e}  {loss}  {distinction}"
    ).rstrip()
