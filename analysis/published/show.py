"""Runs a reproduction and shows expected beside obtained numbers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.plots.save import save_figure
from analysis.published.base import Check, MissingDataError, Outcome, Reproduction
from analysis.tables.plain import JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """The outcome of one reproduction, or the reason why it was not run.

    Attributes:
        reproduction: the one attempted.
        outcome: its checks; None when its data are not here.
        skipped: why it was not run; "" when it was.
        seconds: wall time.
    """

    reproduction: Reproduction
    outcome: Outcome | None
    skipped: str
    seconds: float

    @property
    def missed(self) -> bool:
        """Whether a number did not come out."""
        return self.outcome is not None and not self.outcome.passed

    def to_json(self) -> JsonObject:
        """The reproduction and its checks as plain JSON values."""
        checks = self.outcome.checks if self.outcome else ()
        return {
            "name": self.reproduction.name,
            "paper": self.reproduction.paper,
            "skipped": self.skipped,
            "passed": None if self.outcome is None else self.outcome.passed,
            "seconds": round(self.seconds, 3),
            "checks": [asdict(c) | {"passed": c.passed} for c in checks],
            "notes": list(self.outcome.notes) if self.outcome else [],
        }

    def __str__(self) -> str:
        this = self.reproduction
        lines = [f"{this.name}: {this.paper}", f"  {this.recipe}"]
        if self.outcome is None:
            return "\n".join([*lines, f"  skipped: {self.skipped}"])
        lines += [_line(c) for c in self.outcome.checks]
        lines += [f"  note: {n}" for n in self.outcome.notes]
        return "\n".join(lines)


def _line(check: Check) -> str:
    word = "ok    " if check.passed else "MISSED"
    relation = "<=" if check.kind == "at_most" else "="
    return (
        f"  {word} {check.quantity:64} expected {relation} {check.expected:<12.8g} "
        f"obtained {check.obtained:.8g}"
    )


def attempt(reproduction: Reproduction) -> Attempt:
    """Run a reproduction; data that are not here make it skipped, with the reason."""
    started = time.perf_counter()
    outcome, skipped = None, ""
    try:
        outcome = reproduction.run()
    except MissingDataError as missing:
        skipped = str(missing)
    return Attempt(
        reproduction=reproduction,
        outcome=outcome,
        skipped=skipped,
        seconds=time.perf_counter() - started,
    )


def write_figures(attempted: Attempt, folder: Path) -> list[Path]:
    """Write the figures of an attempt as PNG; returns their paths."""
    if attempted.outcome is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in attempted.outcome.figures():
        stem = f"{attempted.reproduction.name}-{name}"
        paths.append(save_figure(figure, folder, stem))
    return paths
