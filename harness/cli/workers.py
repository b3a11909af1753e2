"""Commands about a results folder and those who work on it: work, status, retry,
cancel, doctor."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import Interrupted, SpecError, UnknownTagError, one_line
from harness.sweeps.options import CHECKPOINT_S, Terms, TrainOptions, WorkerOptions

if TYPE_CHECKING:
    from harness.store import Store
    from harness.store.status import SweepStatus, WorkerStatus
    from harness.sweeps.plan import Plan, Trunk
    from harness.workers.worker import Listener

WATCH_S = 2.0

Folder = Annotated[
    str, typer.Argument(metavar="DIR", help="A results folder, or s3://bucket/prefix.")
]
Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Run ids, or the first digits of them."),
]
Population = Annotated[
    str,
    typer.Option(
        help="Runs of one shape trained side by side: at most so many, or auto for "
        "what a short trial says is fastest."
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        min=1,
        help="Devices that a worker spreads each run, or population, over; on a CPU "
        "they are simulated.",
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(min=1, help="Parts of a batch that are computed one by one."),
]
Remat = Annotated[
    bool,
    typer.Option("--remat", help="Less memory: backward passes compute blocks again."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands to `app`."""
    for command in (work, status, retry, cancel, doctor):
        app.command()(command)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """How workers train: what `run` hands on to them, and `plan --probe` times."""

    population: str = "auto"
    devices: int = 1
    accumulate: int = 1
    remat: bool = False

    def __post_init__(self) -> None:
        population_width(self.population)

    def arguments(self) -> list[str]:
        """The options of a command line that say so."""
        given = dataclasses.asdict(self)
        flags = ["--remat"] if given.pop("remat") else []
        return [*flags, *(x for k, v in given.items() for x in (f"--{k}", str(v)))]

    def train_options(self) -> TrainOptions:
        """The same for the trainer; to be asked for before jax looks for devices."""
        from harness.training.device import simulate

        if self.devices > 1:
            simulate(self.devices)
        return TrainOptions(
            population=population_width(self.population),
            devices=self.devices,
            accumulate=self.accumulate,
            remat=self.remat,
        )


