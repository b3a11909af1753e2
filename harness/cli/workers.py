"""Commands that train or time runs: work, and probe, which `plan --probe` calls.

Their imports wait, in two steps. The libraries under numpy count their threads when
they are imported, which must be after the process is bound to its cores; and jax takes
longer to start than it takes to see that there is nothing to train.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Annotated

import typer

from harness.cli.options import (
    Cores,
    Folder,
    OptionsJson,
    Settings,
    command_group,
    with_options,
)
from harness.errors import SpecError
from harness.sweeps.options import WorkerOptions

app = command_group()


@app.command()
@with_options
def work(
    folder: Folder,
    options: WorkerOptions,
    sweep: Annotated[
        str | None, typer.Option(help="Id of a sweep [default: the one run last].")
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="Its file, if that defines parts of its own."),
    ] = None,
    cores: Cores = None,
    hosts: Annotated[
        str | None,
        typer.Option(
            help="Train each run on all devices of several hosts, where this command "
            "runs once on each: auto, or ADDRESS:PORT,INDEX,COUNT."
        ),
    ] = None,
    options_json: OptionsJson = None,
    slot: Annotated[int, typer.Option(hidden=True)] = 0,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Be one worker: train runs of a sweep, with as many others as there are."""
    bind(cores)
    from harness.cli.experiment import open_sweep

    if options_json:
        options = WorkerOptions.from_json(options_json)
    options = dataclasses.replace(options, slot=slot)
    store, plan = open_sweep(folder, sweep, experiment)
    # A worker without the data would fail every run it claims.
    plan.without(store.finished()).check_files()
    from harness.cli import training

    training.train(store, plan, options, hosts=hosts, parent=parent)


@app.command(hidden=True)
def probe(
    experiment: str,
    part: Annotated[int, typer.Option()],
    since: Annotated[float, typer.Option()],
    options_json: Annotated[str, typer.Option("--options")],
    cores: Cores = None,
    set_: Settings = None,
) -> None:
    """Time every program of a plan that falls to this process: a JSON line each."""
    bind(cores)
    from harness.cli.experiment import load

    options = WorkerOptions.from_json(options_json)
    plan = load(experiment, set_ or []).plan()
    plan = plan.without(json.loads(sys.stdin.read()))
    from harness.cli import training

    training.time_programs(plan, options, part=part, since=since)


def bind(cores: str | None) -> None:
    """Keeps this process to some CPU cores, named as 0,1; to all of them if None."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        return
    try:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    except (ValueError, OSError) as error:
        raise SpecError(f"--cores {cores} cannot be used: {error}") from None
