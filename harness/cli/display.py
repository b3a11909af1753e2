"""Progress of a sweep: live on a terminal, one line per finished run elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.cli.labels import duration, model_label, si
from harness.count import train_flops_per_step
from harness.plan import Plan, PlannedRun
from harness.spec import RunSpec
from harness.train import Progress, Result


class Display:
    """Listens to a worker. On a terminal it redraws itself; elsewhere it prints."""

    def __init__(self, console: Console, todo: Plan, total: int) -> None:
        self.console = console
        self.total, self.done = total, total - len(todo.runs)
        self.flops_left, self.flops_total = todo.flops, max(1, todo.flops)
        self.started = self.seen = time.monotonic()
        self.rate = 0.0
        self.busy = 0.0
        self.speed = 0.0
        self.now = "starting"
        self.live: Live | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Shows the display while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console) as self.live:
            yield
        self.live = None

    def compiling(self, run: RunSpec) -> None:
        """A cohort is being compiled."""
        self.now = f"compiling {model_label(run)}"
        self.seen = time.monotonic()

    def progress(self, event: Progress) -> None:
        """A chunk has been trained."""
        run = event.planned.run
        flops = event.new_steps * train_flops_per_step(run)
        clock = time.monotonic()
        elapsed, self.seen = clock - self.seen, clock
        self.busy += elapsed
        self.flops_left = max(0, self.flops_left - flops)
        self.speed = event.new_steps * run.tokens_per_step / max(elapsed, 1e-9)
        self.now = (
            f"{model_label(run)}  step {event.step:,} of {run.steps:,}  "
            f"loss {event.loss:.4f}  {si(self.speed)} tokens/s"
        )

    def finished(self, result: Result) -> None:
        """A run has been published."""
        self.done += 1
        planned, run = result.planned, result.planned.run
        loss = "diverged"
        if result.status == "done":
            last = result.history.evaluations[-1]
            loss = f"loss {last.loss:.4f} ± {last.loss_se:.4f}"
        self.print(
            f"{self.done:>4}/{self.total}  {model_label(run):<30}"
            f" N {si(planned.counts.n_matmul):>6}  D {si(run.tokens):>6}"
            f"  C {planned.counts.flops_train:.2e}  {loss}"
        )

    def failed(self, planned: PlannedRun, error: Exception) -> None:
        """A run has failed."""
        self.print(f"failed  {model_label(planned.run)} {planned.run_id}: {error}")

    def print(self, line: str) -> None:
        """One permanent line."""
        if self.live:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def render(self) -> RenderableType:
        """The live part: a bar over FLOPs, and what is being trained now."""
        spent = self.flops_total - self.flops_left
        left = (
            duration(self.busy * self.flops_left / spent) if spent else "not known yet"
        )
        row = Table.grid(padding=(0, 2))
        row.add_row(
            Text(f"{self.done}/{self.total} runs"),
            ProgressBar(total=self.flops_total, completed=spent, width=36),
            Text(f"{100 * spent / self.flops_total:.0f} % of FLOPs"),
            Text(f"left {left}"),
            Text(f"so far {duration(time.monotonic() - self.started)}"),
        )
        return Group(row, Text(self.now))
