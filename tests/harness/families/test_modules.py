"""What the families compute, against plain references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings

from harness import MLP, Transformer
from harness.families.build import build
from harness.families.layers.core import Linear, attention, rotate
from harness.specs.task import TaskShape
from tests.harness.strategies import transformers

TASK = TaskShape(kind="tokens", length=8, inputs=11, outputs=11, target="next_token")


@settings(max_examples=5, deadline=None)
@given(transformers())
def test_no_output_depends_on_later_tokens(spec):
    model = build(spec, TASK)
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (2, 8), 0, 11)
    changed = tokens.at[:, 5].set((tokens[:, 5] + 1) % 11)
    apply = jax.jit(model.apply)
    before, after = apply(params, tokens), apply(params, changed)
    assert np.array_equal(before[:, :5], after[:, :5])
    assert not np.allclose(before[:, 5:], after[:, 5:])


def test_grouped_attention_is_attention_with_repeated_heads():
    q = jax.random.normal(jax.random.key(0), (2, 7, 6, 4))
    k, v = (jax.random.normal(jax.random.key(i), (2, 7, 2, 4)) for i in (1, 2))
    # Written out for one query at a time, in numpy's float64.
    expected = np.zeros((2, 7, 6, 4))
    for b, t, h in np.ndindex(2, 7, 6):
        g = h // 3
        keys, values = (np.asarray(x[b, : t + 1, g], np.float64) for x in (k, v))
        scores = keys @ np.asarray(q[b, t, h], np.float64) / 2
        weights = np.exp(scores - scores.max())
        expected[b, t, h] = weights / weights.sum() @ values
    np.testing.assert_allclose(attention(q, k, v, causal=True), expected, atol=1e-5)


def test_rotary_scores_depend_on_distance_alone():
    q, k = (
        jnp.tile(jax.random.normal(jax.random.key(i), (1, 1, 1, 8)), (1, 12, 1, 1))
        for i in (0, 1)
    )
    scores = np.einsum("btk,bsk->ts", rotate(q)[:, :, 0], rotate(k)[:, :, 0])
    for distance in range(-11, 12):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)


def test_bfloat16_changes_the_arithmetic_not_the_parameters():
    spec = Transformer(width=16, depth=2, heads=2)
    tokens = jnp.zeros((1, 8), jnp.int32)
    full, half = build(spec, TASK), build(spec, TASK, jnp.bfloat16)
    params = half.init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert half.apply(params, tokens).dtype == jnp.bfloat16
    np.testing.assert_allclose(
        full.apply(params, tokens),
        half.apply(params, tokens).astype(jnp.float32),
        atol=0.1,
    )


@pytest.mark.parametrize("tied", [False, True])
def test_first_predictions_are_nearly_uniform(tied):
    spec = Transformer(width=64, depth=2, heads=4, tied=tied)
    task = TaskShape(
        kind="tokens", length=32, inputs=256, outputs=256, target="next_token"
    )
    model = build(spec, task)
    params = model.init(jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (8, 32), 0, 256)
    logits = model.apply(params, tokens)
    assert float(logits.std()) == pytest.approx(1, abs=0.25)


def test_mlp_is_its_formula():
    spec = MLP(width=3, depth=2, activation="tanh")
    task = TaskShape(kind="vectors", length=1, inputs=4, outputs=2)
    model = build(spec, task)
    params = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (5, 4))
    hidden = x
    for index in (0, 1):
        layer = params["hidden"][index]
        hidden = jnp.tanh(hidden @ layer["kernel"] + layer["bias"])
    expected = hidden @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(model.apply(params, x), expected, atol=1e-6)


def test_a_family_needs_one_class_for_its_shape_and_one_for_its_arithmetic():
    """What the README shows: a new family, defined outside the package."""
    from tests.harness import new_family

    spec = new_family.Bigram(rank=3)
    model = build(spec, TASK)
    params = model.init(jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert spec.params(TASK).total == size
    assert model.apply(params, jnp.zeros((2, 8), jnp.int32)).shape == (2, 8, 11)
    other = dataclasses.replace(spec, rank=4)
    assert other == type(spec).from_dict(spec.to_dict() | {"rank": 4})


def test_linear_initialises_to_unit_gain():
    layer = Linear(400, 300, dtype=jnp.float32, rngs=nnx.Rngs(0), gain=2.0)
    x = jax.random.normal(jax.random.key(1), (50, 400))
    assert float(layer(x).std()) == pytest.approx(2.0, rel=0.03)
