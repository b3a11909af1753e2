"""The status of a sweep's runs, read from the store alone, on any machine.

    pending ─▶ running ─▶ done | diverged
                  ├─ its worker falls silent ─▶ stalled ─▶ taken over
                  └─ it fails ─▶ waiting ─▶ pending again … or failed for good

A run that was cancelled is "cancelled" until `harness retry`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping

from harness.errors import StoreError
from harness.specs.canonical import JsonObject
from harness.specs.run import flat
from harness.store import leases
from harness.store.failures import Failure, retry_decision
from harness.store.failures import failures as failures_by_trunk
from harness.store.identity import is_gone
from harness.store.lease_files import LeaseFiles, lease_files
from harness.store.read import ID, Store, read_runs
from harness.store.requests import cancelled as cancelled_runs
from harness.sweeps import mismatch

STATES = (
    "done",
    "diverged",
    "running",
    "stalled",
    "pending",
    "waiting",
    "failed",
    "cancelled",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """A worker that holds a trunk, as its claim and last heartbeat tell."""

    trunk_id: str
    worker: str
    host: str
    pid: int
    run_id: str | None
    step: int | None
    steps: int | None
    loss: float | None
    tokens_per_second: float | None
    flops_per_second: float | None
    silent_s: float
    """Seconds since its last sign of life, on the store's clock."""
    alive: bool
    faults: int
    """Transient faults of the store that it has met and outlasted."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """A sweep's runs by state, its workers, and what has failed."""

    name: str
    runs: Mapping[str, str]
    """State of each run, by id."""
    coords: Mapping[str, Mapping[str, bool | int | float | str]]
    """Coordinates of each run in the sweep."""
    trunks: Mapping[str, str]
    """The trunk of each run."""
    elsewhere: int
    """Finished runs in the store that this sweep does not ask for."""
    older_code: int
    """Those of them that differ from a run of it in the code of parts alone."""
    holders: tuple[WorkerStatus, ...]
    failures: tuple[Failure, ...]
    """The last failure of each trunk that waits or has failed for good."""
    flops_left: float
    """Training FLOPs still to do, trunks shared, less what is trained or kept."""

    @property
    def counts(self) -> dict[str, int]:
        """Runs in each state."""
        counts = Counter(self.runs.values())
        return {state: counts[state] for state in STATES}

    @property
    def flops_per_second(self) -> float:
        """The speed of all workers that are alive."""
        return sum(h.flops_per_second or 0.0 for h in self.holders if h.alive)

    @property
    def tokens_per_second(self) -> float:
        """The speed of all workers that are alive."""
        return sum(h.tokens_per_second or 0.0 for h in self.holders if h.alive)

    @property
    def seconds_left(self) -> float | None:
        """The seconds to go at the present speed; None if nobody is at work."""
        rate = self.flops_per_second
        return self.flops_left / rate if rate else None


def sweep_status(store: Store) -> SweepStatus:
    """The state of the sweep that was run last.

    Raises `StoreError` if the store has no sweep, or a damaged one.
    """
    sweeps = store.sweeps()
    if not sweeps:
        raise StoreError(f"{store.uri} has no sweep yet; `harness run` writes one")
    points = {point["run_id"]: point for point in sweeps[-1]["points"]}
    finished = _finished(store)
    workers = holders(store)
    failed = failures_by_trunk(store)
    cancelled = cancelled_runs(store)
    busy = {h.run_id: "running" if h.alive else "stalled" for h in workers}
    runs: dict[str, str] = {}
    for run_id, point in points.items():
        trouble = failed.get(point["trunk_id"])
        runs[run_id] = (
            finished.get(run_id)
            or ("cancelled" if run_id in cancelled else None)
            or busy.get(run_id)
            or (_trouble(store, trouble) if trouble else None)
            or "pending"
        )
    unfinished = [
        i for i, s in runs.items() if s in ("running", "stalled", "pending", "waiting")
    ]
    trunks = {
        points[i]["trunk_id"] for i, s in runs.items() if s in ("waiting", "failed")
    }
    return SweepStatus(
        name=sweeps[-1]["name"],
        runs=runs,
        elsewhere=len(finished.keys() - points.keys()),
        older_code=_older_code(store, finished.keys() - points.keys(), points),
        holders=tuple(workers),
        failures=tuple(failed[trunk][-1] for trunk in sorted(trunks)),
        flops_left=_flops_left(points, unfinished, _progress(store, workers)),
        coords={run_id: point["coords"] for run_id, point in points.items()},
        trunks={run_id: point["trunk_id"] for run_id, point in points.items()},
    )


