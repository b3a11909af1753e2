"""Combinators make the grids they say they make."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import quickstart
from harness import (
    Sweep,
    Transformer,
    chain,
    isoflop,
    ladder,
    octaves,
    product,
    tune,
    with_recipe,
    with_seeds,
    zip_,
)
from harness.errors import DataError, SpecError
from harness.specs.count import count, train_flops_per_step
from harness.specs.run import ModelSpec
from harness.specs.task import TaskShape
from harness.sweeps import recipe
from harness.sweeps.plan import plan, plan_of_record, sweep_record
from harness.sweeps.sweep import Point
from tests.harness.strategies import TINY_TEXT, text_run

BYTES = TaskShape(
    kind="tokens", length=128, inputs=256, outputs=256, target="next_token"
)


def test_product_is_every_combination_with_its_coordinates():
    points = product(text_run(), {"optimizer.lr": [1e-3, 1e-2], "steps": [10, 20, 30]})
    assert [(p.run.optimizer.lr, p.run.steps) for p in points] == [
        (lr, steps) for lr in (1e-3, 1e-2) for steps in (10, 20, 30)
    ]
    assert points[4].coords == {"optimizer.lr": 1e-2, "steps": 20}


def test_combinators_nest():
    models = ladder(Transformer, [1e4, 1e5], TINY_TEXT.shape)
    grid = product(product(text_run(), {"model": models}), {"optimizer.lr": [1, 2, 3]})
    seeded = with_seeds(grid, [0, 1])
    assert len(seeded) == 12
    assert seeded[1].coords == {"model": 0, "optimizer.lr": 1, "seed": 1}
    assert {(p.run.seed_init, p.run.seed_order) for p in seeded} == {(0, 0), (1, 1)}
    assert len(chain(grid, seeded)) == 18


def test_zip_pairs_and_refuses_unequal_axes():
    points = zip_(text_run(), {"batch": [2, 4], "steps": [10, 20]})
    assert [(p.run.batch, p.run.steps) for p in points] == [(2, 10), (4, 20)]
    with pytest.raises(SpecError, match="batch: 1, steps: 2"):
        zip_(text_run(), {"batch": [2], "steps": [10, 20]})


def test_tokens_are_spent_on_whole_steps_whatever_the_order_of_axes():
    points = product(text_run(), {"tokens": [1000], "batch": [2, 8]})
    assert [(p.run.batch, p.run.steps) for p in points] == [(2, 31), (8, 7)]
    assert all(
        p.run.tokens <= 1000 < p.run.tokens + p.run.tokens_per_step for p in points
    )


@settings(max_examples=30, deadline=None)
@given(st.floats(1e9, 1e12), st.integers(1, 4))
def test_isoflop_spends_the_budget_to_the_nearest_step(budget, depth):
    models = [Transformer(width=8 * k, depth=depth, heads=2) for k in (1, 2, 3)]
    for point in isoflop(text_run(), models, [budget]):
        spent = count(point.run).flops_train
        assert abs(spent - budget) <= train_flops_per_step(point.run) / 2
        assert point.coords["compute"] == budget


def test_isoflop_window_keeps_only_what_lies_in_it():
    models = ladder(Transformer, [1e4, 4e4, 1.6e5], TINY_TEXT.shape)
    points = isoflop(text_run(), models, [1e11, 1e12], tokens_per_parameter=(5, 500))
    assert 0 < len(points) < 6
    for p in points:
        n = p.run.model.params(p.run.data.shape).matmul
        assert 5 <= p.run.tokens / n <= 500


def test_ladder_picks_the_nearest_candidate():
    """Nearest in log size: no other member of the family's rule is closer."""
    targets = [1.1e4, 9e4, 1.3e6]
    every = []
    for spec in Transformer.candidates():
        every.append(spec.params(BYTES).matmul)
        if every[-1] > 1e7:
            break
    for target, model in zip(targets, ladder(Transformer, targets, BYTES), strict=True):
        mine = model.params(BYTES).matmul
        best = min(
            every, key=lambda n: abs(n / target - 1) if n > target else target / n - 1
        )
        assert mine == best


def test_ladder_refuses_two_targets_on_one_model():
    with pytest.raises(SpecError, match="both give"):
        ladder(Transformer, [1e5, 1.01e5], BYTES)


