"""Short names and numbers for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.plan import PlannedRun
from harness.spec import RunSpec


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


def run_line(planned: PlannedRun, row: Mapping[str, Any]) -> str:
    """One finished run: its model, N, D, C and what came of it."""
    loss = "diverged"
    if row.get("status") == "done" and row.get("loss") is not None:
        loss = f"loss {row['loss']:.4f} ± {row.get('loss_se') or 0.0:.4f}"
    run, counts = planned.run, planned.counts
    return (
        f"{model_label(run):<30} N {si(counts.n_matmul):>6}  D {si(run.tokens):>6}"
        f"  C {counts.flops_train:.2e}  {loss}"
    )