def _older_code(
    store: Store, elsewhere: set[str], points: Mapping[str, JsonObject]
) -> int:
    specs = [flat(point["spec"]) for point in points.values()]
    fields = {name for spec in specs for name in spec}
    if not any(name.endswith(mismatch.CODE) for name in fields) or not elsewhere:
        return 0
    table = read_runs(store)
    if table is None:
        return 0
    names = [name for name in table.column_names if name in fields | {"run_id"}]
    rows = table.select(names).to_pylist()
    strangers = [row for row in rows if row["run_id"] in elsewhere]
    return mismatch.older_code(strangers, specs)


def _progress(store: Store, workers: list[WorkerStatus]) -> dict[str, int]:
    """The step that each trunk has come to: its holder's, else its last heartbeat's."""
    steps = {h.trunk_id: h.step or 0 for h in workers}
    for trunk_id in filter(ID.fullmatch, store.files.names("work")):
        if trunk_id not in steps:
            mark = leases.claim_and_heartbeat(
                store, trunk_id, lease_files(store, trunk_id)
            )
            step = mark.get("step")
            # Who lets go of a trunk has kept what it had come to.
            steps[trunk_id] = step if isinstance(step, int) else 0
    return steps


def _flops_left(
    points: Mapping[str, JsonObject], unfinished: list[str], progress: Mapping[str, int]
) -> float:
    """FLOPs of the runs that are left, less those of the one under way in each trunk.

    That is the shortest: a trunk trains its runs one after another. A step costs what
    the run that begins the trunk pays for each of its own.
    """
    each: defaultdict[str, float] = defaultdict(float)
    for point in points.values():
        price = point["price"] / point["spec"]["steps"]
        each[point["trunk_id"]] = max(each[point["trunk_id"]], price)
    total, begun = 0.0, set()
    for point in sorted(
        (points[i] for i in unfinished), key=lambda p: p["spec"]["steps"]
    ):
        trunk_id, price = point["trunk_id"], float(point["price"])
        if trunk_id not in begun:
            begun.add(trunk_id)
            rest = max(0, point["spec"]["steps"] - progress.get(trunk_id, 0))
            price = min(price, rest * each[trunk_id])
        total += price
    return total


def holders(store: Store) -> list[WorkerStatus]:
    """Everybody who holds a trunk now."""
    workers = []
    for trunk_id in filter(ID.fullmatch, store.files.names("work")):
        files = lease_files(store, trunk_id)
        if files.generation and not files.released:
            workers.append(_holder(store, trunk_id, files))
    return workers


def _holder(store: Store, trunk_id: str, files: LeaseFiles) -> WorkerStatus:
    content = leases.claim_and_heartbeat(store, trunk_id, files)
    silent = leases.silence(store, trunk_id, files)
    alive = silent <= leases.stale_after(content) and not is_gone(content)
    numbers = {
        key: content[key] if isinstance(content.get(key), int | float) else None
        for key in ("step", "steps", "loss", "tokens_per_second", "flops_per_second")
    }
    pid, faults = content.get("pid"), content.get("faults")
    return WorkerStatus(
        trunk_id=trunk_id,
        worker=str(content.get("name", "unknown")),
        host=str(content.get("host", "unknown")),
        pid=pid if isinstance(pid, int) else 0,
        run_id=content["run_id"] if isinstance(content.get("run_id"), str) else None,
        silent_s=silent,
        alive=alive,
        faults=faults if isinstance(faults, int) else 0,
        **numbers,
    )


def _finished(store: Store) -> dict[str, str]:
    """Status of each finished run; most are in the view, which is one file."""
    try:
        table = read_runs(store)
    except StoreError:
        table = None
    known: dict[str, str] = {}
    if table is not None and {"run_id", "status"} <= set(table.column_names):
        pairs = table.select(["run_id", "status"]).to_pydict()
        known = dict(zip(pairs["run_id"], pairs["status"], strict=True))
    finished = store.finished()
    known = store.packs.known.statuses | known
    return {i: known.get(i) or _status(store, i) for i in finished}


def _status(store: Store, run_id: str) -> str:
    status = store.record(run_id).get("status")
    return status if status in ("done", "diverged") else "done"


def _trouble(store: Store, failed: list[Failure]) -> str | None:
    decision = retry_decision(failed)
    if decision.given_up:
        return "failed"
    age = store.files.age(decision.last.name) or 0.0
    return "waiting" if age < decision.wait_s else None
