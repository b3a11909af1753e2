"""A trained model evaluates as its sweep did, and comes back from its file."""

import dataclasses

import jax
import numpy as np
import pytest

import harness
from harness import MLP, TeacherStudent, Text, Trained, Transformer
from harness.errors import SpecError, StoreError
from harness.export.load import load_trained, run_named
from harness.store import create_store
from harness.store.weights import publish_weights
from harness.sweeps.plan import plan
from harness.sweeps.sweep import Point
from harness.training.tensors import tensor_bytes
from harness.workers.worker import work
from tests.harness.export.runs import TOKENS, drawn, inputs_of, run_of
from tests.harness.strategies import TINY_REGRESSION, TINY_TEXT, mlp_run

MIXTURE = Transformer(width=16, depth=1, heads=2, experts=2, capacity=0.5)
PER_RUN = ("loss", "loss_se", "bits_per_byte", "dropped", "r2", "accuracy")


@pytest.mark.parametrize(
    "run", [run_of(MIXTURE, TINY_TEXT), mlp_run(steps=40)], ids=["text", "reals"]
)
def test_it_evaluates_to_the_last_digits_of_the_store(run, tmp_path):
    store = create_store(str(tmp_path / "store"))
    made = plan([Point(run=run)])
    work(store, made)
    row = store.record(made.runs[0].run_id)["row"]
    result = harness.train(run)
    measured = Trained(run=result.run, params=result.params).evaluate()
    stored = {name: row[name] for name in PER_RUN if row.get(name) is not None}
    assert measured == stored


def test_other_data_of_its_shape_are_evaluated():
    trained = drawn(Transformer(width=8, depth=1, heads=1), Text(context=16))
    few = trained.evaluate(Text(context=16, eval_sequences=4))
    many = trained.evaluate(Text(context=16, eval_sequences=64))
    assert few["loss"] != many["loss"]
    assert many["loss_se"] < few["loss_se"]
    with pytest.raises(SpecError, match="give data of equal shape"):
        trained.evaluate(Text(context=32))


def test_its_outputs_are_the_models():
    trained = drawn(MLP(width=6), TINY_REGRESSION)
    x = inputs_of(trained, 3)
    expected = trained.model.apply(trained.params, x)
    np.testing.assert_allclose(trained.apply(x.tolist()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((2, 7), np.int32), r"of shape \(2, 7\) are not tokens \(B, 8\)"),
        (np.zeros(8, np.int32), r"of shape \(8,\)"),
        (np.full((1, 8), 11), "token id 11 is not in the vocabulary"),
        (np.zeros((1, 8)), "token ids are integers, not float64"),
    ],
)
def test_inputs_of_another_kind_are_refused(inputs, message):
    with pytest.raises(SpecError, match=message):
        drawn(Transformer(width=8, depth=1, heads=1)).apply(inputs)


def test_it_comes_back_from_its_file(tmp_path):
    trained = resolved(drawn(MIXTURE, TINY_TEXT))
    trained.save(tmp_path / "a" / "model.safetensors")
    again = Trained.load(tmp_path / "a" / "model.safetensors")
    assert again.run == trained.run
    for one, other in zip(
        jax.tree.leaves(trained.params), jax.tree.leaves(again.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert jax.tree.structure(again.params) == jax.tree.structure(trained.params)


def resolved(trained):
    """The model with a run whose data have been read, as training leaves it."""
    return dataclasses.replace(trained, run=plan([Point(run=trained.run)]).runs[0].run)


def test_files_of_other_kinds_are_refused(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(StoreError, match="No such file"):
        Trained.load(path)
    path.write_bytes(b"not weights at all")
    with pytest.raises(StoreError, match="cannot be read as safetensors"):
        Trained.load(path)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(StoreError, match="does not say which run"):
        Trained.load(path)


def test_weights_of_another_model_are_refused(tmp_path):
    small = drawn(MLP(width=6), TINY_REGRESSION)
    large = drawn(MLP(width=7), TINY_REGRESSION)
    wrong = dataclasses.replace(small, params=large.params)
    wrong.save(tmp_path / "w")
    with pytest.raises(StoreError, match="the weights are of another model"):
        Trained.load(tmp_path / "w")


def test_a_run_is_named_by_the_first_digits_of_its_id(tmp_path):
    store = create_store(str(tmp_path / "store"))
    runs = [run_of(MLP(width=w), TINY_REGRESSION, steps=2) for w in (3, 4)]
    work(store, made := plan([Point(run=run) for run in runs]))
    first, second = sorted(planned.run_id for planned in made.runs)
    assert run_named(store, first[:8]) == first
    with pytest.raises(SpecError, match=r"no finished run of .* begins with 'xyz'"):
        run_named(store, "xyz")
    common = [i for i in range(17) if first[:i] == second[:i]][-1]
    if common:
        with pytest.raises(SpecError, match="2 finished runs begin with"):
            run_named(store, first[:common])
    with pytest.raises(StoreError, match=f"keeps no weights of run {first}"):
        load_trained(store, first)
    trained = harness.train(next(p.run for p in made.runs if p.run_id == first))
    kept = Trained(run=trained.run, params=trained.params)
    content = tensor_bytes(trained.run, trained.params)
    publish_weights(store, first, trained.run.to_dict(), content)
    assert load_trained(store, first).evaluate() == kept.evaluate()


def test_reals_are_not_sampled_from():
    trained = drawn(MLP(width=6), TeacherStudent(inputs=5))
    with pytest.raises(SpecError, match="predicts a real, no next token"):
        trained.sample([1], 3)
    assert TOKENS.resolved
