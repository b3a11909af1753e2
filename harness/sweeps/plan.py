"""From a sweep to work: ids, cohorts, shared trunks, exact price.

A cohort is one compiled program: runs of equal shapes. Within it, runs that differ only
in length share a trunk: the training they have in common, up to where each one's
learning rate starts to decay.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.errors import SpecError
from harness.specs import reading
from harness.specs.canonical import hash_id
from harness.specs.count import Counts, count, train_flops_per_step
from harness.specs.registry import check_implementation
from harness.specs.run import RunSpec
from harness.sweeps.sweep import Point, Scalar


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run with its id, grid coordinates and counts."""

    run_id: str
    trunk_id: str
    run: RunSpec
    coords: Mapping[str, Scalar]
    counts: Counts

    @property
    def branch_step(self) -> int:
        """Steps shared with longer runs of the same trunk."""
        return self.run.optim.decay_start(self.run.steps)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Trunk:
    """Runs that differ only in length, in the order in which they branch off."""

    runs: tuple[PlannedRun, ...]

    @property
    def trunk_id(self) -> str:
        """The same whatever lengths the sweep asks for."""
        return self.runs[0].trunk_id

    @property
    def steps(self) -> int:
        """Optimiser steps needed to train them all together."""
        shared = max(r.branch_step for r in self.runs)
        return shared + sum(r.run.steps - r.branch_step for r in self.runs)

    @property
    def flops(self) -> int:
        """Training FLOPs of those steps."""
        return self.steps * train_flops_per_step(self.runs[0].run)

    def marginal_flops(self) -> dict[str, int]:
        """FLOPs that each run adds to those that branch off before it, by run id."""
        per_step, shared, found = train_flops_per_step(self.runs[0].run), 0, {}
        for planned in self.runs:
            own = planned.run.steps - min(shared, planned.branch_step)
            found[planned.run_id] = own * per_step
            shared = max(shared, planned.branch_step)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Trunks whose runs have equal shapes: one compiled program trains them."""

    trunks: tuple[Trunk, ...]

    @property
    def runs(self) -> list[PlannedRun]:
        return [run for trunk in self.trunks for run in trunk.runs]

    @property
    def flops(self) -> int:
        return sum(trunk.flops for trunk in self.trunks)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A sweep made concrete: data read, ids known, duplicates merged."""

    runs: tuple[PlannedRun, ...]
    cohorts: tuple[Cohort, ...]
    duplicates: int

    @property
    def sweep_id(self) -> str:
        """The same for the same runs at the same coordinates, whatever their order."""
        return hash_id(sorted((r.run_id, sorted(r.coords.items())) for r in self.runs))

    @property
    def flops_alone(self) -> int:
        """Training FLOPs if no two runs shared a trunk."""
        return sum(run.counts.flops_train for run in self.runs)

    @property
    def flops(self) -> int:
        """Training FLOPs as planned."""
        return sum(cohort.flops for cohort in self.cohorts)

    def without(self, finished: Iterable[str]) -> Plan:
        """The plan of the runs that are not finished yet."""
        done = set(finished)
        left = [run for run in self.runs if run.run_id not in done]
        return Plan(runs=tuple(left), cohorts=_cohorts(left), duplicates=0)

    def check_files(self) -> None:
        """Raises `DataError` if files that it trains on are not on this machine."""
        for source in {planned.run.data for planned in self.runs}:
            reading.check_files(source)


def plan(points: Sequence[Point]) -> Plan:
    """Reads the data sets' sizes and hashes, then groups the runs.

    Raises `DataError` for missing corpora and for more unique data than exists, and
    `SpecError` for a family whose module cannot be found.
    """
    for choice in {choice for p in points for choice in p.run.choices()}:
        check_implementation(choice)
    sources = {p.run.data for p in points}
    resolved = {source: reading.resolve(source) for source in sources}
    runs: dict[str, PlannedRun] = {}
    for point in points:
        run = dataclasses.replace(point.run, data=resolved[point.run.data])
        run_id, trunk_id = run.ids()
        runs.setdefault(
            run_id,
            PlannedRun(
                run_id=run_id,
                trunk_id=trunk_id,
                run=run,
                coords=point.coords,
                counts=count(run),
            ),
        )
    kept = list(runs.values())
    return Plan(
        runs=tuple(kept), cohorts=_cohorts(kept), duplicates=len(points) - len(kept)
    )


def sweep_record(made: Plan, *, name: str, doc: str) -> dict[str, Any]:
    """A plan as it is frozen in a store: what workers and readers need of it."""
    marginal_flops: dict[str, int] = {}
    for cohort in made.cohorts:
        for trunk in cohort.trunks:
            marginal_flops |= trunk.marginal_flops()
    return {
        "sweep_id": made.sweep_id,
        "name": name,
        "doc": doc,
        "points": [
            {
                "run_id": r.run_id,
                "trunk_id": r.trunk_id,
                "price": float(marginal_flops[r.run_id]),
                "coords": dict(r.coords),
                "spec": r.run.to_dict(),
            }
            for r in made.runs
        ],
    }


def plan_of_record(sweep: Mapping[str, Any]) -> Plan:
    """The plan that `sweep_record` froze.

    Raises `SpecError` if a spec and its id do not agree, and what `plan` raises.
    """
    made = plan(
        [
            Point(run=RunSpec.from_dict(point["spec"]), coords=point["coords"])
            for point in sweep["points"]
        ]
    )
    for planned, point in zip(made.runs, sweep["points"], strict=True):
        if planned.run_id != point["run_id"]:
            raise SpecError(
                f"sweep {sweep['sweep_id']} has run {point['run_id']} with the spec of "
                f"{planned.run_id}: it was changed, or made by another version"
            )
    return made


def cohort_key(run: RunSpec) -> tuple[object, ...]:
    """What fixes the shapes and the operations of the compiled program."""
    return (
        run.model,
        run.data.shape,
        run.data.program_key(),
        run.batch,
        run.optim.program_key(),
        run.precision,
        run.train_eval_examples and run.train_evaluated,
    )


def _cohorts(runs: Sequence[PlannedRun]) -> tuple[Cohort, ...]:
    trunks: defaultdict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        trunks[run.trunk_id].append(run)
    cohorts: defaultdict[tuple[object, ...], list[Trunk]] = defaultdict(list)
    for members in trunks.values():
        members.sort(key=lambda r: (r.branch_step, r.run.steps))
        cohorts[cohort_key(members[0].run)].append(Trunk(runs=tuple(members)))
    return tuple(Cohort(trunks=tuple(group)) for group in cohorts.values())