def test_recipe_sees_the_run_it_configures():
    def rate_by_width(run):
        optimizer = dataclasses.replace(run.optimizer, lr=1 / run.model.width)
        return dataclasses.replace(run, optimizer=optimizer)

    points = product(text_run(), {"model.width": [8, 16]})
    assert [p.run.optimizer.lr for p in with_recipe(points, rate_by_width)] == [
        1 / 8,
        1 / 16,
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: product(text_run(), {"optimizer.lrr": [1]}), "did you mean lr"),
        (lambda: product(text_run(), {"token": [1]}), "did you mean tokens"),
        (lambda: product(text_run(), {"batch.size": [1]}), "no field 'size'"),
        (lambda: product(text_run(), {}), "at least one axis"),
        (lambda: product(text_run(), {"batch": []}), "'batch' has no values"),
        (
            lambda: isoflop(text_run(), [text_run().model], [1.0]),
            "smaller than one step",
        ),
        (lambda: Sweep([]), "no runs"),
        (lambda: Sweep([text_run()]), "list of points"),
        (lambda: Sweep(product(text_run(steps=0), {"batch": [4]})), "no budget"),
        (lambda: ladder(ModelSpec, [1e4], BYTES), "no aspect rule"),
    ],
)
def test_wrong_sweeps_say_what_to_do(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_a_budget_outlives_a_change_of_batch():
    points = product(product(text_run(), {"tokens": [1024]}), {"batch": [2, 8]})
    assert [p.run.tokens for p in points] == [1024, 1024]
    small = isoflop(text_run(), [text_run().model], [1e9])
    (larger,) = product(small, {"batch": [8]})
    assert count(larger.run).flops_train == pytest.approx(1e9, rel=0.05)
    (other,) = product(larger and [larger], {"steps": [7]})
    assert other.run.steps == 7 and "compute" not in other.coords


def test_fields_that_must_fit_each_other_change_together():
    (point,) = zip_(text_run(), {"model.width": [36], "model.heads": [6]})
    assert (point.run.model.width, point.run.model.heads) == (36, 6)


def test_coordinates_are_plain_values():
    points = product(
        text_run(), {"batch": np.array([2, 4]), "model.kv_heads": [1, None]}
    )
    assert [tuple(p.coords.values()) for p in points] == [
        (2, 1), (2, None), (4, 1), (4, None),
    ]  # fmt: skip
    assert all(type(p.coords["batch"]) is int for p in points)
    (seeded,) = with_seeds(text_run(), np.arange(1))
    assert type(seeded.coords["seed"]) is int


def test_window_leaves_out_pairs_before_they_can_be_wrong():
    models = ladder(Transformer, [1e4, 1e6], TINY_TEXT.shape)
    assert len(isoflop(text_run(), models, [1e8], tokens_per_parameter=(0.1, 1e9))) == 1


def test_tune_is_an_inner_axis_whatever_comes_after_it():
    grid = product(text_run(), {"optimizer.lr": [5.0], "steps": [10, 20]})
    points = tune(grid, lr=octaves(1e-3, 4e-3))
    assert [(p.run.steps, p.run.optimizer.lr) for p in points] == [
        (steps, lr) for steps in (10, 20) for lr in (1e-3, 2e-3, 4e-3)
    ]
    assert points[1].coords == {"steps": 10, "tune.lr": 2e-3}
    assert with_seeds(points, [0, 1])[0].coords["tune.lr"] == 1e-3
    again = product(points, {"optimizer.lr": [1.0]})
    assert all("tune.lr" not in p.coords for p in again)
    with pytest.raises(SpecError, match="put tune last"):
        Sweep(recipe.small_language_model(points, warmup_tokens=1e2))


COMPUTE = st.sets(st.sampled_from([2e10, *quickstart.BUDGETS]), min_size=1)
LADDER = st.sets(st.sampled_from([*quickstart.SIZES, 1.3e5, 2.6e5]), min_size=1)
SEEDS = st.sets(st.integers(0, 3), min_size=1)


def quickstart_ids(budgets, sizes, seeds):
    """The run ids of the quick start's grid and recipe, by budget, model and seed."""
    models = ladder(Transformer, sorted(sizes), quickstart.DATA.shape, head_size=8)
    grid = isoflop(quickstart.BASE, models, sorted(budgets))
    points = recipe.small_language_model(grid, warmup_tokens=9e3)
    return {
        (p.coords["compute"], p.run.model, p.coords["seed"]): p.run_id
        for p in plan(Sweep(with_seeds(points, sorted(seeds))).points).runs
    }


@settings(max_examples=30, deadline=None)
@given(COMPUTE, LADDER, SEEDS, COMPUTE, LADDER, SEEDS)
def test_a_run_keeps_its_id_whatever_other_runs_a_sweep_has(b, s, r, b2, s2, r2):
    one, other = quickstart_ids(b, s, r), quickstart_ids(b2, s2, r2)
    common = one.keys() & other.keys()
    assert len(common) == len(b & b2) * len(s & s2) * len(r & r2)
    assert all(one[key] == other[key] for key in common)


def test_the_property_above_is_of_the_quick_start():
    mine = quickstart_ids(quickstart.BUDGETS, quickstart.SIZES, [0])
    assert set(mine.values()) == {p.run_id for p in plan(quickstart.SWEEP.points).runs}


@pytest.mark.parametrize("most", [0, -1.0, "many"])
def test_a_warm_up_without_tokens_is_refused(most):
    with pytest.raises(SpecError, match="warmup_tokens"):
        recipe.small_language_model([], warmup_tokens=most)


ALONE = {
    "seeds: 2 is not a list; give a list such as [0, 1]": lambda: with_seeds(
        text_run(), 2
    ),
    "axis 'batch': 8 is": lambda: product(text_run(), {"batch": 8}),
    "axis 'steps': 8 is": lambda: zip_(text_run(), {"batch": [8], "steps": 8}),
    "axis 'schedule.name': 'cosine' is": lambda: product(
        text_run(), {"schedule.name": "cosine"}
    ),
    "lr: 0.1 is not a list": lambda: tune(text_run(), lr=0.1),
    "budgets: 1000000000000.0 is": lambda: isoflop(
        text_run(), [text_run().model], 1e12
    ),
    "models: Transformer": lambda: isoflop(text_run(), text_run().model, [1e12]),
    "sizes: 10000.0 is": lambda: ladder(Transformer, 1e4, BYTES),
    "points: Point": lambda: with_seeds(Point(run=text_run()), [0]),
    "points that a combinator returns": lambda: chain([text_run()]),
}


@pytest.mark.parametrize("message", ALONE)
def test_one_value_in_the_place_of_a_list_is_refused_with_the_remedy(message):
    with pytest.raises(SpecError, match=re.escape(message)):
        ALONE[message]()


def test_octaves_meet_the_end_that_they_can_meet():
    assert octaves(1e-3, 1.6e-2) == pytest.approx([1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2])
    assert octaves(1, 2.5, per_octave=2) == pytest.approx([1, 2**0.5, 2])
    assert octaves(3, 3) == [3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tune(text_run(), lr=[1e-3, 0.0]), "lr 0 is not positive"),
        (lambda: tune(text_run(), lr=[1e-3, -1]), "lr -1 is not positive"),
        (lambda: tune(text_run(), lr=[1e-3]), "two or more different rates"),
        (lambda: tune(text_run(), lr=[1e-3, 1e-3]), "two or more different rates"),
        (lambda: tune(text_run(), lr=["a", 1]), "must be a number"),
        (lambda: octaves(2, 1), "a positive low"),
        (lambda: octaves(1, 2, per_octave=0), "positive per_octave"),
    ],
)
def test_rates_that_cannot_be_tuned_over_are_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_a_rule_gives_each_run_the_rate_of_its_scale():
    rule = recipe.LearningRate(k=2.0, n=-0.5, d=-0.1, batch=0.25)
    points = product(text_run(), {"model.width": [8, 16], "batch": [4, 8]})
    for point in recipe.tuned(points, rule):
        run = point.run
        n = run.model.params(run.data.shape).matmul
        expected = 2.0 * n**-0.5 * run.tokens**-0.1 * run.batch**0.25
        assert run.optimizer.lr == pytest.approx(expected)
    (total,) = recipe.tuned(
        product(text_run(), {"batch": [4]}),
        recipe.LearningRate(k=1.0, n=-1.0, counted="total"),
    )
    assert total.run.optimizer.lr == pytest.approx(1 / count(total.run).n_total)


def test_a_recorded_plan_needs_no_data_but_training_does(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("abc " * 2000)
    run = text_run(data=dataclasses.replace(TINY_TEXT, corpus=str(corpus)))
    first = plan([Point(run=run)])
    record = sweep_record(first, name="small", doc="")
    corpus.write_text("abd " * 2000)
    again = plan_of_record(record)
    assert again == first
    with pytest.raises(DataError, match="has changed since its hash was"):
        again.check_files()
    corpus.unlink()
    with pytest.raises(DataError):
        plan_of_record(record).check_files()
