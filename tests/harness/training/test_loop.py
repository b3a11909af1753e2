"""Training: the same run gives the same numbers however it is trained."""

import dataclasses
import json
import logging
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from harness import (
    CNN,
    MLP,
    SGD,
    WSD,
    AdamW,
    Constant,
    Cosine,
    RunSpec,
    SmoothedLikelihood,
    TeacherStudent,
    Text,
    Transformer,
)
from harness.data import dataset as dataset_module
from harness.data.dataset import load
from harness.families.build import build
from harness.specs.reading import resolve
from harness.store.schema import RUN_TYPES
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import cohort_key
from harness.training import batches, loop, program
from harness.training.history import common_grid
from harness.training.losses import cross_entropy
from harness.training.metrics import whole
from harness.training.step import DRAWS
from harness.workers.record import metric_rows, run_record
from tests.harness.data.test_images import spec_of as images_of
from tests.harness.data.test_images import write_mnist
from tests.harness.keepers import Forgetful
from tests.harness.strategies import mlp_run, planned, text_run

PROGRAMS = {}
"""One compilation per program in the whole module."""


def program_for(*runs):
    run, members = runs[0], batches.ProgramShape.of(runs)
    key = (cohort_key(run), members, batches.SHORTEST, dataset_module.DEVICE_BYTES)
    dataset = load(run.data, run.seed_data)
    if key not in PROGRAMS:
        PROGRAMS[key] = program.compile_cohort(runs, dataset, TrainOptions())
    return PROGRAMS[key].with_data(dataset, run)


def train_all(*runs):
    """Results by run id, trained as planned, one trunk after another."""
    results = {}
    for cohort in planned(*runs).cohorts:
        for trunk in cohort.trunks:
            results |= train_together(trunk)
    return results


def train_together(*trunks):
    """Results by run id of trunks that are trained side by side."""
    compiled = program_for(*(trunk.runs[0].run for trunk in trunks))
    groups = loop.train_trunks(trunks, compiled, Forgetful())
    return {r.planned.run_id: r for group in groups for r in group.results}


def rows_of(result):
    """Metric rows without the clock."""
    rows = metric_rows(result.planned, result.history, annealed=result.annealed)
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in rows]


def record_of(result):
    return run_record(result, attempts=1, metrics={})


@pytest.mark.parametrize("kind", [WSD, Cosine, Constant])
@pytest.mark.parametrize("make", [text_run, mlp_run])
def test_a_branch_of_a_trunk_is_the_run_trained_alone(make, kind):
    base = make(optimizer=AdamW(lr=1e-2), schedule=kind(warmup=3))
    # 11 and 24 lie off the grid of evaluations that all lengths have in common.
    runs = [dataclasses.replace(base, steps=steps) for steps in (11, 24, 150)]
    together = train_all(*runs)
    assert len(planned(*runs).cohorts[0].trunks) == 1
    for run in runs:
        ((run_id, alone),) = train_all(run).items()
        assert rows_of(alone) == rows_of(together[run_id])
        assert alone.history.losses == together[run_id].history.losses


def test_numbers_do_not_depend_on_the_chunk_length(monkeypatch):
    (whole,) = train_all(text_run(steps=70)).values()
    monkeypatch.setattr(batches, "SHORTEST", 7)
    monkeypatch.setattr(batches, "LONGEST", 7)
    (pieces,) = train_all(text_run(steps=70)).values()
    assert rows_of(whole) == rows_of(pieces)


def test_numbers_do_not_depend_on_where_the_data_live(monkeypatch):
    for make in (text_run, mlp_run):
        (on_device,) = train_all(make()).values()
        monkeypatch.setattr(dataset_module, "DEVICE_BYTES", 0)
        (on_host,) = train_all(make()).values()
        monkeypatch.undo()
        assert rows_of(on_device) == rows_of(on_host)


