"""The user's requests to workers: to try a trunk again, to train a run no more.

`harness retry` and `harness cancel` leave a file each in `orders/`; every worker reads
them between two pieces of work.
"""

from __future__ import annotations

import re

from harness.store import schema
from harness.store.read import Store
from harness.store.write import now

FAILURE = re.compile(r"([0-9a-f]{16})\.(\d{6})\.json")
RETRY, CANCEL = ".retry.json", ".cancel.json"


def request_retry(store: Store, trunk_id: str) -> None:
    """Forgives a trunk's failures so far: it is tried again at once."""
    last = max(failure_numbers(store, trunk_id), default=0)
    content = schema.with_checksum({"until": last, "time": now()})
    store.files.publish(f"orders/{trunk_id}{RETRY}", content)


def forgiven_failures(store: Store) -> dict[str, int]:
    """The number of the last failure that a retry has forgiven, by trunk."""
    numbers = {}
    for name in store.files.names("orders"):
        if name.endswith(RETRY):
            until = store.json_or_empty(f"orders/{name}").get("until")
            numbers[name.removesuffix(RETRY)] = until if isinstance(until, int) else 0
    return numbers


def request_cancel(store: Store, run_id: str) -> None:
    """Asks that no worker train this run, or go on training it."""
    content = schema.with_checksum({"time": now()})
    store.files.publish_once(f"orders/{run_id}{CANCEL}", content)


def withdraw_cancel(store: Store, run_id: str) -> None:
    """Lets the run be trained again."""
    store.files.remove(f"orders/{run_id}{CANCEL}")


def cancelled(store: Store) -> set[str]:
    """Ids of the runs that were cancelled."""
    names = store.files.names("orders")
    return {name.removesuffix(CANCEL) for name in names if name.endswith(CANCEL)}


def failure_numbers(store: Store, trunk_id: str) -> list[int]:
    """Numbers of the failed attempts at a trunk."""
    matches = map(FAILURE.fullmatch, store.files.names("failures"))
    return [int(match[2]) for match in matches if match and match[1] == trunk_id]
