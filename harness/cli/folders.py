"""Commands about a results folder: status, retry, cancel, doctor."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from harness.cli.options import AsJson, Folder, command_group
from harness.cli.stopping import STOPPER
from harness.cli.views.display import distinctions, duration, shared_distinction, si
from harness.cli.views.terminal import safe, safe_lines
from harness.errors import Interrupted, SpecError, StoreError
from harness.specs.canonical import JsonObject
from harness.store import Store, open_store, refresh_runs, requests, schema
from harness.store import convert as store_convert
from harness.store.doctor import examine
from harness.store.packing import pack as store_pack
from harness.store.packing import unpack as store_unpack
from harness.store.read import MARKER, files_at
from harness.store.status import SweepStatus, WorkerStatus, sweep_status
from harness.study import prepare

WATCH_S = 2.0

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Run ids, or the first digits of them."),
]

NewFolder = Annotated[
    Path, typer.Argument(metavar="NEW", help="Folder to write; it must not exist.")
]

app = command_group()


@app.command()
def status(
    folder: Folder,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds.")
    ] = False,
) -> None:
    """Show how far a sweep is: runs by state, workers, failures, the time left."""
    store = open_store(folder)
    if watch:
        _watch(store)
        return
    state = sweep_status(store)
    typer.echo(json.dumps(_as_json(state), indent=1) if as_json else describe(state))


@app.command()
def retry(folder: Folder, runs: Runs = None) -> None:
    """Try failed and cancelled runs again: all of them, or those named."""
    store = open_store(folder)
    chosen = _choose(store, runs, "failed", "waiting", "cancelled")
    for trunk_id in sorted({point["trunk_id"] for point in chosen.values()}):
        requests.request_retry(store, trunk_id)
    for run_id in chosen:
        requests.withdraw_cancel(store, run_id)
    typer.echo(f"{len(chosen)} runs will be tried again; `harness run` trains them")


@app.command()
def cancel(folder: Folder, runs: Runs = None) -> None:
    """Train no more of the runs that are not finished: of all, or of those named."""
    store = open_store(folder)
    chosen = _choose(store, runs, "pending", "running", "stalled", "waiting", "failed")
    for run_id in chosen:
        requests.request_cancel(store, run_id)
    typer.echo(f"{len(chosen)} runs cancelled; `harness retry` takes that back")


@app.command()
def doctor(
    folder: Folder,
    look_only: Annotated[
        bool, typer.Option("--look-only", help="Say what is wrong, move nothing.")
    ] = False,
    convert: Annotated[
        Path | None,
        typer.Option(
            help="Write a folder of an older format again, into this new one: same "
            "numbers, new run ids; the old one is left as it is."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every file; put damaged ones aside, so that their runs train again."""
    if convert is not None:
        _convert(folder, convert)
        return
    diagnosis = examine(Store(files_at(folder)), mend=not look_only)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(diagnosis), indent=1))
    else:
        for ailment in diagnosis.ailments:
            line = f"{ailment.file}: {ailment.wrong}; {ailment.done}"
            typer.echo(safe(line))
        typer.echo(safe(diagnosis.summary))
    if diagnosis.ailments:
        raise typer.Exit(1)


@app.command()
def pack(folder: Folder) -> None:
    """Put the small files of finished runs into few large ones, while others work."""
    store = open_store(folder)
    packed = store_pack.pack(store)
    refresh_runs(store)
    noun = "pack" if packed.packs == 1 else "packs"
    typer.echo(
        f"{packed.runs} runs packed; {len(store.finished())} finished runs, "
        f"{packed.packs} {noun} of {si(packed.bytes)}B in all"
    )
    if packed.damaged:
        raise StoreError(
            f"{packed.damaged} runs are not sound and were left as they are; "
            f"`harness doctor {folder}` says more"
        )


@app.command()
def unpack(folder: Folder, new: NewFolder) -> None:
    """Write a results folder again with a file for each run, into a new folder."""
    count = store_unpack.unpack(open_store(folder), new)
    typer.echo(f"{count} finished runs are now in {new}; what was unfinished is not")


def _convert(folder: str, new: Path) -> None:
    store = Store(files_at(folder))
    version = store.json(MARKER).get("format") if store.files.exists(MARKER) else None
    if version not in schema.OLDER_FORMATS:
        open_store(folder)
        raise StoreError(f"{folder} is of format {version} already: nothing to convert")
    count = store_convert.convert(store, new)
    typer.echo(f"{count} finished runs are now in {new}; what was unfinished is not")


