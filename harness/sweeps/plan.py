"""The plan of a sweep: ids, cohorts, shared trunks, exact FLOPs.

A cohort is one compiled program: runs of equal shapes. Within it, runs that differ only
in length share a trunk: the training they have in common, up to where each one's
learning rate starts to decay.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import SpecError
from harness.specs import reading
from harness.specs.canonical import JsonObject, hash_id
from harness.specs.count import Counts, count, train_flops_per_step
from harness.specs.registry import check_implementation
from harness.specs.run import RunSpec
from harness.specs.source import code_digest
from harness.sweeps.sweep import KeepWeights, Point, Scalar


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """A run with its id, grid coordinates and counts."""

    run_id: str
    trunk_id: str
    run: RunSpec
    coords: Mapping[str, Scalar]
    counts: Counts
    keep: bool = False
    """Whether the weights that it ends with are kept."""
    keep_trunk: bool = False
    """Whether the state at the end of its trunk is kept."""

    @property
    def branch_step(self) -> int:
        """Steps shared with longer runs of the same trunk."""
        return self.run.decay_start


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
        per_step, shared, flops = train_flops_per_step(self.runs[0].run), 0, {}
        for planned in self.runs:
            steps = planned.run.steps - min(shared, planned.branch_step)
            flops[planned.run_id] = steps * per_step
            shared = max(shared, planned.branch_step)
        return flops


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
    keep_weights: KeepWeights = "none"

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
        remaining = [run for run in self.runs if run.run_id not in done]
        return dataclasses.replace(_plan(remaining), keep_weights=self.keep_weights)

    @property
    def has_own_parts(self) -> bool:
        """Whether a part of its runs is defined outside the package.

        Such a part is known only where the code that defines it has been loaded.
        """
        kinds = {type(part) for planned in self.runs for part in planned.run.parts()}
        return any(code_digest(kind) for kind in kinds)

    def check_files(self) -> None:
        """Raises `DataError` if data to train on are missing here, or have changed."""
        for source in {planned.run.data for planned in self.runs}:
            reading.check_files(source)


def plan(points: Sequence[Point], keep_weights: KeepWeights = "none") -> Plan:
    """The plan of a sweep's points: sizes and hashes of their data read, runs grouped.

    Raises `DataError` for missing corpora and for more unique data than exists, and
    `SpecError` for a family, optimiser or schedule whose module cannot be found.
    """
    _check_implementations(p.run for p in points)
    sources = {p.run.data for p in points}
    resolved = {source: reading.resolve(source) for source in sources}
    runs: dict[str, PlannedRun] = {}
    for point in points:
        run = dataclasses.replace(point.run, data=resolved[point.run.data])
        planned = _planned(run, point.coords)
        runs.setdefault(planned.run_id, planned)
    return _plan(
        _keeping(list(runs.values()), keep_weights),
        duplicates=len(points) - len(runs),
        keep_weights=keep_weights,
    )


def _planned(run: RunSpec, coords: Mapping[str, Scalar]) -> PlannedRun:
    run_id, trunk_id = run.ids()
    return PlannedRun(
        run_id=run_id, trunk_id=trunk_id, run=run, coords=coords, counts=count(run)
    )


def _plan(
    runs: Sequence[PlannedRun], duplicates: int = 0, keep_weights: KeepWeights = "none"
) -> Plan:
    return Plan(
        runs=tuple(runs),
        cohorts=_cohorts(runs),
        duplicates=duplicates,
        keep_weights=keep_weights,
    )


def _keeping(runs: Sequence[PlannedRun], keep_weights: KeepWeights) -> list[PlannedRun]:
    """The runs, marked whose weights are kept: also those that others start from."""
    longest: dict[str, PlannedRun] = {}
    for run in runs:
        other = longest.setdefault(run.trunk_id, run)
        if run.run.steps > other.run.steps:
            longest[run.trunk_id] = run
    kept = {run.run.start_from for run in runs}
    if keep_weights == "each length":
        kept |= {run.run_id for run in runs}
    if keep_weights == "final":
        kept |= {run.run_id for run in longest.values()}
    keep_trunk = keep_weights == "trunk"
    return [
        dataclasses.replace(run, keep=run.run_id in kept, keep_trunk=keep_trunk)
        for run in runs
    ]


def sweep_record(plan: Plan, *, name: str, doc: str) -> JsonObject:
    """The JSON object of a plan that a store keeps, for workers and readers."""
    marginal_flops: dict[str, int] = {}
    for cohort in plan.cohorts:
        for trunk in cohort.trunks:
            marginal_flops |= trunk.marginal_flops()
    return {
        "sweep_id": plan.sweep_id,
        "name": name,
        "doc": doc,
        "keep_weights": plan.keep_weights,
        "points": [
            {
                "run_id": r.run_id,
                "trunk_id": r.trunk_id,
                "price": float(marginal_flops[r.run_id]),
                "coords": dict(r.coords),
                "spec": r.run.to_dict(),
            }
            for r in plan.runs
        ],
    }


def plan_of_record(sweep: JsonObject) -> Plan:
    """The plan that `sweep_record` froze; its data are left for `check_files`.

    Sweeps of which nothing says so keep no weights.

    Raises `SpecError` if a spec and its id do not agree, or for code that is missing.
    """
    runs = [
        _planned(RunSpec.from_dict(point["spec"]), point["coords"])
        for point in sweep["points"]
    ]
    for planned, point in zip(runs, sweep["points"], strict=True):
        if planned.run_id != point["run_id"]:
            raise SpecError(
                f"sweep {sweep['sweep_id']} has run {point['run_id']} with the spec of "
                f"{planned.run_id}: it was changed, or made by another version"
            )
    _check_implementations(planned.run for planned in runs)
    keep_weights = sweep.get("keep_weights", "none")
    return _plan(_keeping(runs, keep_weights), keep_weights=keep_weights)


def _check_implementations(runs: Iterable[RunSpec]) -> None:
    for choice in {choice for run in runs for choice in run.choices()}:
        check_implementation(choice)


def cohort_key(run: RunSpec) -> tuple[object, ...]:
    """The values that fix the shapes and the operations of the compiled program."""
    return (
        run.model,
        run.data.shape,
        run.data.program_key(),
        run.batch,
        run.optimizer.program_key(),
        run.loss.program_key(),
        tuple(metric.program_key() for metric in run.metrics),
        (run.l1 > 0, run.l2 > 0),
        run.precision,
        bool(run.start_from),
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
