"""The forecast of a sweep, from short timings in processes placed as workers are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from typing import TypedDict

from harness.cli.experiment import Experiment
from harness.cli.views.display import duration, si
from harness.engines.base import Slot
from harness.errors import SpecError
from harness.specs.canonical import JsonObject
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Cohort, Plan
from harness.workers.forecast import Timing, makespan, seconds_of

COMMAND_S = 1.7
"""Seconds before a sweep's workers start and after their last run, as far as no probe
sees them: the launcher's imports, the last tables, processes that end. Measured on two
cores of an AMD EPYC."""


class ProgramForecast(TypedDict):
    """The time and memory of one compiled program; speeds are of one run."""

    model: str
    population: int
    milliseconds_per_step: float
    tokens_per_second: float
    flops_per_second: float
    mfu: float | None
    memory: int
    seconds: float
    seconds_compile: float


class Forecast(TypedDict):
    """The time that a sweep will take, ready for JSON."""

    workers: int
    programs: list[ProgramForecast]
    seconds_start: float
    seconds: float


def forecast(
    plan: Plan,
    finished: Collection[str],
    experiment: Experiment,
    settings: Sequence[str],
    slots: Sequence[Slot],
    options: WorkerOptions,
) -> Forecast:
    """The forecast from timing every program of the plan.

    As many processes as there will be workers time the programs, each in the place of a
    worker and as it would train, since workers slow each other down.
    """
    cohorts = longest_first(plan.without(finished))
    if not cohorts:
        return Forecast(workers=0, programs=[], seconds_start=0.0, seconds=0.0)
    processes = [
        _start(experiment, settings, slot, index, options)
        for index, slot in enumerate(slots)
    ]
    for process in processes:
        _send(process, sorted(finished))
    answers = [answer for process in processes for answer in _answers(process)]
    ready = max(a["ready"] for a in answers if "ready" in a) + COMMAND_S
    by_index = {a["cohort"]: a for a in answers if "cohort" in a}
    timings = [Timing(**by_index[k]["timing"]) for k in range(len(cohorts))]
    jobs = list(zip(cohorts, timings, strict=True))
    return Forecast(
        workers=len(slots),
        programs=[_row(*job, by_index[index]) for index, job in enumerate(jobs)],
        seconds_start=ready,
        seconds=ready + makespan(jobs, len(slots)),
    )


def _row(cohort: Cohort, timing: Timing, answer: JsonObject) -> ProgramForecast:
    each = timing.seconds_per_run_step
    return ProgramForecast(
        model=answer["model"],
        population=timing.population,
        milliseconds_per_step=1e3 * each,
        tokens_per_second=answer["tokens_per_step"] / each,
        flops_per_second=answer["flops_per_step"] / each,
        mfu=answer["mfu"],
        memory=timing.memory,
        seconds=seconds_of(cohort.trunks, timing),
        seconds_compile=timing.seconds_compile,
    )


def text(forecast: Forecast, shown: int) -> list[str]:
    """The lines that tell a person the forecast."""
    if not forecast["programs"]:
        return ["all runs are finished: nothing to time"]
    form = "{:<30} {:>10} {:>9} {:>9} {:>8} {:>6} {:>7} {:>12}"
    head = ("program", "population", "ms/step", "tokens/s", "FLOP/s", "MFU", "memory")
    lines = [form.format(*head, "core time")]
    for row in forecast["programs"][:shown]:
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
    if (more := len(forecast["programs"]) - shown) > 0:
        lines.append(f"… and {more} more programs")
    count = forecast["workers"]
    lines.append(
        f"about {duration(forecast['seconds'])} with {count} worker"
        f"{'s' if count > 1 else ''}, as timed here and now; the report comes on top"
    )
    return lines


def _start(
    experiment: Experiment,
    settings: Sequence[str],
    slot: Slot,
    index: int,
    options: WorkerOptions,
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "probe"]
    command += [str(experiment.path.absolute()), "--options", options.to_json()]
    command += ["--index", str(index), "--since", str(time.time())]
    if slot.cores and hasattr(os, "sched_setaffinity"):
        command += ["--cores", ",".join(map(str, slot.cores))]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **slot.environment},
    )


def _send(process: subprocess.Popen[str], finished: Sequence[str]) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(list(finished)))
        process.stdin.close()
    # Else `communicate` would write to it.
    process.stdin = None


def _answers(process: subprocess.Popen[str]) -> list[JsonObject]:
    out, errors = process.communicate()
    if process.returncode:
        last = (errors.strip().splitlines() or ["it was killed"])[-1]
        raise SpecError(f"a timing failed: {last.removeprefix('error: ')}")
    return [json.loads(line[1:]) for line in out.splitlines() if line.startswith("=")]


def longest_first(plan: Plan) -> list[Cohort]:
    """The cohorts in the order in which they are timed, the same in every process."""
    return sorted(plan.cohorts, key=lambda cohort: -cohort.flops)
