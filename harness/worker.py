"""The worker loop: take unfinished runs of a plan, train them, publish each.

One worker process holds a store at a time. A run is the unit of resuming: what has a
record is never trained again, what has none starts over.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from harness import data, device
from harness.errors import HarnessError
from harness.plan import Plan, PlannedRun, Trunk
from harness.spec import RunSpec, Text
from harness.store import Store, add_failure, add_run, refresh_runs, sole_worker
from harness.train import Program, Progress, Result, compile_cohort, train_trunk

LOG_2 = math.log(2)
REFRESH_S = 60.0
"""Least seconds between two rebuilds of the runs table while training."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """What the caller wants to hear about."""

    progress: Callable[[Progress], None] = lambda _: None
    compiling: Callable[[RunSpec], None] = lambda _: None
    finished: Callable[[Result], None] = lambda _: None
    failed: Callable[[PlannedRun, Exception], None] = lambda _run, _error: None


def work(store: Store, plan: Plan, listener: Listener) -> int:
    """Trains every unfinished run of `plan`; returns how many runs failed.

    Raises `StoreError` if another process is at work in the store. When
    interrupted, the store lacks the runs not yet finished, and nothing else.
    """
    failed, refreshed = 0, time.monotonic()
    with sole_worker(store):
        device.enable_compile_cache()
        try:
            for cohort in plan.without(store.finished()).cohorts:
                failed += _train_cohort(store, cohort.trunks, listener)
                # The view is rebuilt whole: not so often that it costs anything.
                if time.monotonic() > refreshed + REFRESH_S:
                    refresh_runs(store)
                    refreshed = time.monotonic()
        finally:
            refresh_runs(store)
    return failed


def _train_cohort(store: Store, trunks: tuple[Trunk, ...], listener: Listener) -> int:
    failed = 0
    program: Program | None = None
    for trunk in trunks:
        run = trunk.runs[0].run
        left = {planned.run_id: planned for planned in trunk.runs}
        try:
            if program is None:
                listener.compiling(run)
            program = _program_for(run, program)
            for result in train_trunk(trunk, program, listener.progress):
                attempts = 1 + store.failed_attempts(result.planned.run_id)
                add_run(store, run_record(result, attempts), metric_rows(result))
                del left[result.planned.run_id]
                listener.finished(result)
        # What the user can mend, or a store that cannot be written, would fail every
        # run alike.
        except (HarnessError, BrokenPipeError):
            raise
        # Another error of one trunk must not take the sweep with it: it becomes a row.
        except Exception as error:
            for planned in left.values():
                add_failure(store, planned.run_id, error)
                listener.failed(planned, error)
            failed += len(left)
    return failed


def _program_for(run: RunSpec, program: Program | None) -> Program:
    """The cohort's program, with the data of `run` (subsets and seeds may differ)."""
    dataset = _dataset(run.data, run.seed_data)
    if program is None:
        return compile_cohort(run, dataset)
    if program.dataset is dataset:
        return dataclasses.replace(program, compile_s=0.0)
    return program.with_data(dataset, run)


@functools.lru_cache(maxsize=4)
def _dataset(spec: Any, seed_data: int) -> data.Dataset:
    return data.load(spec, seed_data)


def metric_rows(result: Result) -> list[dict[str, Any]]:
    """Long rows: held-out loss and its standard error, and the mean training loss since
    the evaluation before."""
    planned, history = result.planned, result.history
    run = planned.run
    flops_per_step = planned.counts.flops_train / run.steps
    rows: list[dict[str, Any]] = []
    before = 0
    for evaluation in history.evaluations:
        step = evaluation.step
        shared = {
            "run_id": planned.run_id,
            "step": step,
            "tokens": step * run.tokens_per_step,
            "flops": step * flops_per_step,
            "wall_s": evaluation.seconds,
            "annealed": step == run.steps and result.annealed,
        }
        mean = float(np.mean(history.losses[before:step]))
        for split, metric, value in (
            ("train", "loss", mean),
            ("eval", "loss", evaluation.loss),
            ("eval", "loss_se", evaluation.loss_se),
        ):
            rows.append({**shared, "split": split, "metric": metric, "value": value})
        before = step
    return rows


def run_record(result: Result, attempts: int) -> dict[str, Any]:
    """The whole record of a run: its spec, and its row of the runs table."""
    return {
        "run_id": result.planned.run_id,
        "status": result.status,
        "spec": result.planned.run.to_dict(),
        "row": _row(result) | {"attempts": attempts},
    }


def _row(result: Result) -> dict[str, Any]:
    planned, history = result.planned, result.history
    run, done = planned.run, result.status == "done"
    final = history.evaluations[-1] if done else None
    speed = len(history.losses) * run.tokens_per_step / history.seconds
    flops_per_token = planned.counts.flops_train / run.tokens
    row = {
        **run.flat(),
        **dataclasses.asdict(planned.counts),
        **device.describe(),
        **_versions(),
        "run_id": planned.run_id,
        "family": run.model.family,
        "status": result.status,
        "tokens": run.tokens,
        "loss": final.loss if final else None,
        "loss_se": final.loss_se if final else None,
        "best_loss": min((e.loss for e in history.evaluations), default=None),
        "train_loss": float(np.mean(history.losses[-32:])) if done else None,
        "bits_per_byte": _bits_per_byte(run, final.loss) if final else None,
        "unique_tokens": min(run.data.unique, run.tokens),
        "epochs": run.tokens / run.data.unique,
        "annealed": result.annealed,
        "diverged_step": history.diverged_step,
        "population": 1,
        "seconds_compile": result.compile_s,
        "seconds_train": history.seconds,
        "tokens_per_second": speed,
        "mfu": device.mfu(speed * flops_per_token, run.precision),
        "peak_memory": device.peak_memory(),
    }
    return {k: None if _not_finite(v) else v for k, v in row.items()}


def _bits_per_byte(run: RunSpec, loss: float) -> float | None:
    """Only where a token is a byte: elsewhere the tokens' length in bytes is needed."""
    bytes_ = isinstance(run.data, Text) and run.data.vocab == 256
    return loss / LOG_2 if bytes_ else None


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@functools.cache
def _versions() -> dict[str, str | None]:
    packages = {"harness": "scaling-harness", "jax": "jax", "flax": "flax"}
    packages |= {"optax": "optax", "numpy": "numpy"}
    found = {f"version.{k}": importlib.metadata.version(v) for k, v in packages.items()}
    return {**found, "git_commit": _git_commit()}


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
