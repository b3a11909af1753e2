"""Training and timing in this process: what `work` and `probe` need jax for."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time

from harness.cli.stopping import STOPPER
from harness.cli.views.display import (
    label_runs,
    model_label,
    run_line,
    shared_distinction,
)
from harness.cli.views.forecasts import longest_first
from harness.data.dataset import load as load_data
from harness.errors import HarnessError, Interrupted, SpecError, one_line
from harness.specs.count import train_flops_per_step
from harness.store import Store
from harness.store.faults import WORKER_PATIENCE_S
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import Cohort, Plan, Trunk
from harness.training import device
from harness.training.program import compile_cohort
from harness.workers import hosts as several_hosts
from harness.workers.population import compatible_trunks, fastest, largest
from harness.workers.probe import probe, time_program
from harness.workers.worker import Listener, work


def train(
    store: Store,
    plan: Plan,
    options: WorkerOptions,
    *,
    hosts: str | None,
    parent: int | None,
) -> None:
    """Trains runs of the plan until none are left, and prints what happens.

    Args:
        hosts: How this process finds the others that train each run together with it.
        parent: The process whose end is this worker's end too.
    """
    _simulate(options.train)
    store.files.faults.patience_s = WORKER_PATIENCE_S
    work_here = functools.partial(several_hosts.work_on, hosts) if hosts else work
    try:
        with STOPPER.at_safe_points():
            work_here(store, plan, _listener(parent, plan), options)
    except Interrupted:
        raise Interrupted("interrupted; what was in training is checkpointed") from None


def time_programs(
    plan: Plan, options: WorkerOptions, *, index: int, since: float
) -> None:
    """Times the programs of a plan that fall to this process, and prints each.

    Args:
        index: Number of this process among the `peers` of the options.
        since: When this process was started, in seconds since the epoch.
    """
    _simulate(options.train)
    device.enable_compile_cache()
    device.describe()
    _say(ready=time.time() - since)
    cohorts = longest_first(plan)
    for number in range(index, len(cohorts), options.peers):
        try:
            timed = _timed(cohorts[number], options)
        except HarnessError:
            raise
        # A model of the user's own that raises is the user's to mend.
        except Exception as error:
            raise SpecError(one_line(error)) from error
        _say(cohort=number, **timed)


def _simulate(options: TrainOptions) -> None:
    """Makes the CPU look like the devices asked for, before jax looks for any."""
    if options.devices > 1:
        device.simulate(options.devices)


def _listener(parent: int | None, plan: Plan) -> Listener:
    labels = label_runs(plan.runs)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)

    def failed(trunk: Trunk, error: Exception) -> None:
        label = shared_distinction(labels[r.run_id] for r in trunk.runs)
        say(f"failed  trunk {trunk.trunk_id}  {label}: {one_line(error)}")

    def stopping() -> bool:
        # A launcher that is gone asks for nothing more, so its workers stop as well.
        orphaned = parent is not None and os.getppid() != parent
        return STOPPER.requested or orphaned

    return Listener(
        compiling=lambda run: say(f"compiling {model_label(run)}"),
        finished=lambda run, row: say(run_line(run, row, labels[run.run_id])),
        failed=failed,
        warning=say,
        stopping=stopping,
    )


def _timed(cohort: Cohort, options: WorkerOptions) -> dict[str, object]:
    train = options.train
    widest = largest(max(compatible_trunks(cohort), key=len), train, options.peers)
    runs = [trunk.runs[0].run for trunk in widest]
    run = runs[0]
    dataset = load_data(run.data, run.seed_data)
    if train.population is None:
        best = fastest(probe(runs, dataset, train))
    else:
        best = time_program(compile_cohort(runs, dataset, train), runs)
    # Once more: now it is in the cache, as a worker will find it.
    loaded = compile_cohort(runs[: best.population], dataset, train)
    timing = dataclasses.replace(best, seconds_load=loaded.compile_s)
    flops = train_flops_per_step(run)
    return {
        "model": model_label(run),
        "timing": dataclasses.asdict(timing),
        "tokens_per_step": run.tokens_per_step,
        "flops_per_step": flops,
        "mfu": device.mfu(
            flops / timing.seconds_per_run_step, run.precision, loaded.sharding.devices
        ),
    }


def _say(**answer: object) -> None:
    print("=" + json.dumps(answer), flush=True)
