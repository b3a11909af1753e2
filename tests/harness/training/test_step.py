"""Losses, penalties and what is random in a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import (
    MLP,
    SGD,
    WSD,
    AdamW,
    Constant,
    RunSpec,
    SmoothedLikelihood,
    Transformer,
)
from harness.data.dataset import Dataset, load
from harness.errors import SpecError
from harness.schedules.rates import learning_rates
from harness.specs.base import spec
from harness.specs.run import DataSpec
from harness.specs.task import TaskShape
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import cohort_key
from harness.training import batches, loop, program
from harness.training.losses import cross_entropy
from harness.workers.record import metric_rows, run_record
from tests.harness.keepers import Forgetful
from tests.harness.strategies import TINY_TEXT, mlp_run, planned, text_run


@spec
class Blobs(DataSpec):
    """Three Gaussian classes in the plane, which the tests hand over themselves."""

    source = "test_blobs"
    reader = __name__
    noisy: bool = False

    @property
    def shape(self):
        return TaskShape(kind="vectors", length=1, inputs=2, outputs=3, target="class")

    @property
    def unique(self):
        return 60


def blobs(*, noisy=False, augment=None):
    rng = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.int32) % 3
    centres = np.array([[2, 0], [-2, 0], [0, 2]], np.float32)
    x = centres[labels] + rng.standard_normal((60, 2)).astype(np.float32)
    if noisy:
        labels = rng.integers(0, 3, 60).astype(np.int32)
    half = {"x": x[:30], "y": labels[:30]}, {"x": x[30:], "y": labels[30:]}
    return Dataset(
        train=half[0],
        held_out=half[1],
        eval_offsets=np.arange(30),
        examples=30,
        locate=lambda index: index,
        gather=lambda arrays, at: (arrays["x"][at], arrays["y"][at]),
        subset=lambda arrays, at: (
            {k: v[at.reshape(-1)] for k, v in arrays.items()},
            np.arange(at.size).reshape(at.shape),
        ),
        augment=augment,
    )


def run_of(**changes):
    base = RunSpec(
        model=MLP(width=8, depth=1),
        data=Blobs(),
        optimizer=AdamW(lr=1e-2),
        schedule=Constant(),
        batch=10,
        steps=20,
    )
    return dataclasses.replace(base, **changes)


PROGRAMS = {}
"""One compilation per program in the whole module."""


def trained(run, dataset):
    trunk = planned(run).cohorts[0].trunks[0]
    key = (run.model, cohort_key(run), dataset.augment, batches.SHORTEST)
    if key not in PROGRAMS:
        PROGRAMS[key] = program.compile_cohort([run], dataset, TrainOptions())
    compiled = PROGRAMS[key].with_data(dataset, run)
    (finished,) = loop.train_trunks([trunk], compiled, Forgetful())
    return finished.results[0]


def losses(run, dataset):
    return trained(run, dataset).history.losses


def test_label_smoothing_is_the_mixture_with_the_uniform_distribution():
    logits = jax.random.normal(jax.random.key(0), (5, 4))
    labels = jnp.array([0, 3, 1, 1, 2])
    mixed = 0.7 * jax.nn.one_hot(labels, 4) + 0.3 / 4
    expected = -(mixed * jax.nn.log_softmax(logits)).sum(axis=-1)
    np.testing.assert_allclose(cross_entropy(logits, labels, 0.3), expected, rtol=1e-5)
    np.testing.assert_allclose(cross_entropy(logits, mixed), expected, rtol=1e-5)
    sequences = cross_entropy(logits[None], labels[None])
    assert sequences.shape == (1,)
    np.testing.assert_allclose(sequences[0], cross_entropy(logits, labels).mean())


def test_penalties_are_added_to_the_gradient_of_matrices_alone():
    """One step of plain gradient descent from the same start, against the formula."""
    plain = run_of(optimizer=SGD(lr=0.1, clip=0.0), schedule=Constant(), steps=1)
    penal = dataclasses.replace(plain, l1=0.02, l2=0.03)
    after = {}
    for run in (plain, penal):
        compiled = program.compile_cohort([run], blobs(), TrainOptions())
        start = compiled.start([run]).params
        after[run], _ = compiled.train(compiled.start([run]), [run], 0, 1)
    pull = jax.tree.map(lambda p: 0.02 * np.sign(p) + 0.06 * p, start)
    for path, p in jax.tree.leaves_with_path(after[plain].params):
        moved = jax.tree_util.tree_leaves_with_path(after[penal].params)
        q = dict(moved)[path]
        g = dict(jax.tree_util.tree_leaves_with_path(pull))[path]
        expected = p - 0.1 * g if p.ndim == 2 else p
        np.testing.assert_allclose(q, expected, atol=1e-6)


def test_recorded_losses_leave_penalties_out():
    base = run_of(optimizer=AdamW(lr=0.0), schedule=Constant())
    heavy = dataclasses.replace(base, l2=9.0)
    assert losses(base, blobs()) == losses(heavy, blobs())
    smooth = dataclasses.replace(base, loss=SmoothedLikelihood(label_smoothing=0.5))
    plain, smoothed = (trained(run, blobs()) for run in (base, smooth))
    assert plain.history.losses != smoothed.history.losses
    a, b = (r.history.evaluations[-1].loss for r in (plain, smoothed))
    assert a == b


def shake(key, inputs, targets):
    return inputs + jax.random.normal(key, inputs.shape), targets


def test_augmentation_and_dropout_do_not_depend_on_chunks_and_spare_evaluation(
    monkeypatch,
):
    model = MLP(width=8, depth=1, dropout=0.5)
    run = run_of(model=model, optimizer=AdamW(lr=0.0), schedule=Constant())
    still, shaken = blobs(), blobs(augment=shake)
    whole = trained(run, shaken)
    monkeypatch.setattr(batches, "SHORTEST", 7)
    monkeypatch.setattr(batches, "LONGEST", 7)
    assert losses(run, shaken) == whole.history.losses
    # With a learning rate of 0 only the draws differ between steps and seeds.
    assert len(set(whole.history.losses[0::3])) > 1
    assert losses(dataclasses.replace(run, seed_order=1), shaken)
    plain = trained(run_of(optimizer=run.optimizer, schedule=run.schedule), still)
    assert plain.history.losses != whole.history.losses
    for a, b in zip(plain.history.evaluations, whole.history.evaluations, strict=True):
        assert (a.loss, a.metrics) == (b.loss, b.metrics)


def test_a_classifier_learns_and_its_metrics_are_rows():
    result = trained(run_of(steps=200), blobs())
    final = result.history.evaluations[-1]
    assert final.metrics["accuracy"] > 0.8
    rows = metric_rows(result.planned, result.history, annealed=False)
    last = {r["metric"]: r["value"] for r in rows if r["step"] == 200}
    assert {"accuracy/0", "accuracy/1", "accuracy/2", "macro_f1", "loss"} <= set(last)
    assert np.mean([last[f"accuracy/{v}"] for v in range(3)]) == pytest.approx(
        last["accuracy"]
    )
    row = run_record(result, attempts=1, metrics={})["row"]
    assert row["error"] == 1 - row["accuracy"] and "accuracy/0" not in row
    assert row["tokens"] == 200 * 10 and row["stopped_step"] is None


def test_soft_targets_train():
    def mix(key, inputs, targets):
        soft = jax.nn.one_hot(targets, 3)
        return (inputs + inputs[::-1]) / 2, (soft + soft[::-1]) / 2

    found = losses(run_of(steps=100), blobs(augment=mix))
    assert found[-1] < found[0]


def test_patience_stops_a_run_and_is_recorded():
    """Labels are noise: the held-out loss soon only rises."""
    run = run_of(data=Blobs(noisy=True), model=MLP(width=64), steps=2000, patience=3)
    result = trained(run, blobs(noisy=True))
    stopped = result.stopped_step
    evaluated = [e.loss for e in result.history.evaluations]
    assert stopped == result.history.evaluations[-1].step < 2000
    assert min(evaluated) == evaluated[-4] and not result.annealed
    row = run_record(result, attempts=1, metrics={})["row"]
    assert row["stopped_step"] == stopped and row["tokens"] == stopped * 10
    assert row["flops_train"] * 2000 == result.planned.counts.flops_train * stopped
    full = trained(dataclasses.replace(run, patience=0), blobs(noisy=True))
    assert full.history.losses[:stopped] == result.history.losses


def test_a_run_with_patience_shares_no_trunk():
    runs = [mlp_run(steps=steps, patience=2) for steps in (50, 100)]
    assert len(planned(*runs).cohorts[0].trunks) == 2
    runs = [mlp_run(steps=steps) for steps in (50, 100)]
    assert len(planned(*runs).cohorts[0].trunks) == 1


def test_what_a_penalty_weighs_is_data_and_that_it_acts_is_the_program():
    def key(**penalties):
        return cohort_key(mlp_run(**penalties))

    assert key(l1=0.1) == key(l1=0.2) != key()
    assert len({key(), key(l1=0.1), key(l2=0.1), key(l1=0.1, l2=0.1)}) == 4


def test_a_mixture_of_experts_trains_with_a_balance():
    model = Transformer(width=16, depth=1, heads=2, experts=4, top_k=1)
    run = text_run(model=model, data=TINY_TEXT, steps=60)
    from harness.data.dataset import load

    trunk = planned(run).cohorts[0].trunks[0]
    run = trunk.runs[0].run
    compiled = program.compile_cohort([run], load(run.data, 0), TrainOptions())
    (finished,) = loop.train_trunks([trunk], compiled, Forgetful())
    history = finished.results[0].history
    assert history.losses[-1] < history.losses[0]
    assert all(0 <= e.metrics["dropped"] < 1 for e in history.evaluations)


def test_smoothing_needs_a_distribution_and_mup_needs_adam():
    with pytest.raises(SpecError, match="label_smoothing has no effect on real"):
        mlp_run(
            optimizer=AdamW(lr=1e-3),
            schedule=WSD(),
            loss=SmoothedLikelihood(label_smoothing=0.1),
        )
    with pytest.raises(SpecError, match=r"needs optimizer 'adamw'.*, not 'sgd'"):
        mlp_run(model=MLP(width=8, mup_base=4), optimizer=SGD(lr=1e-3), schedule=WSD())


def test_an_optimiser_and_a_schedule_from_outside_train_alone_and_side_by_side():
    from tests.harness import new_optimizer

    runs = [
        mlp_run(
            optimizer=new_optimizer.SignMomentum(lr=lr),
            schedule=new_optimizer.Straight(),
        )
        for lr in (1e-3, 2e-3)
    ]
    (cohort,) = planned(*runs).cohorts
    assert all(run.branch_step == 16 for run in cohort.runs)
    data = load(runs[0].data, 0)
    losses = []
    for trunks in ([cohort.trunks[0]], cohort.trunks):
        members = [trunk.runs[0].run for trunk in trunks]
        compiled = program.compile_cohort(members, data, TrainOptions())
        (finished,) = loop.train_trunks(trunks, compiled, Forgetful())
        results = finished.results
        assert all(result.annealed for result in results)
        losses.append(results[0].history.losses)
    np.testing.assert_allclose(*losses, rtol=1e-5)
    rates = learning_rates(runs[0], 15, 20)
    np.testing.assert_allclose(rates, 1e-3 * np.array([1, 1, 0.75, 0.5, 0.25]))