def work(
    folder: Folder,
    sweep: Annotated[
        str | None, typer.Option(help="Id of a sweep [default: the one run last].")
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="Its file, if that defines a family or data source."),
    ] = None,
    checkpoint: Annotated[
        float, typer.Option(help="Seconds of training between checkpoints.")
    ] = CHECKPOINT_S,
    beat: Annotated[
        float, typer.Option(help="Seconds between this worker's signs of life.")
    ] = Terms().beat_s,
    stale: Annotated[
        float,
        typer.Option(help="Seconds of silence after which others may take over."),
    ] = Terms().stale_s,
    cores: Annotated[
        str | None, typer.Option(help="CPU cores to use, such as 0,1.")
    ] = None,
    population: Population = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    remat: Remat = False,
    hosts: Annotated[
        str | None,
        typer.Option(
            help="Train each run on all devices of several hosts, where this command "
            "runs once on each: auto, or ADDRESS:PORT,INDEX,COUNT."
        ),
    ] = None,
    slot: Annotated[int, typer.Option(hidden=True)] = 0,
    peers: Annotated[int, typer.Option(hidden=True)] = 1,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Be one worker: train runs of a sweep, with as many others as there are."""
    if cores and hasattr(os, "sched_setaffinity"):
        bind(cores)
    from harness.cli.experiment import load
    from harness.store import open_store
    from harness.sweeps.plan import plan_of_record

    how = How(
        population=population, devices=devices, accumulate=accumulate, remat=remat
    )
    store = open_store(folder)
    terms = Terms(beat_s=beat, stale_s=stale)
    if experiment:
        load(experiment, [])
    record = _sweep(store, sweep)
    try:
        made = plan_of_record(record)
    except UnknownTagError as error:
        raise SpecError(
            f"this sweep uses the {error.kind} {error.name!r}, which the experiment's "
            f"file {record['name']}.py defines; give --experiment FILE"
        ) from None
    # A worker without the data would fail every run it claims.
    made.without(store.finished()).check_files()
    # Only now: starting jax takes longer than everything above.
    from harness.cli.stopping import STOPPER
    from harness.workers.worker import work

    options = WorkerOptions(
        terms=terms,
        checkpoint_s=checkpoint,
        train=how.train_options(),
        peers=peers,
        slot=slot,
    )
    if hosts:
        from harness.workers.hosts import work_on

        work = functools.partial(work_on, hosts)
    try:
        with STOPPER.at_safe_points():
            work(store, made, _listener(parent, made), options)
    except Interrupted:
        raise Interrupted("interrupted; what was in training is checkpointed") from None


def status(
    folder: Folder,
    as_json: Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds.")
    ] = False,
) -> None:
    """Show how far a sweep is: runs by state, workers, failures, the time left."""
    from harness.store import open_store
    from harness.store.status import sweep_status

    store = open_store(folder)
    if watch:
        _watch(store)
        return
    found = sweep_status(store)
    typer.echo(json.dumps(_as_json(found), indent=1) if as_json else _text(found))


def retry(folder: Folder, runs: Runs = None) -> None:
    """Try failed and cancelled runs again: all of them, or those named."""
    from harness.store import failures as attempts
    from harness.store import open_store

    store = open_store(folder)
    chosen = _choose(store, runs, "failed", "waiting", "cancelled")
    for trunk_id in sorted({point["trunk_id"] for point in chosen.values()}):
        attempts.request_retry(store, trunk_id)
    for run_id in chosen:
        attempts.withdraw_cancel(store, run_id)
    typer.echo(f"{len(chosen)} runs will be tried again; `harness run` trains them")


def cancel(folder: Folder, runs: Runs = None) -> None:
    """Train no more of the runs that are not finished: of all, or of those named."""
    from harness.store import failures as attempts
    from harness.store import open_store

    store = open_store(folder)
    chosen = _choose(store, runs, "pending", "running", "stalled", "waiting", "failed")
    for run_id in chosen:
        attempts.request_cancel(store, run_id)
    typer.echo(f"{len(chosen)} runs cancelled; `harness retry` takes that back")


def doctor(
    folder: Folder,
    look_only: Annotated[
        bool, typer.Option("--look-only", help="Say what is wrong, move nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify every file; put damaged ones aside, so that their runs train again."""
    from harness.store.doctor import examine
    from harness.store.read import Store, files_at

    store = Store(files_at(folder))
    found = examine(store, mend=not look_only)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        for ailment in found.ailments:
            typer.echo(f"{ailment.file}: {ailment.wrong}; {ailment.done}")
        typer.echo(found.summary)
    if found.ailments:
        raise typer.Exit(1)


