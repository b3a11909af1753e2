"""The unfinished trunks of a plan, in the order in which a worker wants them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from harness.store import Store, failures, requests
from harness.store.weights import has_weights
from harness.sweeps.plan import Cohort, Plan, Trunk


def rank(*, is_own: bool, is_begun: bool) -> int:
    """The rank of a cohort for a worker; of equal ones, the longest comes first.

    Its own is compiled already; one that nobody has begun keeps workers apart.
    """
    return 0 if is_own else 1 + is_begun


class Queue:
    """The unfinished trunks of a plan, in the order in which a worker wants them.

    Its own cohort first (that is compiled), then cohorts that nobody has begun, longest
    first: a long one begun last would keep the others waiting.
    """

    def __init__(self, store: Store, plan: Plan, *, slot: int) -> None:
        self.store = store
        self.compiled: Cohort | None = None
        """The cohort that the worker has compiled."""
        cohorts = sorted(plan.cohorts, key=lambda c: -c.flops)
        turn = slot % max(1, len(cohorts))
        self._all = [
            (cohort, trunk)
            for cohort in cohorts[turn:] + cohorts[:turn]
            for trunk in sorted(cohort.trunks, key=lambda t: -t.flops)
        ]
        self._unfinished: dict[str, tuple[Cohort, Trunk]] = {}
        self._not_before: dict[str, float] = {}
        self._waiting: set[str] = set()
        """Trunks that wait for the weights of others."""

    def has_work(self) -> bool:
        """Whether a run is left that is not finished, failed for good, or cancelled."""
        if not self._unfinished:
            self.look()
        return bool(self._unfinished)

    def look(self) -> None:
        """Looks again at what is finished, failed and cancelled."""
        done = self.store.finished() | requests.cancelled(self.store)
        failed = failures.failures(self.store)
        self._unfinished, self._not_before = {}, {}
        for cohort, trunk in self._all:
            if any(r.run_id not in done for r in trunk.runs):
                self._add(cohort, trunk, failed.get(trunk.trunk_id, []))
        self._await_sources()

    def _await_sources(self) -> None:
        """Lets runs wait for those whose weights they start from.

        What starts from a run that has failed for good, or was cancelled, is not left
        to do.
        """
        self._waiting = set()
        while True:
            coming = {
                r.run_id for _, trunk in self._unfinished.values() for r in trunk.runs
            }
            hopeless = set()
            for trunk_id, (_, trunk) in self._unfinished.items():
                source = trunk.runs[0].run.start_from
                if not source or has_weights(self.store, source):
                    continue
                self._waiting.add(trunk_id)
                if source not in coming:
                    hopeless.add(trunk_id)
            for trunk_id in hopeless:
                del self._unfinished[trunk_id]
            if not hopeless:
                return

    def _add(
        self, cohort: Cohort, trunk: Trunk, failed: list[failures.Failure]
    ) -> None:
        if failed:
            decision = failures.retry_decision(failed)
            if decision.given_up:
                return
            age = self.store.files.age(decision.last.name) or 0.0
            self._not_before[trunk.trunk_id] = time.monotonic() + decision.wait_s - age
        self._unfinished[trunk.trunk_id] = (cohort, trunk)

    def drop(self, trunk: Trunk) -> None:
        """Takes a trunk off the list, until the next look."""
        self._unfinished.pop(trunk.trunk_id, None)

    def candidates(self) -> Iterator[tuple[Cohort, Trunk]]:
        """Trunks to try for, best first; one that waits for a retry is left out."""
        unfinished = list(self._unfinished.values())
        # Most often the first will do: the rest of ten thousand is not looked at.
        yield from (
            e for e in unfinished if e[0] is self.compiled and self._is_ready(e[1])
        )
        ready = [e for e in unfinished if self._is_ready(e[1])]
        begun = set(self.store.files.names("work"))
        busy = {id(cohort) for cohort, trunk in ready if trunk.trunk_id in begun}
        others = [e for e in ready if e[0] is not self.compiled]
        yield from sorted(
            others, key=lambda e: rank(is_own=False, is_begun=id(e[0]) in busy)
        )

    def upcoming(self) -> tuple[Cohort, Trunk] | None:
        """The trunk that is likely to be next, with its cohort, if that is another."""
        best = next(self.candidates(), None)
        return None if best is None or best[0] is self.compiled else best

    def _is_ready(self, trunk: Trunk) -> bool:
        if trunk.trunk_id in self._waiting:
            if not has_weights(self.store, trunk.runs[0].run.start_from):
                return False
            self._waiting.discard(trunk.trunk_id)
        return self._not_before.get(trunk.trunk_id, 0.0) <= time.monotonic()
