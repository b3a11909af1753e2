"""Closed-form counts equal the parameter tree and the matrix products of the jaxpr."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness import CNN, MLP, ResNet, Transformer, ViT, ladder
from harness.errors import SpecError
from harness.families.build import build
from harness.families.layers import cpu
from harness.families.layers.convolution import Conv, _patches
from harness.specs.count import count
from harness.specs.task import TaskShape
from harness.training.losses import cross_entropy, squared_error
from tests.harness.jaxpr_flops import matmul_flops
from tests.harness.strategies import (
    cnns,
    image_tasks,
    next_token_tasks,
    pairs,
    resnets,
    text_run,
    transformers,
)

BATCH = 3


def example_inputs(task: TaskShape, batch: int = BATCH):
    shapes = {
        "tokens": (task.length,),
        "vectors": (task.inputs,),
        "images": (*task.size, task.inputs),
        "sequences": (task.length, task.inputs),
    }
    dtype = jnp.int32 if task.kind == "tokens" else jnp.float32
    return jax.ShapeDtypeStruct((batch, *shapes[task.kind]), dtype)


def example_targets(task: TaskShape):
    shapes = {"next_token": (task.length,), "class": (), "real": (task.outputs,)}
    dtype = jnp.float32 if task.target == "real" else jnp.int32
    return jax.ShapeDtypeStruct((BATCH, *shapes[task.target]), dtype)


def abstract(spec, task):
    model = build(spec, task)
    return model, jax.eval_shape(model.init, jax.random.key(0))


def empty_places(spec, task):
    """Forward FLOPs that the experts spend on places without a token."""
    if not getattr(spec, "experts", 0):
        return 0
    spare = spec.experts * spec.slots(task) - spec.top_k * task.length
    return 2 * spec.depth * spare * spec.feed_forward_weights


def skipped(spec, task):
    """Forward FLOPs of full attention that blocks of queries leave out on a CPU.

    Of n blocks, the i-th has i/n of the keys: (n + 1) / 2n of all products are left,
    where exact causality would leave half.
    """
    forward, n = spec.forward_flops(task), len(cpu.row_blocks(task.length, True))
    return (forward.full - forward.causal) * (n - 1) // n if cpu.on_cpu() else 0


def suits(spec, task):
    try:
        spec.check(task)
    except SpecError:
        return False
    return True


def check_counts(spec, task):
    model, params = abstract(spec, task)
    inputs, targets = example_inputs(task), example_targets(task)
    leaves = jax.tree.leaves(params)
    assert spec.params(task).total == sum(leaf.size for leaf in leaves)

    forward = spec.forward_flops(task)
    extra = empty_places(spec, task) - skipped(spec, task)
    walked = matmul_flops(model.apply, params, inputs)
    assert walked == BATCH * (forward.full + extra)

    loss_of = squared_error if task.target == "real" else cross_entropy

    def loss(params, inputs, targets):
        key = jax.random.key(0)
        return loss_of(model.apply(params, inputs, key), targets).mean()

    walked = matmul_flops(jax.grad(loss), params, inputs, targets)
    assert walked == BATCH * (forward.train() + 3 * extra)


def of_patches(x_BXYC, w_IO, kernel):
    """`cpu.convolution` as the plain product, which has no rows beyond the image."""
    return _patches(x_BXYC, kernel, 1) @ w_IO


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_counts_equal_tree_and_jaxpr(pair):
    spec, task = pair
    assume(suits(spec, task))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "convolution", of_patches)
        check_counts(spec, task)


@settings(max_examples=15, deadline=None)
@given(st.one_of(cnns(), resnets()), image_tasks())
def test_the_compilers_convolution_costs_the_same(spec, task):
    assume(suits(spec, task))
    model, params = abstract(spec, task)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conv, "__call__", Conv.as_convolution)
        walked = matmul_flops(model.apply, params, example_inputs(task))
    assert walked == BATCH * spec.forward_flops(task).full


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(100, 3000))
def test_a_ladder_climbs_the_aspect_rule(pair, size):
    family, task = type(pair[0]), pair[1]
    options = {"padding": "same", "pools": 1} if family is CNN else {}
    candidates = list(itertools.islice(family.candidates(**options), 60))
    assume(all(suits(spec, task) for spec in candidates))
    sizes = [spec.params(task).matmul for spec in candidates]
    assert sizes == sorted(set(sizes))
    (chosen,) = ladder(family, [size], task, **options)
    miss = abs(math.log(chosen.params(task).matmul / size))
    assert miss == min(abs(math.log(n / size)) for n in sizes)


def test_experts_count_what_is_active_and_what_there_is():
    """Written out for one layer: width 8, F 32, V 256, 2 experts of 4 in use."""
    model = Transformer(width=8, depth=1, heads=2, experts=4)
    run = text_run(model=model, steps=7)
    counts, D, F, V, T = count(run), 8, 32, 256, 16
    one = 2 * D * F
    shared = 4 * D**2 + 4 * D + V * D
    assert counts.n_matmul == shared + 2 * one
    assert counts.n_matmul_total == shared + 4 * one
    assert counts.n_total == counts.n_active + 2 * one
    assert counts.n_body == 4 * D**2 + 4 * D + 4 * one + 3 * D
    per_token = 2 * (shared + 2 * one) + 4 * T * D
    assert counts.flops_train == 3 * 7 * 4 * T * per_token
    assert counts.flops_chinchilla is None


def test_classic_networks_have_their_known_sizes():
    """Sizes that the sources of these networks print."""
    digits = TaskShape(
        kind="images", length=1, inputs=1, outputs=10, target="class", size=(28, 28)
    )
    keras = CNN(channels=(32, 64, 64), pools=2, padding="valid", hidden=64)
    assert keras.params(digits).total == 93_322
    assert MLP(width=512, depth=1).params(digits).total == 407_050
    cifar = dataclasses.replace(digits, inputs=3, size=(32, 32))
    # He et al. 2015 count 41 million multiply-adds for their network of 20 layers, with
    # shortcuts that cost nothing.
    assert ResNet(width=16, blocks=3).forward_flops(cifar).full == pytest.approx(
        2 * 41e6, rel=0.02
    )
    images = dataclasses.replace(cifar, outputs=1000, size=(224, 224))
    base = ViT(width=768, depth=12, heads=12, patch=16)
    # Dosovitskiy et al. 2021: 86 M, 17.6 GFLOPs (multiply-adds) with a class token.
    assert base.params(images).total == pytest.approx(86e6, rel=0.01)
    assert base.forward_flops(images).full == pytest.approx(2 * 17.5e9, rel=0.01)


@settings(max_examples=10, deadline=None)
@given(transformers(), next_token_tasks())
def test_roles_are_the_named_leaves(spec, task):
    _, params = abstract(spec, task)
    n = spec.params(task)
    tables = [params["embed"]] + (
        [params["positions"]] if "positions" in params else []
    )
    assert n.embed == sum(leaf.size for leaf in jax.tree.leaves(tables))
    assert n.head == sum(leaf.size for leaf in jax.tree.leaves(params.get("head", {})))
    blocks = jax.tree.leaves(params["blocks"])
    assert n.body_matrices == sum(leaf.size for leaf in blocks if leaf.ndim >= 2)
    assert n.matmul_total == n.body_matrices + task.inputs * spec.width
    assert n.matmul == n.matmul_total - n.inactive


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
