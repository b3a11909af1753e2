"""What `status` says of a sweep that is under way, from its files alone."""

import pytest

from harness.cli.folders import describe
from harness.cli.views.display import SHOWN_ANYWAY, distinctions, shared_distinction
from harness.store import add_sweep, create_store
from harness.store.leases import Leases, claim_all
from harness.store.status import sweep_status
from harness.sweeps.plan import plan, sweep_record
from harness.sweeps.sweep import product, with_seeds
from tests.harness.strategies import mlp_run


@pytest.fixture
def begun(tmp_path):
    """A store, its plan, and the lease of a population of all four trunks."""
    store = create_store(tmp_path / "store")
    points = with_seeds(product(mlp_run(), {"steps": [20, 40]}), [0, 1, 2, 3])
    made = plan(points)
    add_sweep(store, sweep_record(made, name="small", doc=""))
    trunks = [trunk.trunk_id for trunk in made.cohorts[0].trunks]
    return store, made, claim_all(Leases(store), trunks)


def beats(made, step, flops_per_second=0.0):
    """What each trunk's beat says of its shortest run."""
    return {
        trunk.trunk_id: {
            "run_id": trunk.runs[0].run_id,
            "step": step,
            "steps": trunk.runs[0].run.steps,
            "flops_per_second": flops_per_second,
        }
        for trunk in made.cohorts[0].trunks
    }


def test_a_population_is_one_line_and_its_progress_counts(begun):
    store, made, holding = begun
    before = sweep_status(store)
    assert before.flops_left == made.flops
    assert describe(before).count("worker ") == 1
    told = beats(made, 15, flops_per_second=made.flops / 8)
    for lease in holding.leases:
        lease.heartbeat(told[lease.trunk_id])
    after = sweep_status(store)
    trunk = made.cohorts[0].trunks[0]
    behind = 15 * trunk.flops / trunk.steps * 4
    assert after.flops_left == pytest.approx(made.flops - behind)
    assert after.seconds_left == pytest.approx(2 * after.flops_left / made.flops)
    (line,) = [x for x in describe(after).splitlines() if x.startswith("worker ")]
    assert "4 runs side by side" in line and "step 15 of 20" in line


def test_what_an_interrupted_worker_has_kept_is_not_to_do_again(begun):
    store, made, holding = begun
    told = beats(made, 15)
    for lease in holding.leases:
        lease.heartbeat(told[lease.trunk_id])
    running = sweep_status(store).flops_left
    holding.release("interrupted")
    assert sweep_status(store).flops_left == running < made.flops
    assert sweep_status(store).counts["pending"] == 8


def test_runs_are_told_apart_by_what_varies_and_trunks_by_what_their_runs_share():
    coords = {
        "a": {"optimizer.lr": 1e-3, "seed": 0, "steps": 20, "batch": 4},
        "b": {"optimizer.lr": 1e-3, "seed": 0, "steps": 40, "batch": 4},
        "c": {"optimizer.lr": 1e-2, "seed": 0, "steps": 40, "batch": 4},
        "d": {"optimizer.lr": 1e-2, "seed": 1, "steps": 40, "batch": 4},
    }
    labels = distinctions(coords)
    assert labels["d"] == "lr 0.01  seed 1  steps 40"
    assert len(set(labels.values())) == 4
    assert shared_distinction([labels["a"], labels["b"]]) == "lr 0.001  seed 0"
    assert distinctions(coords, SHOWN_ANYWAY)["a"] == "lr 0.001  seed 0"
    assert distinctions({"a": coords["a"]}) == {"a": ""}
