"""MLflow: a run for each run, tagged with its id, in an experiment of the sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from harness.trackers.base import Row

T = TypeVar("T")

TAG = "harness.run_id"
LONGEST = 500
"""Characters of a parameter."""
BATCH, PARAMETERS = 1000, 100
"""Most metrics, and most parameters, that a request may hold."""


class MLflow:
    """Runs of a tracking server or database.

    A metric that comes twice has the same key, step, time and value, and is kept once.
    """

    starts_over = False

    def __init__(self, target: str, sweep: str) -> None:
        self._client = MlflowClient(target or None)
        experiment = self._client.get_experiment_by_name(sweep)
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(sweep)
        )
        self._runs: dict[str, str] = {}

    def begin(self, run_id: str, name: str, facts: Mapping[str, object]) -> None:
        """The run that has the id as its tag, made if there is none."""
        found = self._client.search_runs(
            [self._experiment], f"tags.`{TAG}` = '{run_id}'"
        )
        if found:
            self._runs[run_id] = found[0].info.run_id
            return
        made = self._client.create_run(
            self._experiment, tags={TAG: run_id}, run_name=name
        )
        self._runs[run_id] = made.info.run_id
        params = [Param(k, str(v)[:LONGEST]) for k, v in facts.items() if v is not None]
        for some in _batches(params, PARAMETERS):
            self._client.log_batch(made.info.run_id, params=some)

    def add(self, run_id: str, rows: Sequence[Row]) -> None:
        """The metrics of the rows."""
        metrics = [
            Metric(tag, value, round(1000 * row.seconds), row.step)
            for row in rows
            for tag, value in row.values.items()
        ]
        for some in _batches(metrics, BATCH):
            self._client.log_batch(self._runs[run_id], metrics=some)

    def end(self, run_id: str, summary: Mapping[str, object]) -> None:
        """The final numbers, and the end of the run."""
        numbers = [
            Metric(f"final/{name}", float(value), 0, 0)
            for name, value in summary.items()
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        self._client.log_batch(self._runs[run_id], metrics=numbers)
        done = summary.get("status") == "done"
        status = "FINISHED" if done else "FAILED"
        self._client.set_terminated(self._runs.pop(run_id), status)

    def close(self) -> None:
        """Nothing is open."""


def _batches(items: Sequence[T], size: int) -> list[list[T]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
