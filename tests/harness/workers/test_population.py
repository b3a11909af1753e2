"""Which trunks are trained side by side."""

import dataclasses

import pytest

from harness import WSD, AdamW
from harness.store import create_store, failures
from harness.store.leases import Leases, claim_all
from harness.sweeps.options import TrainOptions
from harness.workers.forecast import Timing
from harness.workers.population import (
    Populations,
    blocks,
    compatible_trunks,
    fastest,
    largest,
)
from tests.harness.strategies import mlp_run, planned


def timing(population, seconds):
    return Timing(
        population=population,
        seconds_per_step=seconds,
        seconds_per_evaluation=0.0,
        seconds_compile=0.0,
        memory=0,
    )


def rates(count, **changes):
    """The cohort of so many learning rates."""
    runs = [
        mlp_run(optimizer=AdamW(lr=0.01 * (k + 1)), schedule=WSD(), **changes)
        for k in range(count)
    ]
    (cohort,) = planned(*runs).cohorts
    return cohort


def populations(store, width, probe=None, peers=1):
    return Populations(store, TrainOptions(population=width), peers, probe or refuse)


def refuse(*_):
    raise AssertionError("nothing is to be timed")


def sizes(found, cohort):
    return [len(found.of(cohort, trunk)) for trunk in cohort.trunks]


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "store")


def test_a_cohort_is_cut_into_blocks_that_every_worker_cuts_alike(store):
    cohort = rates(10)
    found = [populations(store, width=4).of(cohort, t) for t in cohort.trunks]
    blocks = {tuple(t.trunk_id for t in block) for block in found}
    assert sorted(map(len, blocks)) == [2, 4, 4]
    assert len({trunk_id for block in blocks for trunk_id in block}) == 10
    assert sizes(populations(store, width=1), cohort) == [1] * 10
    # Three workers share ten trunks: none may take more than four of them.
    assert max(sizes(populations(store, width=32, peers=3), cohort)) == 4


def test_only_trunks_of_equal_lengths_and_data_go_together(store):
    base = mlp_run()
    runs = [
        base,
        dataclasses.replace(base, seed_init=1),
        dataclasses.replace(base, seed_init=2, steps=21),
        dataclasses.replace(base, seed_init=3, seed_data=1),
        dataclasses.replace(base, seed_init=4, evals_per_octave=2),
    ]
    (cohort,) = planned(*runs).cohorts
    assert sizes(populations(store, width=8), cohort) == [2, 2, 1, 1, 1]


@pytest.mark.parametrize(
    ("rates", "orders", "width", "sizes"),
    [
        (12, 8, 8, [6] * 16),  # of one order each
        (9, 3, 4, [3] * 9),
        (10, 1, 4, [4, 4, 2]),
        (33, 1, 32, [17, 16]),
        (12, 3, 32, [18, 18]),  # too few of an order
        (24, 3, 32, [24] * 3),
        (1, 5, 4, [3, 2]),
    ],
)
def test_populations_are_few_and_even_and_share_batches_where_they_can(
    rates, orders, width, sizes
):
    runs = [
        mlp_run(optimizer=AdamW(lr=0.01 * (k + 1)), schedule=WSD(), seed_order=seed)
        for k in range(rates)
        for seed in range(orders)
    ]
    (group,) = compatible_trunks(planned(*runs).cohorts[0])
    found = blocks(group, width)
    assert [len(block) for block in found] == sizes
    assert [trunk for block in found for trunk in block] == group
    if rates >= width:
        seen = [{t.runs[0].run.seed_order for t in block} for block in found]
        assert all(len(orders) == 1 for orders in seen)


def test_populations_are_cut_for_all_devices():
    (group,) = compatible_trunks(rates(12))
    assert [len(block) for block in blocks(group, 8, devices=4)] == [8, 4]
    assert [len(block) for block in blocks(group, 8, devices=8)] == [8, 4]


