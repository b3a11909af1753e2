"""Failed attempts at a trunk, and what follows from them.

Each failed attempt is one record, `failures/<trunk_id>.<number>.json`, never changed.
`harness retry` forgives failures, but their records stay.
"""

from __future__ import annotations

import dataclasses
import errno
import socket
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping

from harness.errors import one_line
from harness.store import schema
from harness.store.faults import FULL, is_full
from harness.store.read import Store
from harness.store.requests import FAILURE, failure_numbers, forgiven_failures
from harness.store.write import now

LIMITS = {"killed": 8, "transient": 5, "full": 5, "error": 2}
"""Attempts of each kind after which a trunk counts as failed.

Errors of a run and disappearances of its workers are two budgets: neither uses up the
other's. An error of the program will most likely come again; a lost connection, a full
disk or a process killed from outside need not. Kills count only if they follow each
other with no progress between them, so that a machine which is preempted every hour can
train for weeks. A worker that vanished before it began counts for nothing.
"""
KILLED = "killed"
PATIENT_KILLS = 2
"""So many kills with no progress between them are followed by no wait."""

WAIT_S = 5.0
"""Seconds before a trunk is tried again after its first failure; doubles with each."""
LONGEST_WAIT_S = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A failed attempt, as its record tells it."""

    trunk_id: str
    kind: str
    error: str
    progress: str
    """The steps that the trunk had come to; equal for kills with none between them."""
    time: str
    name: str
    record: Mapping[str, object] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether and when a trunk that has failed before is tried again."""

    given_up: bool
    wait_s: float
    """Least age of the last failure at which to try again."""
    last: Failure


def kind_of(error: BaseException) -> str:
    """ "full" or "transient" for errors of disks and networks, "error" for others."""
    if is_full(error):
        return "full"
    return "transient" if isinstance(error, OSError) else "error"


def add_failure(
    store: Store,
    trunk_id: str,
    run_ids: Iterable[str],
    *,
    error: BaseException | None,
    progress: str,
) -> None:
    """Records a failed attempt: its error in full, or that its process vanished."""
    vanished = "its worker ended without a word (killed, or out of memory)"
    record = {
        "trunk_id": trunk_id,
        "run_ids": sorted(run_ids),
        "kind": kind_of(error) if error else KILLED,
        "error": _words(error) if error else vanished,
        "traceback": "".join(traceback.format_exception(error)) if error else None,
        "progress": progress,
        "host": socket.gethostname(),
        "time": now(),
    }
    content, number = (
        schema.with_checksum(record),
        1 + max(failure_numbers(store, trunk_id), default=0),
    )
    while not store.files.publish_once(
        f"failures/{trunk_id}.{number:06d}.json", content
    ):
        number += 1


def failures(store: Store) -> dict[str, list[Failure]]:
    """Failed attempts by trunk, oldest first, less those that a retry has forgiven."""
    by_trunk: defaultdict[str, list[Failure]] = defaultdict(list)
    forgiven = forgiven_failures(store)
    for match in filter(None, map(FAILURE.fullmatch, store.files.names("failures"))):
        trunk_id, number = match[1], int(match[2])
        if number > forgiven.get(trunk_id, 0):
            by_trunk[trunk_id].append(_failure(store, trunk_id, match[0]))
    return dict(by_trunk)


def count(store: Store, trunk_id: str) -> int:
    """The number of failed attempts at a trunk, forgiven ones included."""
    return len(failure_numbers(store, trunk_id))


def retry_decision(failed: list[Failure]) -> RetryDecision:
    """The decision whether and when to try a trunk again after these failures."""
    last = failed[-1]
    used = dict.fromkeys(LIMITS, 0)
    kills = [f for f in failed if f.kind == KILLED]
    for failure in failed:
        # What an unknown version wrote, or what is damaged, counts as an error.
        kind = failure.kind if failure.kind in LIMITS else "error"
        used[kind] += kind != KILLED
    used[KILLED] = sum(f.progress == kills[-1].progress for f in kills) if kills else 0
    same = used[last.kind if last.kind in LIMITS else "error"]
    wait = min(LONGEST_WAIT_S, WAIT_S * 2 ** (same - 1))
    if last.kind == KILLED:
        wait = WAIT_S * max(0, same - PATIENT_KILLS)
    given_up = any(used[kind] >= limit for kind, limit in LIMITS.items())
    return RetryDecision(given_up, wait, last)


def must_wait(store: Store, trunk_id: str) -> bool:
    """Whether a trunk has failed too often, or too short a time ago, to be tried."""
    # Names first: most trunks have no failure, whose records would have to be read.
    if not count(store, trunk_id) or not (failed := failures(store).get(trunk_id)):
        return False
    decision = retry_decision(failed)
    age = store.files.age(decision.last.name) or 0.0
    return decision.given_up or age < decision.wait_s


def _words(error: BaseException) -> str:
    text = one_line(error)
    return f"{FULL[errno.ENOSPC]}: {text}" if is_full(error) else text


def _failure(store: Store, trunk_id: str, name: str) -> Failure:
    record = store.json_or_empty(f"failures/{name}")
    return Failure(
        trunk_id=trunk_id,
        kind=str(record.get("kind", "error")),
        error=str(record.get("error", f"failures/{name} is damaged")),
        progress=str(record.get("progress")),
        time=str(record.get("time")),
        name=f"failures/{name}",
        record=record,
    )