def test_training_equals_a_plain_loop():
    """The compiled chunk against a loop that anybody would write with optax."""
    import optax

    run = dataclasses.replace(
        text_run(steps=12),
        optimizer=AdamW(lr=0.02, weight_decay=0.1),
        schedule=WSD(warmup=4),
    )
    (result,) = train_all(run).values()
    resolved = dataclasses.replace(run, data=resolve(run.data))
    source = load(resolved.data, 0)
    model = build(run.model, run.data.shape)
    params = model.init(jax.random.key(0))

    @jax.jit
    @jax.value_and_grad
    def grad(p, x, y):
        return cross_entropy(model.apply(p, x), y).mean()

    def rate(step):
        decay = 1 - np.sqrt(max(0, step - 10) / 2)
        return 0.02 * min(1, (step + 1) / 4) * decay

    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(b1=0.9, b2=0.95)
    )
    state, losses = opt.init(params), []
    for step in range(12):
        index = source.order(0, 4, step, step + 1)[0]
        x, y = source.gather(source.train, source.locate(index))

        value, grads = grad(params, x.astype(np.int32), y.astype(np.int32))
        losses.append(float(value))
        update, state = opt.update(grads, state)
        # Decoupled weight decay, on matrices only.
        decayed = jax.tree.map(lambda p, u: u + 0.1 * p * (p.ndim >= 2), params, update)
        params = optax.tree.add_scale(params, -rate(step), decayed)
    np.testing.assert_allclose(result.history.losses, losses, rtol=2e-4)


def test_evaluation_grid_is_geometric_and_common_to_all_lengths():
    long, short = common_grid(10_000, 8), common_grid(777, 8)
    assert short == [step for step in long if step <= 777]
    assert sum(1000 <= step < 2000 for step in long) == 8
    assert common_grid(1, 8) == [1]
    (result,) = train_all(text_run(steps=77)).values()
    steps = [e.step for e in result.history.evaluations]
    assert steps == [*common_grid(77, 8), 77]


def test_loss_falls_and_standard_error_is_that_of_the_mean():
    (result,) = train_all(text_run(steps=200)).values()
    first, last = result.history.evaluations[0], result.history.evaluations[-1]
    assert first.loss > 5 and last.loss < 3.5
    assert 0 < last.loss_se < 0.5


def test_a_diverged_run_is_a_row_however_it_was_trained():
    base = text_run(optimizer=AdamW(lr=1e9, weight_decay=1e9, clip=0.0), schedule=WSD())
    runs = [dataclasses.replace(base, steps=steps) for steps in (40, 80)]
    for run_id, result in train_all(*runs).items():
        assert result.status == "diverged"
        record = record_of(result)
        assert record["row"]["loss"] is None and not record["row"]["annealed"]
        assert record["row"]["diverged_step"] == result.history.diverged_step
        (alone,) = train_all(result.planned.run).values()
        assert alone.planned.run_id == run_id
        np.testing.assert_array_equal(alone.history.losses, result.history.losses)
        assert rows_of(alone) == rows_of(result)
        assert not any(row["annealed"] for row in rows_of(result))


@pytest.mark.parametrize("lr", [10.0, 1e3])
def test_a_run_that_ends_far_above_the_uniform_guess_has_diverged(lr):
    """Every loss is finite: that it has diverged is seen at the end."""
    run = text_run(steps=24, optimizer=AdamW(lr=lr, clip=0.0))
    (result,) = train_all(run).values()
    final = result.history.evaluations[-1]
    assert final.loss > math.log(256) and result.history.diverged_step is None
    row = record_of(result)["row"]
    assert (row["status"], row["diverged_step"]) == ("diverged", final.step)
    assert row["loss"] is None and not row["annealed"]


@pytest.mark.parametrize("make", [text_run, mlp_run])
def test_the_columns_of_every_row_have_a_type_that_does_not_hang_on_the_values(make):
    (result,) = train_all(make(steps=4)).values()
    row = record_of(result)["row"]
    final = result.history.evaluations[-1]
    of_this_run = result.planned.run.flat().keys() | whole(final.metrics).keys()
    # A run's place in a sweep is not in its record.
    assert row.keys() - of_this_run == RUN_TYPES.keys() - {"sweep", "sweep_id"}


def test_only_the_end_of_a_decay_is_annealed():
    for schedule, expected in ((WSD(), [True]), (Cosine(), [True]), (Constant(), [])):
        (result,) = train_all(text_run(schedule=schedule)).values()
        rows = [row for row in rows_of(result) if row["metric"] == "loss"]
        flags = [row["annealed"] for row in rows if row["split"] == "eval"]
        assert [f for f in flags if f] == expected
        assert flags[-1] is bool(expected)


def test_runs_that_differ_in_hyperparameters_alone_are_one_cohort():
    base = mlp_run()
    choices = [
        (AdamW(lr=1e-2), WSD()),
        (AdamW(lr=2e-2, weight_decay=0.1, beta1=0.8, beta2=0.9), WSD(warmup=3)),
        (AdamW(lr=1e-2, clip=0.0, eps=1e-6), Cosine(final=0.1)),
    ]
    made = planned(
        *[
            dataclasses.replace(base, optimizer=o, schedule=s, seed_init=i)
            for i, (o, s) in enumerate(choices)
        ],
        dataclasses.replace(base, steps=99),
    )
    assert len(made.cohorts) == 1


