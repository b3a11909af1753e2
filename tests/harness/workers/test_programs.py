"""Programs of a worker, one of them compiled while another cohort trains."""

import threading

import pytest

from harness import MLP
from harness.store import create_store
from harness.sweeps.options import WorkerOptions
from harness.training.batches import ProgramShape
from harness.training.program import compile_cohort
from harness.workers import programs, worker
from harness.workers.programs import BackgroundCompiler
from tests.harness.strategies import mlp_run, planned

PLAN = planned(*(mlp_run(model=MLP(width=w)) for w in (3, 4, 5)))
COHORTS = PLAN.cohorts
ONE = ProgramShape(1, same_batches=False)


@pytest.fixture
def compiled_by(monkeypatch):
    """Names of the threads that compiled, in order; there is room for two."""
    names = []

    def noted(*args):
        names.append(threading.current_thread().name)
        return compile_cohort(*args)

    monkeypatch.setattr(programs, "compile_cohort", noted)
    monkeypatch.setattr(worker, "should_compile_ahead", lambda: True)
    return names


def losses(store):
    return {i: store.record(i)["row"]["loss"] for i in store.finished()}


def test_the_next_program_comes_from_the_other_thread_with_equal_bits(
    compiled_by, tmp_path
):
    found = []
    for ahead in (True, False):
        store = create_store(tmp_path / str(ahead))
        worker.work(store, PLAN, options=WorkerOptions(compile_ahead=ahead))
        found.append(losses(store))
    assert compiled_by == ["MainThread", "compile_0", "compile_0", *["MainThread"] * 3]
    assert len(found[0]) == 3 and found[0] == found[1]


def test_runs_of_one_cohort_have_nothing_to_look_ahead_to(compiled_by, tmp_path):
    plan = planned(*(mlp_run(steps=s) for s in (20, 30)))
    worker.work(create_store(tmp_path / "store"), plan)
    assert compiled_by == ["MainThread"]


def test_a_program_that_was_not_begun_or_fails_is_left_to_whoever_asks():
    ahead = BackgroundCompiler()
    assert ahead.take((COHORTS[0], ONE)) is None
    ahead.start((COHORTS[0], ONE), lambda: "program")
    assert ahead.take((COHORTS[0], ProgramShape(2, same_batches=True))) is None
    assert ahead.take((COHORTS[1], ONE)) is None
    assert ahead.take((COHORTS[0], ONE)) == "program"
    assert ahead.take((COHORTS[0], ONE)) is None
    ahead.start((COHORTS[1], ONE), lambda: 1 / 0)
    assert ahead.take((COHORTS[1], ONE)) is None
    ahead.close()


def test_one_at_a_time_is_compiled():
    ahead, go, begun = BackgroundCompiler(), threading.Event(), []

    def slow(name):
        begun.append(name)
        go.wait(10)
        return name

    ahead.start((COHORTS[0], ONE), lambda: slow("first"))
    ahead.start((COHORTS[0], ONE), lambda: slow("again"))
    ahead.start((COHORTS[1], ONE), lambda: slow("second"))
    go.set()
    assert ahead.take((COHORTS[0], ONE)) == "first"
    assert begun == ["first"]
    ahead.close()
