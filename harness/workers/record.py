"""The long metric rows of a run, and the record of a finished one."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
import subprocess

from harness.data.text.spec import Text
from harness.specs.canonical import JsonObject
from harness.specs.count import count
from harness.specs.run import RunSpec
from harness.sweeps.plan import PlannedRun
from harness.training import device
from harness.training.history import LAST, History
from harness.training.loop import Result
from harness.training.metrics import whole

LOG_2 = math.log(2)


def metric_rows(
    planned: PlannedRun, history: History, *, annealed: bool, after: int = 0
) -> list[JsonObject]:
    """Long rows of the evaluations after step `after`: held-out loss, its standard
    error and further metrics, and the mean training loss since the evaluation before;
    where training examples are evaluated, their metrics.

    `annealed` says whether the run's last step ended a decay of the learning rate.
    """
    run = planned.run
    flops_per_step = planned.counts.flops_train / run.steps
    rows: list[JsonObject] = []
    before = 0
    for evaluation in history.evaluations:
        step = evaluation.step
        first, before = before, step
        if step <= after:
            continue
        shared = {
            "run_id": planned.run_id,
            "step": step,
            "tokens": step * run.tokens_per_step,
            "flops": step * flops_per_step,
            "wall_s": evaluation.seconds,
            "annealed": step == run.steps and annealed,
        }
        mean = history.mean_loss(first, step)
        for split, metric, value in (
            ("train", "loss", mean),
            ("eval", "loss", evaluation.loss),
            ("eval", "loss_se", evaluation.loss_se),
            *(("eval", name, value) for name, value in evaluation.metrics.items()),
            *(("train", name, x) for name, x in evaluation.train_metrics.items()),
        ):
            rows.append({**shared, "split": split, "metric": metric, "value": value})
    return rows


def run_record(
    result: Result, *, attempts: int, metrics: JsonObject, compile_s: float = 0.0
) -> JsonObject:
    """The whole record of a run: its spec, its row of the runs table, and checksum and
    number of its metric rows."""
    return {
        "run_id": result.planned.run_id,
        "status": result.status,
        "metrics": metrics,
        "spec": result.planned.run.to_dict(),
        "row": _row(result) | {"attempts": attempts, "seconds_compile": compile_s},
    }


def _row(result: Result) -> JsonObject:
    planned, history = result.planned, result.history
    run, done = planned.run, result.status == "done"
    final = history.evaluations[-1] if done else None
    speed = len(history.losses) * run.tokens_per_step / history.seconds
    flops_per_token = planned.counts.flops_train / run.tokens
    # A run that was stopped early has paid for its steps, not for its budget.
    steps = result.stopped_step or run.steps
    tokens = steps * run.tokens_per_step
    row = {
        **(whole(final.metrics) if final else {}),
        **(_on_training(final.train_metrics) if final else {}),
        **run.flat(),
        **dataclasses.asdict(count(dataclasses.replace(run, steps=steps))),
        **device.describe(),
        **_versions(),
        "run_id": planned.run_id,
        "family": run.model.family,
        "status": result.status,
        "tokens": tokens,
        "loss": final.loss if final else None,
        "loss_se": final.loss_se if final else None,
        "best_loss": min((e.loss for e in history.evaluations), default=None),
        "train_loss": history.mean_loss(-LAST) if done else None,
        "bits_per_byte": bits_per_byte(run, final.loss) if final else None,
        "unique_tokens": min(run.data.unique, tokens),
        "epochs": tokens / run.data.unique,
        "annealed": result.annealed,
        "stopped_step": result.stopped_step,
        "diverged_step": result.diverged_step,
        "population": result.population,
        "devices": result.devices,
        "seconds_train": history.seconds,
        "tokens_per_second": speed,
        "mfu": device.mfu(speed * flops_per_token, run.precision, result.devices),
        "peak_memory": device.peak_memory(),
    }
    return {k: None if _not_finite(v) else v for k, v in row.items()}


def _on_training(metrics: dict[str, float]) -> dict[str, float]:
    return {f"train_{name}": value for name, value in whole(metrics).items()}


def bits_per_byte(run: RunSpec, loss: float) -> float | None:
    """The loss per byte, where the mean length of the tokens in bytes is known."""
    if not isinstance(run.data, Text):
        return None
    length = run.data.bytes_per_token or (1.0 if run.data.vocab == 256 else None)
    return loss / LOG_2 / length if length else None


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@functools.cache
def _versions() -> dict[str, str | None]:
    packages = {"harness": "scaling-harness", "jax": "jax", "flax": "flax"}
    packages |= {"optax": "optax", "numpy": "numpy"}
    versions = {
        f"version.{k}": importlib.metadata.version(v) for k, v in packages.items()
    }
    return {**versions, "git_commit": _git_commit()}


def _git_commit() -> str | None:
    """The commit of the working folder, "+" appended if tracked files differ."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
