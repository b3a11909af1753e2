"""The display of runs: short names and numbers, and the progress of a sweep."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.views.terminal import safe
from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.specs.run import RunSpec
from harness.store import Store, failures
from harness.store.status import WorkerStatus, holders
from harness.sweeps.plan import Plan, PlannedRun
from harness.sweeps.sweep import Scalar

WINDOW_S = 60.0
"""Seconds over which the speed is measured."""


class Display:
    """The progress of a sweep on a terminal, renewed whenever its store is read."""

    def __init__(self, console: Console, store: Store, plan: Plan) -> None:
        self.console, self.store = console, store
        self.runs = {run.run_id: run for run in plan.runs}
        self.labels = label_runs(plan.runs)
        self.finished = store.finished() & self.runs.keys()
        self.marginal_flops: dict[str, int] = {}
        for cohort in plan.without(self.finished).cohorts:
            for trunk in cohort.trunks:
                self.marginal_flops |= trunk.marginal_flops()
        self.flops_total = max(1, sum(self.marginal_flops.values()))
        self.holders: list[WorkerStatus] = []
        self.started = time.monotonic()
        self.spent: deque[tuple[float, float]] = deque([(self.started, 0.0)])
        self._failures = {f.name for f in self._all_failures()}
        self._live: Live | None = None
        self.print(f"{len(self.runs)} runs, {len(self.finished)} finished before")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Shows the display while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console) as self._live:
            yield
        self._live = None

    def update(self) -> None:
        """Looks at the store; prints runs that are new in it, and failures."""
        for run_id in sorted(self.store.finished() - self.finished):
            if run_id in self.runs:
                self._print_finished(run_id)
        for failure in self._all_failures():
            if failure.name not in self._failures:
                self._failures.add(failure.name)
                self.print(f"failed ({failure.kind}) {self._which(failure)}")
        self.holders = holders(self.store) if self._live else []
        self._measure()

    def print(self, line: str) -> None:
        """Prints one permanent line; what of it is foreign cannot steer a terminal."""
        line = safe(line)
        if self._live:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def render(self) -> RenderableType:
        """The live part: a bar over FLOPs, and what each worker is doing."""
        spent = self.spent[-1][1]
        seconds = self._seconds_left()
        row = Table.grid(padding=(0, 2))
        row.add_row(
            Text(f"{len(self.finished)}/{len(self.runs)} runs"),
            ProgressBar(total=self.flops_total, completed=spent, width=36),
            Text(f"{100 * spent / self.flops_total:.0f} % of FLOPs"),
            Text(
                f"left {duration(seconds) if seconds is not None else 'not known yet'}"
            ),
            Text(f"so far {duration(time.monotonic() - self.started)}"),
        )
        return Group(row, *(Text(safe(self._doing(h))) for h in self.holders))

    def _print_finished(self, run_id: str) -> None:
        self.finished.add(run_id)
        try:
            row = self.store.record(run_id)["row"]
        except (StoreError, KeyError) as error:
            self.print(f"warning: {error}")
            return
        count = f"{len(self.finished):>4}/{len(self.runs)}"
        self.print(f"{count}  {run_line(self.runs[run_id], row, self.labels[run_id])}")

    def _which(self, failure: failures.Failure) -> str:
        """The runs of a failed attempt, by what sets them apart, and its error."""
        failed = [r for r in self.runs.values() if r.trunk_id == failure.trunk_id]
        if not failed:
            return failure.error
        label = shared_distinction(self.labels[r.run_id] for r in failed)
        name = f"{model_label(failed[0].run)}  {label}".strip()
        return f"{name}: {failure.error}"

    def _all_failures(self) -> list[failures.Failure]:
        by_trunk = failures.failures(self.store)
        return [failure for group in by_trunk.values() for failure in group]

    def _measure(self) -> None:
        """Notes the FLOPs spent so far, by finished runs and by those under way."""
        done = sum(self.marginal_flops.get(run_id, 0) for run_id in self.finished)
        begun = sum(
            self.marginal_flops.get(h.run_id or "", 0) * min(1.0, h.step / h.steps)
            for h in self.holders
            if h.step and h.steps and h.run_id not in self.finished
        )
        clock = time.monotonic()
        self.spent.append((clock, done + begun))
        while len(self.spent) > 2 and self.spent[1][0] < clock - WINDOW_S:
            self.spent.popleft()

    def _seconds_left(self) -> float | None:
        """The seconds to go at the speed of the last minute."""
        (since, before), (clock, spent) = self.spent[0], self.spent[-1]
        if spent <= before:
            return None
        return (clock - since) * (self.flops_total - spent) / (spent - before)

    def _doing(self, holder: WorkerStatus) -> str:
        planned = self.runs.get(holder.run_id or "")
        if planned is None or holder.step is None:
            return "starting, or compiling"
        loss = f"loss {holder.loss:.4f}  " if holder.loss is not None else ""
        label = f"{model_label(planned.run)}  {self.labels[planned.run_id]}".strip()
        return (
            f"{label}  step {holder.step:,} of {holder.steps:,}  "
            f"{loss}{si(holder.tokens_per_second or 0.0)} tokens/s"
        )


SHOWN_ANYWAY = {"model.width", "model.depth", "size", "tokens", "steps", "compute"}
"""Coordinates that the line of a finished run shows as its model, N, D or C."""


def model_label(run: RunSpec) -> str:
    """A short name such as `transformer width 64 depth 4`."""
    sizes = {name: getattr(run.model, name, None) for name in ("width", "depth")}
    shown = " ".join(f"{k} {v}" for k, v in sizes.items() if v is not None)
    return f"{run.model.family} {shown}".strip()


def duration(seconds: float) -> str:
    """The time as `42 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def si(value: float) -> str:
    """The value in three digits, with its unit: 1.23M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def distinctions(
    points: Mapping[str, Mapping[str, Scalar]], besides: Collection[str] = ()
) -> dict[str, str]:
    """The coordinates that tell a run from the others, by id: `lr 0.01  seed 1`.

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


def label_runs(runs: Iterable[PlannedRun]) -> dict[str, str]:
    """The coordinates that tell runs apart beside model, N, D and C, by id."""
    return distinctions({run.run_id: run.coords for run in runs}, SHOWN_ANYWAY)


def shared_distinction(labels: Iterable[str]) -> str:
    """The words that the labels of a trunk's runs share: all but their length."""
    groups = [label.split("  ") for label in labels]
    first = groups[0] if groups else []
    return "  ".join(word for word in first if all(word in g for g in groups))


def _short(value: Scalar) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def run_line(planned: PlannedRun, row: JsonObject, distinction: str = "") -> str:
    """The line of a finished run: model, N, D, C, its loss, what sets it apart."""
    loss = "diverged"
    if row.get("status") == "done" and row.get("loss") is not None:
        loss = f"loss {row['loss']:.4f} ± {row.get('loss_se') or 0.0:.4f}"
    run, counts = planned.run, planned.counts
    return (
        f"{model_label(run):<30} N {si(counts.n_matmul):>6}  D {si(run.tokens):>6}"
        f"  C {counts.flops_train:.2e}  {loss}  {distinction}"
    ).rstrip()
