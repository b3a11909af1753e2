"""Weights that sweeps keep, and runs that start from them."""

import dataclasses
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

import harness
from harness import MLP, SGD, WSD, ScheduleFreeAdamW, Sweep, product
from harness.errors import SpecError, StoreError
from harness.export.load import load_trained
from harness.families.arrays import named_arrays
from harness.store import add_sweep, create_store, open_store
from harness.store.doctor import examine
from harness.store.weights import has_weights, kept_runs, read_weights
from harness.sweeps.options import TrainOptions, WorkerOptions
from harness.sweeps.plan import plan, plan_of_record, sweep_record
from harness.workers.starts import check_starts
from harness.workers.worker import work
from tests.harness.strategies import ALONE, mlp_run

BASE = mlp_run(schedule=WSD(cooldown=0.5))


def swept(folder, points, keep, *, population=1):
    store = create_store(str(folder))
    planned = plan(Sweep(points, keep).points, keep)
    add_sweep(store, sweep_record(planned, name="s", doc=""))
    options = WorkerOptions(train=TrainOptions(population=population))
    work(store, plan_of_record(store.sweeps()[-1]), options=options)
    return store, planned


def lengths(*steps, run=BASE):
    return product(run, {"steps": steps})


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("none", set()), ("final", {24}), ("each length", {8, 16, 24})],
)
def test_the_runs_that_a_sweep_names_keep_their_weights(keep, expected, tmp_path):
    store, planned = swept(tmp_path / "s", lengths(8, 16, 24), keep)
    steps = {r.run_id: r.run.steps for r in planned.runs}
    assert {steps[run_id] for run_id in kept_runs(store)} == expected
    for run_id in kept_runs(store):
        alone = harness.train(next(r.run for r in planned.runs if r.run_id == run_id))
        arrays = load_file(store.folder / "weights" / run_id / "model.safetensors")
        expected_arrays = named_arrays(alone.params)
        assert arrays.keys() == expected_arrays.keys()
        assert all(np.array_equal(arrays[k], v) for k, v in expected_arrays.items())
        assert load_trained(store, run_id).evaluate()["loss"] == alone.row["loss"]


def test_members_of_a_population_keep_their_own_weights(tmp_path):
    points = product(BASE, {"optimizer.lr": [0.01, 0.1, 0.3], "steps": [12]})
    store, planned = swept(tmp_path / "s", points, "final", population=3)
    for run in planned.runs:
        alone = named_arrays(harness.train(run.run).params)
        kept = named_arrays(load_trained(store, run.run_id).params)
        for name, array in alone.items():
            np.testing.assert_allclose(kept[name], array, rtol=1e-4, atol=1e-6)


def test_an_averaging_optimiser_keeps_the_average(tmp_path):
    run = dataclasses.replace(BASE, optimizer=ScheduleFreeAdamW(lr=0.05))
    store, planned = swept(tmp_path / "s", lengths(16, run=run), "final")
    (made,) = planned.runs
    trained = load_trained(store, made.run_id)
    assert trained.evaluate()["loss"] == store.record(made.run_id)["row"]["loss"]


def test_a_worker_elsewhere_obeys_what_the_sweep_says_last(tmp_path):
    store = create_store(str(tmp_path / "s"))
    for keep in ("none", "final"):
        made = plan(lengths(8), keep)
        add_sweep(store, sweep_record(made, name="s", doc=""))
        assert plan_of_record(store.sweeps()[-1]).runs[0].keep is (keep == "final")
    with pytest.raises(SpecError, match="keep_weights is 'all'; use one of 'none', "):
        Sweep(lengths(8), "all")


def test_damaged_weights_are_named(tmp_path):
    store, planned = swept(tmp_path / "s", lengths(8), "final")
    run_id = planned.runs[0].run_id
    file = store.folder / "weights" / run_id / "model.safetensors"
    content = file.read_bytes()
    for wrong in (content[:-9], content[:-1] + b"\x07", b""):
        file.write_bytes(wrong)
        with pytest.raises(StoreError, match=r"model\.safetensors is damaged: "):
            load_trained(store, run_id)
    file.unlink()
    with pytest.raises(StoreError, match="is damaged: its 0 bytes"):
        read_weights(store, run_id)


def test_the_doctor_opens_a_run_again_whose_weights_are_damaged(tmp_path):
    store, planned = swept(tmp_path / "s", lengths(8, 16), "final")
    (run_id,) = kept_runs(store)
    assert examine(store, mend=False).ailments == []
    file = store.folder / "weights" / run_id / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-4] + b"1234")
    diagnosis = examine(store, mend=True)
    assert diagnosis.reopened == [run_id] and len(diagnosis.ailments) == 1
    work(store, planned, options=WorkerOptions(train=ALONE))
    assert file.read_bytes() == content


