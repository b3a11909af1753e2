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
from harness.errors import SpecError, one_line
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
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", help="Modules that define parts of its runs."),
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

    if options_json is not None:
        options = _options_of(options_json)
    options = dataclasses.replace(options, slot=slot)
    store, plan = open_sweep(folder, sweep, experiment, modules or ())
    # A worker without the data would fail every run it claims.
    plan.without(store.finished()).check_files()
    from harness.cli import training

    training.train(store, plan, options, hosts=hosts, parent=parent)


@app.command(hidden=True)
def probe(
    experiment: str,
    index: Annotated[int, typer.Option()],
    since: Annotated[float, typer.Option()],
    options_json: Annotated[str, typer.Option("--options")],
    cores: Cores = None,
    set_: Settings = None,
) -> None:
    """Time every program of a plan that falls to this process: a JSON line each."""
    bind(cores)
    from harness.cli.experiment import load

    options = _options_of(options_json)
    plan = load(experiment, set_ or []).plan()
    plan = plan.without(json.loads(sys.stdin.read()))
    from harness.cli import training

    training.time_programs(plan, options, index=index, since=since)


def _options_of(text: str) -> WorkerOptions:
    """The options that a launcher passed as JSON. Raises `SpecError` for any others."""
    try:
        return WorkerOptions.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"--options {text!r} is not what `harness run` passes: {one_line(error)}"
        ) from None


def bind(cores: str | None) -> None:
    """Keeps this process to some CPU cores, named as 0,1; to all of them if None."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        return
    try:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    except (ValueError, OSError) as error:
        raise SpecError(f"--cores {cores} cannot be used: {error}") from None