def test_bfloat16_trains_to_nearly_the_same_loss():
    (full,) = train_all(text_run(steps=100)).values()
    (half,) = train_all(text_run(steps=100, precision="bfloat16")).values()
    a, b = (r.history.evaluations[-1].loss for r in (full, half))
    assert a != b and a == pytest.approx(b, abs=0.05)


def test_epochs_and_unique_tokens_are_recorded():
    corpus = Text(context=16, eval_sequences=8, unique_tokens=320)
    (result,) = train_all(text_run(data=corpus, steps=20)).values()
    row = record_of(result)["row"]
    assert row["unique_tokens"] == 320 and row["tokens"] == 1280
    assert row["epochs"] == 4


def test_sgd_fits_a_teacher():
    run = mlp_run(
        data=TeacherStudent(inputs=4, teacher_width=4, unique_examples=4096),
        optimizer=SGD(lr=0.05, momentum=0.9),
        schedule=WSD(),
        batch=64,
        steps=400,
    )
    (result,) = train_all(run).values()
    losses = [e.loss for e in result.history.evaluations]
    assert losses[-1] < 0.3 * losses[0]


def test_seeds_change_what_they_name():
    base = train_all(text_run())
    for field in ("seed_init", "seed_order"):
        changed = train_all(text_run(**{field: 1}))
        (a,), (b,) = base.values(), changed.values()
        assert a.history.losses != b.history.losses


def test_wide_and_deep_options_train():
    model = Transformer(
        width=16, depth=2, heads=4, kv_heads=2, mlp="swiglu", positions="learned"
    )
    (result,) = train_all(text_run(model=model, steps=30)).values()
    assert result.history.losses[-1] < result.history.losses[0]


def assert_close(alone, together):
    """A member of a population is the run trained by itself, up to rounding."""
    assert together.status == alone.status
    np.testing.assert_allclose(
        together.history.losses, alone.history.losses, rtol=2e-3, atol=2e-5
    )
    one, other = alone.history.evaluations, together.history.evaluations
    assert [e.step for e in one] == [e.step for e in other]
    np.testing.assert_allclose(
        [e.loss for e in other], [e.loss for e in one], rtol=2e-3, atol=2e-5
    )


@pytest.mark.parametrize("room", [True, False], ids=["resident", "brought"])
@pytest.mark.parametrize("orders", [(0, 1, 2), (0, 0, 0)], ids=["own", "common"])
@pytest.mark.parametrize("make", [text_run, mlp_run])
def test_a_population_agrees_with_runs_trained_alone(make, orders, room, monkeypatch):
    if not room:
        monkeypatch.setattr(dataset_module, "DEVICE_BYTES", 0)
    choices = [
        {"optimizer": AdamW(lr=1e-2), "schedule": WSD(warmup=3)},
        {
            "optimizer": AdamW(lr=3e-3, weight_decay=0.1, beta1=0.8),
            "schedule": WSD(warmup=3),
        },
        {"optimizer": AdamW(lr=1e-2, clip=0.1), "schedule": WSD(warmup=5)},
    ]
    runs = [
        make(**choice, steps=steps, seed_init=seed, seed_order=order)
        for seed, (choice, order) in enumerate(zip(choices, orders, strict=True))
        for steps in (11, 24, 90)
    ]
    (cohort,) = planned(*runs).cohorts
    assert len(cohort.trunks) == 3
    together = train_together(*cohort.trunks)
    assert {r.population for r in together.values()} == {3}
    for run_id, alone in train_all(*runs).items():
        assert_close(alone, together[run_id])


def test_members_that_see_the_same_batches_are_given_them_once():
    run = mlp_run()
    other = dataclasses.replace(
        run, optimizer=AdamW(lr=0.5), schedule=WSD(), seed_init=1
    )
    apart = dataclasses.replace(run, seed_order=1)
    for runs, shape in (((run, other), ()), ((run, apart), (2,)), ((run,), ())):
        _, given = batches.batches_of(load(run.data, 0), runs, 3, 7, chunk=8)
        assert given.offsets_SB.shape == (*shape, 8, run.batch)
        assert given.seed.shape == shape
        assert given.lr_S.shape == ((len(runs),) if len(runs) > 1 else ()) + (8,)