def population_width(text: str) -> int | None:
    """The number, None for "auto"."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--population is {text!r}; give auto or a number from 1 up")
    return int(text)


def bind(cores: str) -> None:
    """Keeps this process to some CPU cores, named as 0,1."""
    try:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    except (ValueError, OSError) as error:
        raise SpecError(f"--cores {cores} cannot be used: {error}") from None


def _sweep(store: Store, sweep_id: str | None) -> dict[str, Any]:
    from harness.store.read import ID

    if sweep_id is not None:
        if not ID.fullmatch(sweep_id):
            raise SpecError(f"--sweep {sweep_id!r} is not a sweep id")
        return store.sweep(sweep_id)
    sweeps = store.sweeps()
    if not sweeps:
        raise SpecError(f"{store.uri} has no sweep yet; `harness run` writes one")
    return sweeps[-1]


def _listener(parent: int | None, made: Plan) -> Listener:
    from harness.cli.labels import (
        SHOWN_ANYWAY,
        distinctions,
        model_label,
        run_line,
        shared_distinction,
    )
    from harness.cli.stopping import STOPPER
    from harness.workers.worker import Listener

    labels = distinctions({r.run_id: r.coords for r in made.runs}, SHOWN_ANYWAY)

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


def _choose(store: Store, runs: list[str] | None, *states: str) -> dict[str, Any]:
    """Points of the sweep run last in one of these states, by id; all, or as named."""
    from harness.store.status import sweep_status

    found = sweep_status(store).runs
    points = {point["run_id"]: point for point in store.sweeps()[-1]["points"]}
    fitting = {run_id for run_id, state in found.items() if state in states}
    if runs:
        for start in runs:
            if not start or not any(run_id.startswith(start) for run_id in fitting):
                raise SpecError(f"no run {start!r} is {', '.join(states)}")
        fitting = {i for i in fitting if i.startswith(tuple(runs))}
    return {run_id: points[run_id] for run_id in sorted(fitting)}


def _watch(store: Store) -> None:
    from rich.live import Live
    from rich.text import Text

    from harness.cli.stopping import STOPPER
    from harness.store.status import sweep_status

    with Live(Text("looking …"), auto_refresh=False) as live, STOPPER.at_safe_points():
        while not STOPPER.requested:
            found = sweep_status(store)
            live.update(Text(_text(found)), refresh=True)
            if not any(map(found.counts.get, ("running", "pending", "waiting"))):
                return
            time.sleep(WATCH_S)
    raise Interrupted


def _as_json(found: SweepStatus) -> dict[str, Any]:
    return {
        "name": found.name,
        "total": len(found.runs),
        **found.counts,
        "elsewhere": found.elsewhere,
        "tokens_per_second": found.tokens_per_second,
        "flops_per_second": found.flops_per_second,
        "flops_left": found.flops_left,
        "seconds_left": found.seconds_left,
        "workers": [dataclasses.asdict(holder) for holder in found.holders],
        "failures": [dict(failure.record) for failure in found.failures],
        "runs": dict(found.runs),
    }


def _text(found: SweepStatus) -> str:
    from harness.cli.labels import (
        distinctions,
        duration,
        shared_distinction,
        si,
    )

    labels = distinctions(found.coords)
    counts = found.counts
    shown = [f"{n} {s}" for s, n in counts.items() if n or s in ("done", "pending")]
    lines = [f"{found.name}: {len(found.runs)} runs: {', '.join(shown)}"]
    if found.elsewhere:
        lines.append(f"{found.elsewhere} more finished runs are of other sweeps")
    if found.seconds_left is not None:
        lines.append(
            f"{si(found.tokens_per_second)} tokens/s, {si(found.flops_per_second)} "
            f"FLOP/s; about {duration(found.seconds_left)} left at this speed"
        )
    elif found.flops_left:
        at_it = any(holder.alive for holder in found.holders)
        doing = "workers are starting" if at_it else "no worker is at it"
        lines.append(f"{found.flops_left:.3g} FLOPs to do; {doing}")
    by_worker: defaultdict[str, list[WorkerStatus]] = defaultdict(list)
    for holder in found.holders:
        by_worker[holder.worker].append(holder)
    lines += [_worker_line(group, labels) for group in by_worker.values()]
    for failure in found.failures:
        runs = [i for i, trunk in found.trunks.items() if trunk == failure.trunk_id]
        label = shared_distinction(labels[i] for i in runs)
        head = f"trunk {failure.trunk_id} {failure.kind} {failure.time}  {label}"
        lines.append(head.rstrip())
        lines.append(f"  {failure.error}")
        trace = failure.record.get("traceback")
        lines += [f"  | {line}" for line in str(trace or "").rstrip().splitlines()]
    return "\n".join(lines)


def _worker_line(holders: list[WorkerStatus], labels: Mapping[str, str]) -> str:
    """A worker and what it trains: one run, or a population of them."""
    from harness.cli.labels import shared_distinction

    one = next((h for h in holders if h.step), holders[0])
    count = f"{len(holders)} runs side by side" if len(holders) > 1 else ""
    ids = [h.run_id for h in holders if h.run_id in labels]
    what = "  ".join(
        part
        for part in (
            count or f"run {one.run_id or '-'}",
            shared_distinction(labels[run_id] for run_id in ids if run_id),
            f"step {one.step:,} of {one.steps:,}"
            if one.step and one.steps
            else "starting",
            f"loss {one.loss:.4f}" if one.loss is not None and not count else "",
            f"last heard of {min(h.silent_s for h in holders):.0f} s ago",
            "" if any(h.alive for h in holders) else "SILENT, will be taken over",
        )
        if part
    )
    return f"worker {one.host} {one.pid}  {what}"
