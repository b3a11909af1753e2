"""Evaluation of training examples: what is measured on them, and that it is exact."""

import dataclasses

import jax
import numpy as np
import pytest

import harness
from harness import MLP, SGD, WSD, Constant, RunSpec, TwoMoons
from harness.data.dataset import load
from harness.errors import SpecError
from harness.families.build import build
from harness.specs.base import spec
from harness.specs.loss import Metric
from harness.specs.reading import resolve
from harness.sweeps.plan import cohort_key
from harness.workers.record import metric_rows, run_record
from tests.harness.strategies import planned, text_run
from tests.harness.training.test_loop import rows_of, train_all

MOONS = RunSpec(
    model=MLP(width=8, depth=1, activation="tanh"),
    data=TwoMoons(unique_examples=60, eval_examples=50),
    optimizer=SGD(lr=0.2, clip=0.0),
    schedule=WSD(),
    batch=60,
    steps=40,
    evals_per_octave=1,
    train_eval_examples=60,
)


def values(result, split):
    """Metric to value, at the end of the run."""
    rows = metric_rows(result.planned, result.history, annealed=True)
    last = max(row["step"] for row in rows)
    return {
        row["metric"]: row["value"]
        for row in rows
        if row["split"] == split and row["step"] == last
    }


def test_training_accuracy_is_the_share_of_training_points_on_their_side():
    (result,) = train_all(MOONS).values()
    on_train = values(result, "train")
    assert set(on_train) == {"loss", "evaluated_loss", "accuracy", "error", "r2"}
    row = run_record(result, attempts=1, metrics={})["row"]
    assert row["train_accuracy"] == on_train["accuracy"] == 1 - on_train["error"]
    # With full batches the loss of the next step is that of all points before it.
    longer = dataclasses.replace(MOONS, steps=41, schedule=Constant())
    shorter = dataclasses.replace(longer, steps=40)
    (a,), (b,) = train_all(longer).values(), train_all(shorter).values()
    after_40 = values(b, "train")["evaluated_loss"]
    assert a.history.losses[40] == pytest.approx(after_40, rel=1e-5)


def test_before_training_teaches_anything_it_is_that_of_the_initial_network():
    still = dataclasses.replace(MOONS, optimizer=SGD(lr=0.0), schedule=WSD())
    (result,) = train_all(still).values()
    source = load(MOONS.data, 0)
    model = build(MOONS.model, MOONS.data.shape)
    outputs = model.apply(model.init(jax.random.key(0)), source.train["x"])
    right = (np.asarray(outputs) > 0) == (source.train["y"] > 0)
    assert values(result, "train")["accuracy"] == pytest.approx(right.mean())


def test_a_sample_is_of_the_unique_examples_and_never_more_than_there_are():
    few = dataclasses.replace(
        text_run(), train_eval_examples=10**6, data=text_run().data
    )
    few = dataclasses.replace(
        few, data=dataclasses.replace(few.data, unique_tokens=20 * 16)
    )
    resolved = dataclasses.replace(few, data=resolve(few.data))
    assert resolved.train_evaluated == 20
    source = load(resolved.data, 0)
    arrays, offsets = source.sample(20)
    sampled, _ = source.gather(arrays, offsets)
    chosen, _ = source.gather(source.train, source.locate(source.examples))
    np.testing.assert_array_equal(sampled, chosen)
    assert set(values(*train_all(few).values(), "train")) == {"loss", "evaluated_loss"}


def test_it_changes_neither_the_training_nor_the_id_of_runs_without_it():
    without = dataclasses.replace(MOONS, train_eval_examples=0)
    (a,), (b,) = train_all(MOONS).values(), train_all(without).values()
    assert a.history.losses == b.history.losses
    assert [r for r in rows_of(b) if r["split"] == "eval"] == [
        {**r, "run_id": b.planned.run_id} for r in rows_of(a) if r["split"] == "eval"
    ]
    assert "train_eval_examples" not in without.identity()
    assert without.run_id != MOONS.run_id
    halved = dataclasses.replace(MOONS, train_eval_examples=30)
    assert cohort_key(halved) != cohort_key(MOONS)
    assert len(planned(MOONS, without).cohorts) == 2


@spec
class Hits(Metric):
    """Share of tokens whose likeliest guess is right."""

    name = "hits"
    implementation = f"{__name__}:hits"


def hits(logits, targets, h):
    assert h.task.target == "next_token"
    return (logits.argmax(axis=-1) == targets).mean(axis=-1, dtype="float32")


def test_next_tokens_have_metrics_of_ones_own():
    trained = harness.train(text_run(steps=8, metrics=(Hits(),)))
    data = load(trained.run.data, 0)
    tokens, targets = data.gather(data.held_out, data.eval_offsets)
    model = build(trained.run.model, trained.run.data.shape)
    logits = np.asarray(model.apply(trained.params, tokens.astype(np.int32)))
    expected = (logits.argmax(axis=-1) == targets).mean()
    assert trained.row["hits"] == pytest.approx(expected, abs=1e-6)
    assert trained.row["metrics.hits.code"]


def test_a_metric_needs_a_column_and_room():
    @spec
    class All(Metric):
        name = "all_of_them"
        whole = True
        implementation = f"{__name__}:hits"

    with pytest.raises(SpecError, match="all outputs at once, which next tokens"):
        text_run(metrics=(All(),))
    with pytest.raises(SpecError, match="metrics: hits stands there twice"):
        text_run(metrics=(Hits(), Hits()))