def test_what_is_random_in_a_step_is_that_of_each_run_alone():
    """Dropout, drawn once for members of one order and apart for others."""
    base = mlp_run(model=MLP(width=8, dropout=0.5), steps=30)
    for orders in ((0, 0), (0, 1)):
        runs = [
            dataclasses.replace(base, seed_init=seed, seed_order=order)
            for seed, order in enumerate(orders)
        ]
        (cohort,) = planned(*runs).cohorts
        together = train_together(*cohort.trunks)
        for run_id, alone in train_all(*runs).items():
            assert_close(alone, together[run_id])


def test_a_member_that_diverges_leaves_the_others_alone():
    optimizers = [
        AdamW(lr=1e9, clip=0.0, weight_decay=1e9),
        AdamW(lr=1e-2),
        AdamW(lr=2e-2),
    ]
    (cohort,) = planned(*[text_run(optimizer=o, steps=40) for o in optimizers]).cohorts
    together = train_together(*cohort.trunks).values()
    assert [result.status for result in together] == ["diverged", "done", "done"]
    for result in together:
        (alone,) = train_all(result.planned.run).values()
        assert_close(alone, result)


def test_members_stop_at_the_end_of_their_own_patience():
    runs = [mlp_run(steps=400, patience=2, seed_init=seed) for seed in range(3)]
    (cohort,) = planned(*runs).cohorts
    together = train_together(*cohort.trunks)
    stops = {result.stopped_step for result in together.values()}
    assert len(stops) > 1
    for run_id, alone in train_all(*runs).items():
        assert together[run_id].stopped_step == alone.stopped_step
        assert len(together[run_id].history.losses) == len(alone.history.losses)


def test_training_copies_nothing_unasked_and_compiles_nothing(caplog):
    """All lengths, rates and seeds of a cohort are trained by what is compiled."""
    runs = [
        text_run(steps=steps, optimizer=AdamW(lr=lr), schedule=WSD(), seed_init=seed)
        for lr, seed in ((1e-2, 0), (2e-2, 1))
        for steps in (11, 70)
    ]
    (cohort,) = planned(*runs).cohorts
    compiled = program_for(cohort.runs[0].run)
    train_together(cohort.trunks[0])
    caplog.set_level(logging.DEBUG, "jax._src.dispatch")
    with jax.transfer_guard("disallow"):
        for trunk in cohort.trunks:
            assert len(list(loop.train_trunks([trunk], compiled, Forgetful())))
    assert not [m for m in caplog.messages if "XLA compilation" in m]


def test_a_cohort_is_three_compilations_and_none_with_a_warm_cache(tmp_path):
    """Two cohorts, in fresh processes, as workers are."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.harness.compiling", str(tmp_path / str(k))],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for k in range(2)
    ]
    cold, warm = map(json.loads, told)
    assert cold["missed"]["jit_train_chunk"] == 2
    assert cold["missed"]["jit_evaluate"] == cold["missed"]["jit_init"] == 2
    assert not warm["missed"]


def test_mixed_images_are_trained_on_mixed_classes(tmp_path):
    """The loss of the first step is that of the mixed targets; held-out ones are not
    mixed, and label smoothing goes with it."""
    write_mnist(tmp_path / "set")
    run = RunSpec(
        model=CNN(channels=(2,)),
        data=images_of(tmp_path / "set", mixup=1.0),
        optimizer=AdamW(lr=0.0),
        schedule=Constant(),
        loss=SmoothedLikelihood(label_smoothing=0.1),
        batch=8,
        steps=4,
    )
    (result,) = train_all(run).values()
    resolved = dataclasses.replace(run, data=resolve(run.data))
    source = load(resolved.data, 0)
    model = build(run.model, run.data.shape)
    params = model.init(jax.random.key(0))
    for step, loss in enumerate(result.history.losses):
        index = source.order(0, 8, step, step + 1)[0]
        x, y = source.gather(source.train, index)
        key = jax.random.fold_in(jax.random.key(0), DRAWS)
        vary, _ = jax.random.split(jax.random.fold_in(key, step))
        mixed, targets = source.augment(vary, x, y)
        assert targets.shape == (8, 4) and np.any((targets > 0) & (targets < 1))
        soft = 0.9 * np.asarray(targets) + 0.1 / 4
        nats = -(soft * jax.nn.log_softmax(model.apply(params, mixed))).sum(axis=1)
        assert loss == pytest.approx(float(nats.mean()), rel=1e-5)
    x, y = source.gather(source.held_out, source.eval_offsets)
    plain = cross_entropy(model.apply(params, x), y).mean()
    assert result.history.evaluations[-1].loss == pytest.approx(float(plain), rel=1e-5)
    assert 0 <= result.history.evaluations[-1].metrics["accuracy"] <= 1
