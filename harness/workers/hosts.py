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
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from harness.errors import Interrupted, SpecError
from harness.store import Store
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import Cohort, Plan, Trunk
from harness.training import device
from harness.training.history import History
from harness.training.loop import Checkpointer, Progress, Result, Snapshot, train_trunks
from harness.training.program import Program
from harness.training.step import State
from harness.workers.worker import Listener, Worker

ProgramOf = Callable[[Cohort, Sequence[Trunk]], Program]


class Dismissed(Exception):  # noqa: N818 - no error of this process
    """The leader has given up what all are training."""


def join(how: str) -> Hosts:
    """Meets the other processes; to be called before jax looks for any devices.

    Args:
        how: ADDRESS:PORT,INDEX,COUNT with the leader's address, or "auto" where the
            cluster tells jax (Slurm, Open MPI, Kubernetes, TPU pods).

    Raises:
        SpecError: `how` is neither, or the others cannot be met.
    """
    given: dict[str, Any] = {}
    if how != "auto":
        address, *numbers = how.split(",")
        if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
            raise SpecError(
                f"--hosts is {how!r}; give auto, or ADDRESS:PORT,INDEX,COUNT"
            )
        index, count = map(int, numbers)
        given = {"process_id": index, "num_processes": count}
        given |= {"coordinator_address": address}
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**given)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(f"--hosts {how}: the others cannot be met: {reason}") from None
    return Hosts()


def work_on(
    how: str, store: Store, plan: Plan, listener: Listener, options: WorkerOptions
) -> None:
    """`work`, as one of the hosts that `join` meets; the leader's errors are its own.

    Runs are trained one by one, each on all devices, its state divided over them.
    """
    hosts = join(how)
    train = dataclasses.replace(
        options.train, devices=jax.device_count(), shard=True, population=1
    )
    # All hosts compile at the same time.
    options = dataclasses.replace(options, train=train, compile_ahead=False)
    worker = Worker(store, plan, listener, options, hosts.train)
    try:
        if hosts.leads:
            worker.run()
        else:
            device.enable_compile_cache()
            hosts.follow(plan, worker.program_of)
    finally:
        hosts.part()


class Hosts:
    """All processes that train one run together."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that looks at the store."""
        return jax.process_index() == 0

    def agree(self, message: Any = None) -> Any:
        """What the leader says, on every process: plain JSON values."""
        text = json.dumps(message).encode() if self.leads else b""
        size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
        padded = np.zeros(size, np.uint8)
        padded[: len(text)] = np.frombuffer(text, np.uint8)
        return json.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())

    def train(
        self,
        trunks: Sequence[Trunk],
        program: Callable[[], Program],
        keeper: Checkpointer,
    ) -> Generator[Result]:
        """`train_trunks`, by all hosts; for the leader, who must close what it gets."""
        self.agree([[r.run_id for r in trunk.runs] for trunk in trunks])
        try:
            for result in train_trunks(trunks, program(), Shared(self, keeper)):
                yield result
                self.agree(True)
        except GeneratorExit:
            self.agree(False)
            raise

    def part(self) -> None:
        """Lets the others go, and waits until all have come to this."""
        if self.leads:
            self.agree()
        # Where the leader left first, the others would end with an error.
        jax.distributed.shutdown()

    def follow(self, plan: Plan, program_of: ProgramOf) -> None:
        """Does what the leader does, until that parts with them."""
        runs = {planned.run_id: planned for planned in plan.runs}
        cohorts = {r.run_id: cohort for cohort in plan.cohorts for r in cohort.runs}
        while (told := self.agree()) is not None:
            trunks = [Trunk(runs=tuple(runs[i] for i in ids)) for ids in told]
            first = trunks[0].runs[0]
            program = program_of(cohorts[first.run_id], trunks)
            try:
                for _ in train_trunks(trunks, program, Shared(self, None)):
                    if not self.agree():
                        break
            except Dismissed:
                continue


class Shared:
    """A keeper whose decisions all hosts follow; only the leader's keeps anything."""

    def __init__(self, hosts: Hosts, keeper: Checkpointer | None) -> None:
        self.hosts, self._keeper = hosts, keeper
        self._trouble: BaseException | None = None

    def newest(self, part: str, until: int, like: State) -> Snapshot | None:
        """What the leader has kept, sent to all."""
        found = self._guarded(lambda keeper: keeper.newest(part, until, like))
        told = self._agree(
            found
            and {
                "step": found.step,
                "histories": [history.to_json() for history in found.histories],
            }
        )
        if told is None:
            return None
        state = (
            jax.tree.map(np.asarray, found.state)
            if found
            else jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        )
        return Snapshot(
            state=multihost_utils.broadcast_one_to_all(state),
            step=told["step"],
            histories=[History.from_json(values) for values in told["histories"]],
        )

    def reached(self, progress: Progress) -> None:
        """Tells the leader's keeper."""
        self._guarded(lambda keeper: keeper.reached(progress))

    def due(self) -> bool:
        """Whether the leader wants to keep the snapshot."""
        return self._agree(bool(self._guarded(lambda keeper: keeper.due())))

    def keep(
        self, progress: Progress, snapshot: Snapshot, trunk: Snapshot | None
    ) -> None:
        """Collects the parts of the states for the leader's keeper."""
        whole, also = _whole(snapshot), trunk and _whole(trunk)
        self._guarded(lambda keeper: keeper.keep(progress, whole, also))
        self._agree(None)

    def complete(self, progress: Progress, snapshot: Snapshot) -> None:
        """Tells the leader's keeper, which of a single run keeps nothing here."""
        self._guarded(lambda keeper: keeper.complete(progress, snapshot))
        self._agree(None)

    def _guarded(self, act: Callable[[Checkpointer], Any]) -> Any:
        """What the leader's keeper answers; None of others, and after an error."""
        if self._keeper is None or self._trouble:
            return None
        try:
            return act(self._keeper)
        except (Exception, Interrupted) as error:
            self._trouble = error
            return None

    def _agree(self, answer: Any) -> Any:
        told, gave_up = self.hosts.agree([answer, self._trouble is not None])
        if gave_up:
            raise self._trouble or Dismissed
        return told


def _whole(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its state on this host, collected from all."""
    state = multihost_utils.process_allgather(snapshot.state, tiled=True)
    return dataclasses.replace(snapshot, state=state)