def test_a_longer_run_goes_on_from_the_end_of_its_trunk(tmp_path):
    """The same to the bit as if it had been asked for at once."""
    at_once, planned = swept(tmp_path / "once", lengths(8, 16, 64), "none")
    later, _ = swept(tmp_path / "later", lengths(8, 16), "trunk")
    (trunk_id,) = {run.trunk_id for run in planned.runs}
    assert (later.folder / "weights" / trunk_id / "trunk.json").is_file()
    trained = []
    listener = harness_listener(lambda progress: trained.append(progress.new_steps))
    longer = plan(lengths(8, 16, 64), "trunk")
    work(later, longer, listener, WorkerOptions(train=ALONE))
    # Of the shared 32 steps 8 were there; its own 32 come after them.
    assert sum(trained) == (32 - 8) + 32
    for run in planned.runs:
        ours, theirs = (s.record(run.run_id) for s in (later, at_once))
        assert ours["row"]["loss"] == theirs["row"]["loss"]
        assert ours["row"]["train_loss"] == theirs["row"]["train_loss"]
        assert ours["metrics"]["rows"] == theirs["metrics"]["rows"]


def harness_listener(progress):
    from harness.workers.listener import Listener

    return dataclasses.replace(Listener(), progress=progress)


def test_a_damaged_end_of_a_trunk_is_passed_over(tmp_path):
    store, planned = swept(tmp_path / "s", lengths(8, 16), "trunk")
    (trunk_id,) = {run.trunk_id for run in planned.runs}
    file = store.folder / "weights" / trunk_id / "trunk.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"1234")
    work(store, made := plan(lengths(8, 16, 64)), options=WorkerOptions(train=ALONE))
    assert store.finished() == {run.run_id for run in made.runs}


def test_a_run_starts_from_anothers_weights_with_a_fresh_optimiser(tmp_path):
    source = plan(lengths(16)).runs[0]
    tuned = dataclasses.replace(
        BASE, optimizer=SGD(lr=0.01), steps=8, start_from=source.run_id
    )
    store, planned = swept(
        tmp_path / "s", [*lengths(16), *lengths(8, run=tuned)], "none"
    )
    assert kept_runs(store) == {source.run_id}
    by_steps = {run.run.steps: store.record(run.run_id) for run in planned.runs}
    params = load_trained(store, source.run_id).params
    alone = harness.train(tuned, params=params)
    assert by_steps[8]["row"]["loss"] == alone.row["loss"]
    assert by_steps[8]["spec"]["start_from"] == source.run_id
    # One step from there is near there.
    one = harness.train(dataclasses.replace(tuned, steps=1), params=params)
    assert one.row["loss"] == pytest.approx(by_steps[16]["row"]["loss"], rel=0.05)
    with pytest.raises(SpecError, match="starts from another's weights; give them"):
        harness.train(tuned)


def test_what_cannot_be_started_from_is_refused_before_training(tmp_path):
    source = plan(lengths(16)).runs[0]
    wider = dataclasses.replace(BASE, model=MLP(width=9), start_from=source.run_id)
    with pytest.raises(SpecError, match=r"weight 'head\.kernel' has shape \(6, 1"):
        check_starts(plan([*lengths(16), *lengths(8, run=wider)]), None)
    nowhere = dataclasses.replace(BASE, start_from="0" * 16)
    with pytest.raises(SpecError, match=r"neither a run .* kept \(none are\)"):
        check_starts(plan(lengths(8, run=nowhere)), None)
    with pytest.raises(SpecError, match="start_from is 'best'; give the id of a run"):
        dataclasses.replace(BASE, start_from="best")


def test_what_starts_from_a_cancelled_run_is_not_waited_for(tmp_path):
    from harness.store import requests

    source = plan(lengths(16)).runs[0]
    tuned = dataclasses.replace(BASE, start_from=source.run_id)
    store = create_store(str(tmp_path / "s"))
    requests.request_cancel(store, source.run_id)
    made = plan([*lengths(16), *lengths(8, run=tuned)])
    work(store, made, options=WorkerOptions(train=ALONE))
    assert store.finished() == set()


def test_nothing_looks_at_weights_but_who_asks_for_them(tmp_path, monkeypatch):
    from harness.store.files import LocalFiles
    from harness.store.status import sweep_status

    store, planned = swept(tmp_path / "s", lengths(8, 16), "each length")
    asked = []
    for method in ("read", "names", "exists"):
        plain = getattr(LocalFiles, method)

        def noting(self, name, plain=plain):
            asked.append(name)
            return plain(self, name)

        monkeypatch.setattr(LocalFiles, method, noting)
    opened = open_store(store.uri)
    sweep_status(opened)
    work(opened, planned, options=WorkerOptions(train=ALONE))
    harness_store = [name for name in asked if name.startswith("weights")]
    assert harness_store == [] and asked
    shutil.rmtree(store.folder / "weights")
    assert not has_weights(store, planned.runs[0].run_id)
