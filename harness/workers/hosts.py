"""One run over the devices of several hosts.

Every process compiles the same programs and calls them in the same order. The leader
(process 0) alone looks at the store; what it decides, all hear at the same point of
their loops. An error of the leader's is kept until the next such point, since a process
that left the loop by itself would leave the others waiting for it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from harness.errors import Interrupted, SpecError
from harness.store import Store
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Plan, PlannedRun, Trunk
from harness.training import device
from harness.training.history import History
from harness.training.loop import FinishedRuns, train_trunks
from harness.training.program import Initial, Program
from harness.training.snapshot import Checkpointer, Progress, Snapshot
from harness.training.step import State
from harness.workers.listener import Listener
from harness.workers.programs import Programs
from harness.workers.starts import Starts
from harness.workers.worker import Worker

T = TypeVar("T")


class Dismissed(Exception):  # noqa: N818 - no error of this process
    """The leader has given up what all are training."""


def join(rendezvous: str) -> Hosts:
    """Meets the other processes; to be called before jax looks for any devices.

    Args:
        rendezvous: ADDRESS:PORT,INDEX,COUNT with the leader's address, or "auto" where
            the cluster tells jax (Slurm, Open MPI, Kubernetes, TPU pods).

    Raises:
        SpecError: `rendezvous` is neither, or the others cannot be met.
    """
    address, count, index = _address_count_index(rendezvous)
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(address, count, index)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(
            f"--hosts {rendezvous}: the others cannot be met: {reason}"
        ) from None
    return Hosts()


def _address_count_index(
    rendezvous: str,
) -> tuple[str, int, int] | tuple[None, None, None]:
    """The leader's address, the number of processes, and which of them this one is."""
    if rendezvous == "auto":
        return None, None, None
    address, *numbers = rendezvous.split(",")
    if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
        raise SpecError(
            f"--hosts is {rendezvous!r}; give auto, or ADDRESS:PORT,INDEX,COUNT"
        )
    index, count = map(int, numbers)
    return address, count, index


def work_on(
    rendezvous: str,
    store: Store,
    plan: Plan,
    listener: Listener,
    options: WorkerOptions,
) -> None:
    """`work`, as one of the hosts that `join` meets; the leader's errors are its own.

    Runs are trained one by one, each on all devices, its state divided over them.
    """
    hosts = join(rendezvous)
    train = dataclasses.replace(
        options.train, devices=jax.device_count(), shard=True, population=1
    )
    # All hosts compile at the same time.
    options = dataclasses.replace(options, train=train, compile_ahead=False)
    try:
        if hosts.leads:
            Worker(store, plan, listener, options, hosts.train).run()
        else:
            device.enable_compile_cache()
            hosts.follow(plan, Programs(train, listener.compiling), Starts(store))
    finally:
        hosts.separate()


class Hosts:
    """All processes that train one run together."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that looks at the store."""
        return jax.process_index() == 0

    def agree(self, message: object = None) -> Any:
        """The leader's message, on every process: plain JSON values."""
        text = json.dumps(message).encode() if self.leads else b""
        size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
        padded = np.zeros(size, np.uint8)
        padded[: len(text)] = np.frombuffer(text, np.uint8)
        return json.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())

    def train(
        self,
        trunks: Sequence[Trunk],
        program: Callable[[], Program],
        checkpointer: Checkpointer,
        initial: Initial,
    ) -> Generator[FinishedRuns]:
        """`train_trunks`, by all hosts; for the leader, who must close what it gets."""
        self.agree([[r.run_id for r in trunk.runs] for trunk in trunks])
        try:
            shared = SharedCheckpointer(self, checkpointer)
            for finished in train_trunks(trunks, program(), shared, initial):
                yield finished
                self.agree(True)
        except GeneratorExit:
            self.agree(False)
            raise

    def separate(self) -> None:
        """Lets the others go, and waits until all have come to this."""
        if self.leads:
            self.agree()
        # Where the leader left first, the others would end with an error.
        jax.distributed.shutdown()

    def follow(self, plan: Plan, programs: Programs, initial: Initial) -> None:
        """Does what the leader does, until it lets this process go."""
        runs = {planned.run_id: planned for planned in plan.runs}
        cohorts = {r.run_id: cohort for cohort in plan.cohorts for r in cohort.runs}
        while (named := self.agree()) is not None:
            trunks = [Trunk(runs=tuple(runs[i] for i in ids)) for ids in named]
            first = trunks[0].runs[0]
            program, _ = programs.get(cohorts[first.run_id], trunks)
            shared = SharedCheckpointer(self, None)
            try:
                for _ in train_trunks(trunks, program, shared, initial):
                    if not self.agree():
                        break
            except Dismissed:
                continue


class SharedCheckpointer:
    """A checkpointer whose decisions all hosts follow; only the leader's saves."""

    def __init__(self, hosts: Hosts, leaders: Checkpointer | None) -> None:
        self.hosts, self._leaders = hosts, leaders
        self._trouble: BaseException | None = None

    def newest(self, segment: str, until: int, like: State) -> Snapshot | None:
        """The snapshot that the leader has kept, sent to all."""
        newest = self._guarded(lambda leaders: leaders.newest(segment, until, like))
        shared = self._agree(
            newest
            and {
                "step": newest.step,
                "histories": [history.to_json() for history in newest.histories],
            }
        )
        if shared is None:
            return None
        state = (
            jax.tree.map(np.asarray, newest.state)
            if newest
            else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        )
        return Snapshot(
            state=multihost_utils.broadcast_one_to_all(state),
            step=shared["step"],
            histories=[History.from_json(values) for values in shared["histories"]],
        )

    def reached(self, progress: Progress) -> None:
        """Tells the leader's checkpointer."""
        self._guarded(lambda leaders: leaders.reached(progress))

    def due(self) -> bool:
        """Whether the leader wants to keep the snapshot."""
        return bool(self._agree(self._guarded(lambda leaders: leaders.due())))

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Collects the shards of the states for the leader's checkpointer."""
        whole, also = _whole(snapshot), trunk and _whole(trunk)
        self._guarded(lambda leaders: leaders.keep(progress, whole, also))
        self._agree(None)

    def keep_trunk(self, runs: Sequence[PlannedRun], snapshot: Snapshot) -> None:
        """Collects the shards of the state for the leader's checkpointer."""
        whole = _whole(snapshot)
        self._guarded(lambda leaders: leaders.keep_trunk(runs, whole))
        self._agree(None)

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Tells the leader's checkpointer, which keeps nothing of a single run then."""
        self._guarded(lambda leaders: leaders.complete(progress, snapshot))
        self._agree(None)

    def _guarded(self, act: Callable[[Checkpointer], T]) -> T | None:
        """The answer of the leader's checkpointer; None elsewhere and after errors."""
        if self._leaders is None or self._trouble:
            return None
        try:
            return act(self._leaders)
        except (Exception, Interrupted) as error:
            self._trouble = error
            return None

    def _agree(self, answer: object) -> Any:
        shared, gave_up = self.hosts.agree([answer, self._trouble is not None])
        if gave_up:
            raise self._trouble or Dismissed
        return shared


def _whole(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its state on this host, collected from all."""
    state = multihost_utils.process_allgather(snapshot.state, tiled=True)
    return dataclasses.replace(snapshot, state=state)
