"""What a sweep will take, from short timings in processes placed as workers are."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.workers import Accumulate, Devices, How, Population, Remat, bind
from harness.errors import HarnessError, SpecError, one_line
from harness.sweeps.options import TrainOptions

if TYPE_CHECKING:
    from harness.cli.experiment import Experiment
    from harness.engines.local import Slot
    from harness.sweeps.plan import Cohort, Plan


COMMAND_S = 1.7
"""Seconds before a sweep's workers start and after their last run, as far as no probe
sees them: the launcher's imports, the last tables, processes that end. Measured on two
cores of an AMD EPYC."""


def register(app: typer.Typer) -> None:
    """Adds this module's command to `app`."""
    app.command(hidden=True)(probe)


def forecast(
    made: Plan,
    done: set[str],
    found: Experiment,
    set_: Sequence[str],
    workers: int | None,
    how: How,
) -> dict[str, Any]:
    """Times every program of the plan; seconds, memory and speed, ready for JSON.

    As many processes as there will be workers time the programs, each in the place of a
    worker and as it would train, since workers slow each other down.
    """
    from harness.engines.local import slots
    from harness.workers.forecast import Timing, makespan, seconds_of

    cohorts = _longest_first(made.without(done))
    if not cohorts:
        return {"workers": 0, "programs": [], "seconds_start": 0.0, "seconds": 0.0}
    trunks = sum(len(c.trunks) for c in cohorts)
    places = slots(workers, trunks, how.devices)
    began = [_start(found, set_, places, part, how) for part in range(len(places))]
    for process in began:
        _send(process, sorted(done))
    told = [answer for process in began for answer in _answers(process)]
    ready = max(answer["ready"] for answer in told if "ready" in answer) + COMMAND_S
    by_index = {a["cohort"]: a for a in told if "cohort" in a}
    timings = [Timing(**by_index[k]["timing"]) for k in range(len(cohorts))]
    jobs = list(zip(cohorts, timings, strict=True))
    rows = []
    for index, (cohort, timing) in enumerate(jobs):
        seconds = seconds_of(cohort.trunks, timing)
        rows.append(
            {
                "model": by_index[index]["model"],
                "population": timing.population,
                "milliseconds_per_step": 1e3 * timing.seconds_per_run_step,
                "tokens_per_second": by_index[index]["tokens_per_step"]
                / timing.seconds_per_run_step,
                "flops_per_second": by_index[index]["flops_per_step"]
                / timing.seconds_per_run_step,
                "mfu": by_index[index]["mfu"],
                "memory": timing.memory,
                "seconds": seconds,
                "seconds_compile": timing.seconds_compile,
            }
        )
    return {
        "workers": len(places),
        "programs": rows,
        "seconds_start": ready,
        "seconds": ready + makespan(jobs, len(places)),
    }


def text(found: dict[str, Any], shown: int) -> list[str]:
    """`forecast` for a person."""
    from harness.cli.labels import duration, si

    if not found["programs"]:
        return ["all runs are finished: nothing to time"]
    form = "{:<30} {:>10} {:>9} {:>9} {:>8} {:>6} {:>7} {:>12}"
    head = ("program", "population", "ms/step", "tokens/s", "FLOP/s", "MFU", "memory")
    lines = [form.format(*head, "core time")]
    for row in found["programs"][:shown]:
        mfu = "-" if row["mfu"] is None else f"{row['mfu']:.1%}"
        lines.append(
            form.format(
                row["model"],
                row["population"],
                f"{row['milliseconds_per_step']:.3g}",
                si(row["tokens_per_second"]),
                si(row["flops_per_second"]),
                mfu,
                si(row["memory"]) + "B",
                duration(row["seconds"]),
            )
        )
    if (more := len(found["programs"]) - shown) > 0:
        lines.append(f"… and {more} more programs")
    count = found["workers"]
    lines.append(
        f"about {duration(found['seconds'])} with {count} worker"
        f"{'s' if count > 1 else ''}, as timed here and now; the report comes on top"
    )
    return lines


def probe(
    experiment: str,
    part: Annotated[int, typer.Option()],
    of: Annotated[int, typer.Option()],
    since: Annotated[float, typer.Option()],
    cores: Annotated[str | None, typer.Option()] = None,
    set_: Annotated[list[str] | None, typer.Option("--set")] = None,
    population: Population = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    remat: Remat = False,
) -> None:
    """Time every `of`-th program of a plan, from the `part`-th on: a JSON line each."""
    from harness.cli.experiment import load
    from harness.sweeps.plan import plan as make_plan

    if cores:
        bind(cores)
    how = How(
        population=population, devices=devices, accumulate=accumulate, remat=remat
    )
    found = load(experiment, set_ or [])
    made = make_plan(found.sweep.points)
    cohorts = _longest_first(made.without(json.loads(sys.stdin.read())))
    from harness.training import device

    # What a worker imports belongs to its start, not to its first program.
    importlib.import_module("harness.workers.worker")
    options = how.train_options()
    device.enable_compile_cache()
    device.describe()
    _say(ready=time.time() - since)
    for index in range(part, len(cohorts), of):
        try:
            timed = _timed(cohorts[index], options, peers=of)
        except HarnessError:
            raise
        # A model of the user's own that raises is the user's to mend.
        except Exception as error:
            raise SpecError(one_line(error)) from error
        _say(cohort=index, **timed)


def _timed(cohort: Cohort, options: TrainOptions, peers: int) -> dict[str, Any]:
    from harness.cli.labels import model_label
    from harness.data.dataset import load
    from harness.specs.count import train_flops_per_step
    from harness.training import device
    from harness.training.program import compile_cohort
    from harness.workers.population import compatible_trunks, fastest, largest
    from harness.workers.probe import probe as time_widths
    from harness.workers.probe import time_program

    widest = largest(max(compatible_trunks(cohort), key=len), options, peers)
    runs = [trunk.runs[0].run for trunk in widest]
    run = runs[0]
    dataset = load(run.data, run.seed_data)
    if options.population is None:
        best = fastest(time_widths(runs, dataset, options))
    else:
        best = time_program(compile_cohort(runs, dataset, options), runs)
    # Once more: now it is in the cache, as a worker will find it.
    loaded = compile_cohort(runs[: best.population], dataset, options)
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


def _start(
    found: Experiment,
    set_: Sequence[str],
    places: Sequence[Slot],
    part: int,
    how: How,
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "probe", str(found.path.absolute())]
    command += ["--part", str(part), "--of", str(len(places))]
    command += ["--since", str(time.time()), *how.arguments()]
    if places[part].cores and hasattr(os, "sched_setaffinity"):
        command += ["--cores", ",".join(map(str, places[part].cores))]
    for one in set_:
        command += ["--set", one]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **places[part].environment},
    )


def _send(process: subprocess.Popen[str], done: Sequence[str]) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(list(done)))
        process.stdin.close()
    # Else `communicate` would write to it.
    process.stdin = None


def _answers(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, errors = process.communicate()
    if process.returncode:
        last = (errors.strip().splitlines() or ["it was killed"])[-1]
        raise SpecError(f"a timing failed: {last.removeprefix('error: ')}")
    return [json.loads(line[1:]) for line in out.splitlines() if line.startswith("=")]


def _say(**answer: Any) -> None:
    print("=" + json.dumps(answer), flush=True)


def _longest_first(made: Plan) -> list[Cohort]:
    return sorted(made.cohorts, key=lambda cohort: -cohort.flops)
