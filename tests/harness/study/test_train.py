"""A run trained from Python has the numbers that it has in a sweep."""

import jax
import numpy as np
import pytest

import harness
from harness.errors import SpecError
from harness.store import create_store
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point
from harness.workers.worker import work
from tests.harness.strategies import mlp_run


def test_its_row_is_the_one_that_a_sweep_stores(tmp_path):
    run = mlp_run(steps=40)
    trained = harness.train(run)
    store = create_store(str(tmp_path / "store"))
    made = plan([Point(run=run)])
    work(store, made)
    row = store.record(made.runs[0].run_id)["row"]
    same = ("run_id", "loss", "loss_se", "train_loss", "n_total", "flops_train")
    assert {k: trained.row[k] for k in same} == {k: row[k] for k in same}
    assert len(trained.history.losses) == run.steps


def test_its_weights_are_those_of_its_counts():
    trained = harness.train(mlp_run(steps=5))
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(trained.params)]
    assert sum(sizes) == trained.row["n_total"]


def test_a_run_without_a_budget_is_refused():
    with pytest.raises(SpecError, match="no budget"):
        harness.train(mlp_run(steps=0))