def test_what_is_tried_first_needs_the_most_memory():
    runs = [
        mlp_run(
            optimizer=AdamW(lr=0.01 * (k + 1)), schedule=WSD(), seed_order=int(k >= 4)
        )
        for k in range(6)
    ]
    (group,) = compatible_trunks(planned(*runs).cohorts[0])
    tried = largest(group, TrainOptions(population=3))
    assert {t.runs[0].run.seed_order for t in tried} == {0, 1}


def test_what_another_population_has_begun_is_left_to_it(store):
    cohort = rates(4)
    begun = [cohort.trunks[1].trunk_id, cohort.trunks[2].trunk_id]
    claim_all(Leases(store), begun).release("interrupted")
    store.files.publish(f"work/{begun[0]}/ckpt/trunk-000000004.json", b"{}")
    found = populations(store, width=3)
    ids = [{t.trunk_id for t in found.of(cohort, trunk)} for trunk in cohort.trunks]
    assert ids[1] == ids[2] == set(begun)
    assert not (ids[0] | ids[3]) & set(begun)


def test_trunks_that_see_the_same_batches_are_trained_together(store):
    runs = [
        mlp_run(optimizer=AdamW(lr=lr), schedule=WSD(), seed_order=seed)
        for lr in (0.01, 0.02, 0.03)
        for seed in (0, 1)
    ]
    (cohort,) = planned(*runs).cohorts
    found = populations(store, width=3)
    for trunk in cohort.trunks:
        together = [t.runs[0].run.seed_order for t in found.of(cohort, trunk)]
        assert together == [trunk.runs[0].run.seed_order] * 3


def test_a_population_pays_only_if_it_is_clearly_faster():
    assert fastest([timing(1, 1.0), timing(8, 7.9)]).population == 1
    assert fastest([timing(1, 1.0), timing(8, 7.0)]).population == 8
    assert fastest([timing(1, 1.0)]).population == 1


def test_what_was_tried_once_holds_for_all_workers(store):
    asked = []

    def probe(trunks):
        asked.append(len(trunks))
        return [timing(1, 1.0), timing(len(trunks), 1.5)]

    cohort = rates(6)
    assert sizes(populations(store, None, probe), cohort) == [6] * 6
    assert asked == [6]
    assert sizes(populations(store, width=None), cohort) == [6] * 6
    # One run alone has nothing to be timed against.
    assert sizes(populations(store, width=None), rates(1)) == [1]


def test_a_program_that_cannot_be_timed_is_tried_alone(store):
    cohort = rates(4)
    assert sizes(populations(store, probe=refuse, width=None), cohort) == [1] * 4
    # Nothing is decided: where the fault is mended, the choice is made anew.
    assert store.files.names("populations") == []


def test_a_trunk_that_failed_is_tried_alone(store):
    cohort = rates(4)
    bad = cohort.trunks[1]
    failures.add_failure(store, bad.trunk_id, [], error=ValueError("no"), progress="")
    assert sizes(populations(store, width=4), cohort) == [3, 1, 3, 3]


def test_what_has_a_common_checkpoint_goes_on_together(store):
    cohort = rates(4)
    pair = [cohort.trunks[3], cohort.trunks[1]]
    ids = [trunk.trunk_id for trunk in pair]
    claim_all(Leases(store), ids).release("interrupted")
    assert sizes(populations(store, width=4), cohort) == [4] * 4
    store.files.publish(f"work/{ids[0]}/ckpt/trunk-000000004.json", b"{}")
    found = populations(store, width=4)
    assert [list(found.of(cohort, trunk)) for trunk in pair] == [pair, pair]


def test_all_leases_of_a_population_are_had_or_none(store):
    ids = [trunk.trunk_id for trunk in rates(3).trunks]
    taken = Leases(store).claim(ids[2])
    here = Leases(store)
    assert claim_all(here, ids) is None
    taken.release("done")
    holding = claim_all(here, ids)
    assert claim_all(Leases(store), ids[1:]) is None
    holding.delete()
    assert claim_all(Leases(store), ids[1:])
