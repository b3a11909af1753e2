"""The choice of trunks to train side by side, as one vmapped population.

Whether that pays depends on the shape and on the device, so it is tried: the program
for one run and that for many are timed, and the decision is kept in the store. All
workers follow it, also after a crash; what a population changes is rounding.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from harness.errors import HarnessError
from harness.specs.canonical import hash_id
from harness.store import Store, failures, requests, schema
from harness.store.leases import together
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import Cohort, Trunk
from harness.workers.forecast import Timing

WIDEST = 32
"""Most runs on a device in a population that was not asked for by number."""
GAIN = 1.05
"""The factor by which a population must be faster for the choice to fall on it."""


Probe = Callable[[Sequence[Trunk]], Sequence[Timing]]
"""Times the first trunk alone, and all of them, or as many as memory holds, at once."""


def widest(runs: int, options: TrainOptions, peers: int = 1) -> int:
    """The most of so many runs that are trained side by side.

    That is no more than the share of one of `peers` workers, and the same number on
    each device if there are enough.
    """
    share = math.ceil(runs / peers)
    if options.population is not None:
        return min(options.population, share)
    most = min(WIDEST * options.devices, share)
    return most - most % options.devices if most > options.devices else most


class Populations:
    """Forms populations, the same ones on all workers of a store."""

    def __init__(
        self, store: Store, options: TrainOptions, peers: int, probe: Probe
    ) -> None:
        self.store, self.options, self.peers = store, options, peers
        self._probe = probe
        self._decided: dict[str, int] = {}
        self._groups: dict[str, list[Trunk]] = {}
        self._blocks: dict[str, list[Trunk]] = {}

    def of(self, cohort: Cohort, trunk: Trunk) -> tuple[Trunk, ...]:
        """The trunks to train together with `trunk`, itself among them.

        Those that have a common checkpoint go on together. One that has failed with an
        error is tried alone, so that it does not take others with it.
        """
        if begun := self._begun(cohort, trunk):
            return begun
        if self.options.population == 1:
            return (trunk,)
        group = self._compatible(cohort, trunk)
        width = self._width(group)
        if width == 1 or self._has_erred(trunk):
            return (trunk,)
        block = self._block_of(trunk, group, width)
        done = self.store.finished() | requests.cancelled(self.store)
        begun_ids = set(self.store.files.names("work"))
        return tuple(
            t
            for t in block
            if any(r.run_id not in done for r in t.runs)
            and not self._has_erred(t)
            and not (t.trunk_id in begun_ids and self._begun(cohort, t))
        )

    def needs_probe(self, cohort: Cohort, trunk: Trunk) -> bool:
        """Whether `of` must time programs before it can say."""
        if self.options.population is not None or self._begun(cohort, trunk):
            return False
        group = self._compatible(cohort, trunk)
        key = _key(group)
        known = key in self._decided or self.store.files.exists(_decision_name(key))
        return widest(len(group), self.options, self.peers) > 1 and not known

    def _compatible(self, cohort: Cohort, trunk: Trunk) -> list[Trunk]:
        """The trunks that could be trained with `trunk`, itself among them."""
        if trunk.trunk_id not in self._groups:
            for group in compatible_trunks(cohort):
                self._groups |= {t.trunk_id: group for t in group}
        return self._groups[trunk.trunk_id]

    def _block_of(self, trunk: Trunk, group: list[Trunk], width: int) -> list[Trunk]:
        if trunk.trunk_id not in self._blocks:
            for block in blocks(group, width, self.options.devices):
                self._blocks |= {t.trunk_id: block for t in block}
        return self._blocks[trunk.trunk_id]

    def _begun(self, cohort: Cohort, trunk: Trunk) -> tuple[Trunk, ...]:
        """The population whose checkpoint there is to go on from, if there is one."""
        ids = together(self.store, trunk.trunk_id)
        if not self.store.files.names(f"work/{ids[0]}/ckpt"):
            return ()
        known = {t.trunk_id: t for t in cohort.trunks}
        whole = all(trunk_id in known for trunk_id in ids)
        return tuple(known[i] for i in ids) if whole else ()

    def _has_erred(self, trunk: Trunk) -> bool:
        if not failures.count(self.store, trunk.trunk_id):
            return False
        failed = failures.failures(self.store).get(trunk.trunk_id, [])
        return any(failure.kind == "error" for failure in failed)

    def _width(self, group: Sequence[Trunk]) -> int:
        most = widest(len(group), self.options, self.peers)
        if self.options.population is not None or most == 1:
            return most
        key = _key(group)
        if key not in self._decided:
            self._decided[key] = self._decision(
                key, largest(group, self.options, self.peers)
            )
        return self._decided[key]

    def _decision(self, key: str, trunks: Sequence[Trunk]) -> int:
        name = _decision_name(key)
        if not self.store.files.exists(name):
            try:
                timings = self._probe(trunks)
            except HarnessError:
                raise
            # A program that cannot be built or run is not a population: it is tried
            # alone, where its error becomes a row.
            except Exception:
                return 1
            best = fastest(timings)
            decision = {
                "width": best.population,
                "timings": [dataclasses.asdict(timing) for timing in timings],
            }
            self.store.files.publish_once(name, schema.with_checksum(decision))
        return _width_in(self.store.json(name))


def _key(group: Sequence[Trunk]) -> str:
    return hash_id(sorted(trunk.trunk_id for trunk in group))


def _decision_name(key: str) -> str:
    return f"populations/{key}.json"


def compatible_trunks(cohort: Cohort) -> list[list[Trunk]]:
    """The trunks of a cohort, in groups that could be trained side by side.

    Those that see the same batches come one after another.
    """
    groups: defaultdict[object, list[Trunk]] = defaultdict(list)
    for trunk in sorted(cohort.trunks, key=_order):
        groups[_kind(trunk)].append(trunk)
    return list(groups.values())


def blocks(group: Sequence[Trunk], width: int, devices: int = 1) -> list[list[Trunk]]:
    """A group's populations of at most `width`, as few and as even as they can be.

    Where enough see the same batches, all of a population do, so that it gathers them
    once; and where sizes are equal, one program trains them all.
    """
    sets = [list(order) for _, order in itertools.groupby(group, key=_order)]
    if min(map(len, sets)) < width:
        sets = [list(group)]
    cut: list[list[Trunk]] = []
    for trunks in sets:
        count = math.ceil(len(trunks) / width)
        size = math.ceil(len(trunks) / count)
        size = min(width, size + -size % devices)
        cut += [trunks[at : at + size] for at in range(0, len(trunks), size)]
    return cut


def largest(
    group: Sequence[Trunk], options: TrainOptions, peers: int = 1
) -> list[Trunk]:
    """The largest of a group's populations, and of these one that needs the most
    memory: one that sees different batches."""
    candidates = blocks(group, widest(len(group), options, peers), options.devices)
    return max(candidates, key=lambda block: (len(block), len(set(map(_order, block)))))


def _order(trunk: Trunk) -> int:
    return trunk.runs[0].run.seed_order


def fastest(timings: Sequence[Timing]) -> Timing:
    """The timing to go by: a population must be clearly faster than one run."""
    alone, *wider = timings
    best = min(wider, key=lambda t: t.seconds_per_run_step, default=alone)
    pays = best.seconds_per_run_step * GAIN <= alone.seconds_per_run_step
    return best if pays else alone


def _kind(trunk: Trunk) -> tuple[object, ...]:
    """The facts that trunks must share to be trained side by side."""
    run = trunk.runs[0].run
    lengths = tuple((r.branch_step, r.run.steps) for r in trunk.runs)
    return lengths, run.data, run.seed_data, run.evals_per_octave


def _width_in(decision: Mapping[str, object]) -> int:
    width = decision.get("width")
    return width if isinstance(width, int) and width > 0 else 1
