"""Training: the same run gives the same numbers however it is trained."""

import dataclasses

import jax
import numpy as np
import pytest

from harness import (
    CNN,
    OptimSpec,
    RunSpec,
    TeacherStudent,
    Text,
    Transformer,
    data,
    train,
)
from harness.data import dataset as dataset_module
from harness.models import build
from harness.plan import cohort_key
from harness.record import metric_rows, run_record
from harness.step import DRAWS, cross_entropy
from tests.harness.strategies import mlp_run, planned, text_run
from tests.harness.test_data_images import spec_of as images_of
from tests.harness.test_data_images import write_mnist

PROGRAMS = {}
"""One compilation per program in the whole module."""


def program_for(run):
    key = (cohort_key(run), train.CHUNK, dataset_module.DEVICE_BYTES)
    dataset = data.load(run.data, run.seed_data)
    if key not in PROGRAMS:
        PROGRAMS[key] = train.compile_cohort(run, dataset)
    return PROGRAMS[key].with_data(dataset, run)


def train_all(*runs):
    """Metric rows (without the clock) and results by run id, trained as planned."""
    results = {}
    for cohort in planned(*runs).cohorts:
        first = cohort.runs[0].run
        program = program_for(first)
        for trunk in cohort.trunks:
            for result in train.train_trunk(trunk, program, train.Forgetful()):
                results[result.planned.run_id] = result
    return results


def rows_of(result):
    """Metric rows without the clock."""
    rows = metric_rows(result.planned, result.history, annealed=result.annealed)
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in rows]


def record_of(result):
    return run_record(result, attempts=1, metrics={})


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "constant"])
@pytest.mark.parametrize("make", [text_run, mlp_run])
def test_a_branch_of_a_trunk_is_the_run_trained_alone(make, schedule):
    base = make(optim=OptimSpec(lr=1e-2, warmup=3, schedule=schedule))
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
    monkeypatch.setattr(train, "CHUNK", 7)
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
        text_run(steps=12), optim=OptimSpec(lr=0.02, warmup=4, weight_decay=0.1)
    )
    (result,) = train_all(run).values()
    resolved = dataclasses.replace(run, data=data.resolve(run.data))
    source = data.load(resolved.data, 0)
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
    long, short = train.common_grid(10_000, 8), train.common_grid(777, 8)
    assert short == [step for step in long if step <= 777]
    assert sum(1000 <= step < 2000 for step in long) == 8
    assert train.common_grid(1, 8) == [1]
    (result,) = train_all(text_run(steps=77)).values()
    steps = [e.step for e in result.history.evaluations]
    assert steps == [*train.common_grid(77, 8), 77]


def test_loss_falls_and_standard_error_is_that_of_the_mean():
    (result,) = train_all(text_run(steps=200)).values()
    first, last = result.history.evaluations[0], result.history.evaluations[-1]
    assert first.loss > 5 and last.loss < 3.5
    assert 0 < last.loss_se < 0.5


def test_a_diverged_run_is_a_row_however_it_was_trained():
    base = text_run(optim=OptimSpec(lr=1e9, clip=0.0, weight_decay=1e9))
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


def test_only_the_end_of_a_decay_is_annealed():
    for schedule, expected in (("wsd", [True]), ("cosine", [True]), ("constant", [])):
        optim = OptimSpec(lr=1e-2, schedule=schedule)
        (result,) = train_all(text_run(optim=optim)).values()
        rows = [row for row in rows_of(result) if row["metric"] == "loss"]
        flags = [row["annealed"] for row in rows if row["split"] == "eval"]
        assert [f for f in flags if f] == expected
        assert flags[-1] is bool(expected)


def test_runs_that_differ_in_hyperparameters_alone_are_one_cohort():
    base = mlp_run()
    optims = [
        OptimSpec(lr=1e-2),
        OptimSpec(lr=2e-2, warmup=3, weight_decay=0.1, beta1=0.8, beta2=0.9),
        OptimSpec(lr=1e-2, clip=0.0, eps=1e-6, schedule="cosine", final=0.1),
    ]
    made = planned(
        *[
            dataclasses.replace(base, optim=o, seed_init=i)
            for i, o in enumerate(optims)
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
        optim=OptimSpec(optimizer="sgd", momentum=0.9, lr=0.05),
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


def test_mixed_images_are_trained_on_mixed_classes(tmp_path):
    """The loss of the first step is that of the mixed targets; held-out ones are not
    mixed, and label smoothing goes with it."""
    write_mnist(tmp_path / "set")
    run = RunSpec(
        model=CNN(channels=(2,)),
        data=images_of(tmp_path / "set", mixup=1.0),
        optim=OptimSpec(lr=0.0, schedule="constant", label_smoothing=0.1),
        batch=8,
        steps=4,
    )
    (result,) = train_all(run).values()
    resolved = dataclasses.replace(run, data=data.resolve(run.data))
    source = data.load(resolved.data, 0)
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
