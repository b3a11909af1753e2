"""Weights & Biases: a run for each run, under the same id."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb

from harness.trackers.base import Row


class WandB:
    """Runs of a project; the mode is that of the environment (WANDB_MODE).

    Offline, a run that was cut off is written anew; online it goes on where it was, and
    the server passes over steps that it has.
    """

    def __init__(self, target: str, sweep: str) -> None:
        self._project = target or sweep
        self._runs: dict[str, wandb.Run] = {}
        self._offline = os.environ.get("WANDB_MODE") == "offline"
        self.starts_over = self._offline

    def begin(self, run_id: str, name: str, facts: Mapping[str, object]) -> None:
        """The run of this id, with its facts as its config."""
        if self._offline:
            folder = Path(os.environ.get("WANDB_DIR", "."), "wandb")
            for before in folder.glob(f"offline-run-*-{run_id}"):
                shutil.rmtree(before)
        self._runs[run_id] = wandb.init(
            project=self._project,
            id=run_id,
            name=name,
            config=dict(facts),
            resume=None if self._offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )

    def add(self, run_id: str, rows: Sequence[Row]) -> None:
        """The rows, each at its step."""
        for row in rows:
            values = {**row.values, "tokens": row.tokens, "seconds": row.seconds}
            self._runs[run_id].log(values, step=row.step, commit=True)

    def end(self, run_id: str, summary: Mapping[str, object]) -> None:
        """The final numbers, and the end of the run."""
        run = self._runs.pop(run_id)
        run.summary.update(dict(summary))
        run.finish(exit_code=0 if summary.get("status") == "done" else 1)

    def close(self) -> None:
        """Ends what is open; it is told again the next time."""
        for run in self._runs.values():
            run.finish()