def _choose(
    store: Store, runs: list[str] | None, *states: str
) -> dict[str, JsonObject]:
    """The newest sweep's points in one of these states, by id; all, or as named."""
    present = sweep_status(store).runs
    points = {point["run_id"]: point for point in store.sweeps()[-1]["points"]}
    fitting = {run_id for run_id, state in present.items() if state in states}
    if runs:
        for start in runs:
            if not start or not any(run_id.startswith(start) for run_id in fitting):
                raise SpecError(f"no run {start!r} is {', '.join(states)}")
        fitting = {i for i in fitting if i.startswith(tuple(runs))}
    return {run_id: points[run_id] for run_id in sorted(fitting)}


def _watch(store: Store) -> None:
    with Live(Text("looking …"), auto_refresh=False) as live, STOPPER.at_safe_points():
        while not STOPPER.requested:
            state = sweep_status(store)
            live.update(Text(describe(state)), refresh=True)
            if not any(map(state.counts.get, ("running", "pending", "waiting"))):
                return
            time.sleep(WATCH_S)
    raise Interrupted


def _as_json(state: SweepStatus) -> JsonObject:
    return {
        "name": state.name,
        "total": len(state.runs),
        **state.counts,
        "elsewhere": state.elsewhere,
        "older_code": state.older_code,
        "tokens_per_second": state.tokens_per_second,
        "flops_per_second": state.flops_per_second,
        "flops_left": state.flops_left,
        "seconds_left": state.seconds_left,
        "workers": [dataclasses.asdict(holder) for holder in state.holders],
        "failures": [dict(failure.record) for failure in state.failures],
        "runs": dict(state.runs),
    }


def describe(state: SweepStatus) -> str:
    """The text of `harness status`."""
    labels = distinctions(state.coords)
    counts = state.counts
    shown = [f"{n} {s}" for s, n in counts.items() if n or s in ("done", "pending")]
    lines = [f"{safe(state.name)}: {len(state.runs)} runs: {', '.join(shown)}"]
    if state.elsewhere:
        lines.append(f"{state.elsewhere} more finished runs are of other sweeps")
    if state.older_code:
        lines.append(prepare.older_code_line(state.older_code))
    if state.seconds_left is not None:
        lines.append(
            f"{si(state.tokens_per_second)} tokens/s, {si(state.flops_per_second)} "
            f"FLOP/s; about {duration(state.seconds_left)} left at this speed"
        )
    elif state.flops_left:
        at_it = any(holder.alive for holder in state.holders)
        doing = "workers are starting" if at_it else "no worker is at it"
        lines.append(f"{state.flops_left:.3g} FLOPs to do; {doing}")
    by_worker: defaultdict[str, list[WorkerStatus]] = defaultdict(list)
    for holder in state.holders:
        by_worker[holder.worker].append(holder)
    lines += [_worker_line(group, labels) for group in by_worker.values()]
    for failure in state.failures:
        runs = [i for i, trunk in state.trunks.items() if trunk == failure.trunk_id]
        label = shared_distinction(labels[i] for i in runs)
        head = f"trunk {failure.trunk_id} {failure.kind} {failure.time}  {label}"
        lines.append(safe(head.rstrip()))
        lines.append(f"  {safe(failure.error)}")
        trace = failure.record.get("traceback")
        lines += [f"  | {line}" for line in str(trace or "").rstrip().splitlines()]
    # A name of the user's own may be anything too: none of it steers the terminal.
    return safe_lines("\n".join(lines))


def _worker_line(holders: list[WorkerStatus], labels: Mapping[str, str]) -> str:
    """A line about a worker and what it trains: one run, or a population of them."""
    holder = next((h for h in holders if h.step), holders[0])
    count = f"{len(holders)} runs side by side" if len(holders) > 1 else ""
    ids = [h.run_id for h in holders if h.run_id in labels]
    faults = max(h.faults for h in holders)
    doing = "  ".join(
        text
        for text in (
            count or f"run {holder.run_id or '-'}",
            shared_distinction(labels[run_id] for run_id in ids if run_id),
            f"step {holder.step:,} of {holder.steps:,}"
            if holder.step and holder.steps
            else "starting",
            f"loss {holder.loss:.4f}" if holder.loss is not None and not count else "",
            f"last heard of {min(h.silent_s for h in holders):.0f} s ago",
            "" if any(h.alive for h in holders) else "SILENT, will be taken over",
            f"{faults} faults of the store outlasted" if faults else "",
        )
        if text
    )
    return safe(f"worker {holder.host} {holder.pid}  {doing}")
