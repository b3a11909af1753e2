"""Closed-form counts equal the parameter tree and the matrix products of the jaxpr."""

import dataclasses

import jax
import jax.numpy as jnp
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.count import count
from harness.models import build
from harness.spec import TaskShape
from harness.step import cross_entropy, squared_error
from tests.harness.jaxpr_flops import matmul_flops
from tests.harness.strategies import mlps, text_run, transformers

TOKENS = st.builds(
    lambda T, V: TaskShape(
        kind="tokens", length=T, inputs=V, outputs=V, target="next_token"
    ),
    st.integers(2, 12),
    st.integers(2, 30),
)
VECTORS = st.builds(
    lambda i, o: TaskShape(kind="vectors", length=1, inputs=i, outputs=o),
    st.integers(1, 12),
    st.integers(1, 5),
)
BATCH = 3


def example_inputs(task: TaskShape):
    if task.kind == "tokens":
        return jax.ShapeDtypeStruct((BATCH, task.length), jnp.int32)
    return jax.ShapeDtypeStruct((BATCH, task.inputs), jnp.float32)


def example_targets(task: TaskShape):
    if task.kind == "tokens":
        return jax.ShapeDtypeStruct((BATCH, task.length), jnp.int32)
    return jax.ShapeDtypeStruct((BATCH, task.outputs), jnp.float32)


def abstract(spec, task):
    model = build(spec, task)
    return model, jax.eval_shape(model.init, jax.random.key(0))


def check_counts(spec, task):
    model, params = abstract(spec, task)
    inputs, targets = example_inputs(task), example_targets(task)
    leaves = jax.tree.leaves(params)
    assert spec.params(task).total == sum(leaf.size for leaf in leaves)

    forward = spec.forward_flops(task)
    assert matmul_flops(model.apply, params, inputs) == BATCH * forward.full

    loss_of = cross_entropy if task.kind == "tokens" else squared_error

    def loss(params, inputs, targets):
        return loss_of(model.apply(params, inputs), targets).mean()

    walked = matmul_flops(jax.grad(loss), params, inputs, targets)
    assert walked == BATCH * forward.train()


@settings(max_examples=30, deadline=None)
@given(transformers(), TOKENS)
def test_transformer_counts_equal_tree_and_jaxpr(spec, task):
    check_counts(spec, task)


@settings(max_examples=20, deadline=None)
@given(mlps(), VECTORS)
def test_mlp_counts_equal_tree_and_jaxpr(spec, task):
    check_counts(spec, task)


@settings(max_examples=10, deadline=None)
@given(transformers(), TOKENS)
def test_roles_are_the_named_leaves(spec, task):
    _, params = abstract(spec, task)
    n = spec.params(task)
    tables = [params["embed"]] + (
        [params["positions"]] if "positions" in params else []
    )
    assert n.embed == sum(leaf.size for leaf in jax.tree.leaves(tables))
    assert n.head == sum(leaf.size for leaf in jax.tree.leaves(params.get("head", {})))
    blocks = jax.tree.leaves(params["blocks"])
    assert n.body_matrices == sum(leaf.size for leaf in blocks if leaf.ndim == 2)
    assert n.matmul == n.body_matrices + task.inputs * spec.width


def test_standard_block_has_the_textbook_cost():
    run = text_run()
    D, T, V, L = 8, 16, 256, 1
    per_token = 24 * L * D**2 + 4 * L * T * D + 2 * D * V
    assert run.model.forward_flops(run.data.shape).full == T * per_token
    causal = 24 * L * D**2 + 2 * L * T * D + 2 * D * V
    assert run.model.forward_flops(run.data.shape).causal == T * causal


def test_every_convention_of_one_run():
    run = text_run(steps=7)
    counts = count(run)
    D, T, V, H = 8, 16, 256, 2
    d = 7 * 4 * T
    assert counts.n_embed == counts.n_head == V * D
    assert counts.n_body == counts.n_nonembed == 12 * D**2 + 3 * D
    assert counts.n_matmul == 12 * D**2 + V * D
    assert counts.n_total == 2 * V * D + 12 * D**2 + 3 * D
    assert counts.flops_train == 3 * d * (24 * D**2 + 4 * T * D + 2 * D * V)
    assert counts.flops_6nd_total == 6 * d * counts.n_total
    assert counts.flops_6nd_nonembed == 6 * d * counts.n_nonembed
    assert counts.flops_6nd_matmul == 6 * d * counts.n_matmul
    hoffmann = 24 * D**2 + 4 * T * D + 2 * D * V + 2 * V * D + 3 * H * T
    assert counts.flops_chinchilla == 3 * d * hoffmann


def test_a_field_that_is_not_counted_does_not_move_the_count():
    run = text_run()
    other = dataclasses.replace(run, seed_init=3, evals_per_octave=1)
    assert count(run) == count(other)
