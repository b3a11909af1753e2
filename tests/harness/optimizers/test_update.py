"""Optimisers against optax and against themselves: side by side, and spread."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from harness import (
    MLP,
    SGD,
    WSD,
    Adafactor,
    AdamW,
    AdEMAMix,
    Constant,
    Lion,
    Muon,
    ScheduleFreeAdamW,
    Transformer,
)
from harness.errors import SpecError
from harness.optimizers.measure import measure
from harness.optimizers.update import hidden_matrices, hyper, judged, transform
from harness.specs.base import spec
from harness.specs.count import count, training_bytes
from harness.specs.optimizer import Optimizer
from harness.specs.registry import find, implementation
from tests.harness.strategies import mlp_run, text_run

STEPS = 20
OPTIMIZERS = [
    AdamW(lr=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9, clip=0.5),
    SGD(lr=0.1, momentum=0.9, clip=0.0),
    SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    Lion(lr=0.01, weight_decay=0.2),
    AdEMAMix(lr=0.1, weight_decay=0.1, beta3=0.99),
    ScheduleFreeAdamW(lr=0.1, weight_decay=0.1),
    Adafactor(lr=0.1, weight_decay=0.1, factored_from=4),
    Muon(lr=0.1, weight_decay=0.1, clip=0.0),
    Muon(lr=0.1, scaling="width", nesterov=False, adam_share=0.3),
]
named = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def matrices(params):
    return jax.tree.map(lambda x: x.ndim >= 2, params)


def clipped(o, *then):
    return optax.chain(*([optax.clip_by_global_norm(o.clip)] if o.clip else []), *then)


def reference(o):
    """The same optimiser by optax's own names, with plain numbers in it."""
    decay = getattr(o, "weight_decay", 0.0)
    if isinstance(o, AdamW):
        adamw = optax.adamw(
            o.lr, o.beta1, o.beta2, o.eps, weight_decay=decay, mask=matrices
        )
        return clipped(o, adamw)
    if isinstance(o, SGD):
        return clipped(
            o,
            optax.trace(o.momentum, nesterov=o.nesterov),
            optax.add_decayed_weights(decay, mask=matrices),
            optax.scale(-o.lr),
        )
    if isinstance(o, Lion):
        lion = optax.lion(o.lr, o.beta1, o.beta2, weight_decay=decay, mask=matrices)
        return clipped(o, lion)
    if isinstance(o, AdEMAMix):
        betas = (o.beta1, o.beta2, o.beta3)
        ademamix = optax.contrib.ademamix(
            o.lr, *betas, o.alpha, o.eps, weight_decay=decay, mask=matrices
        )
        return clipped(o, ademamix)
    if isinstance(o, Adafactor):
        adafactor = optax.adafactor(
            o.lr,
            min_dim_size_to_factor=o.factored_from,
            weight_decay_rate=o.lr * decay,
            weight_decay_mask=matrices,
        )
        return clipped(o, adafactor)
    if isinstance(o, Muon):
        muon = optax.contrib.muon(
            o.lr,
            beta=o.momentum,
            nesterov=o.nesterov,
            weight_decay=decay,
            adam_b1=o.beta1,
            adam_b2=o.beta2,
            adam_learning_rate=o.lr * o.adam_share,
            consistent_rms=0.2 if o.scaling == "rms" else None,
            muon_weight_dimension_numbers=lambda p: {
                name: optax.contrib.MuonDimensionNumbers() if name == "body" else None
                for name in p
            },
        )
        return clipped(o, muon)
    raise AssertionError(o)


def grown(key):
    """Parameters with hidden matrices and others, and their gradients at each step."""
    keys = jax.random.split(key, 8)
    params = {
        "embed": jax.random.normal(keys[0], (7, 4)),
        "body": jax.random.normal(keys[1], (4, 8)),
        "norm": jax.random.normal(keys[2], (8,)),
    }
    grads = {
        name: jax.random.normal(k, (STEPS, *params[name].shape))
        for name, k in zip(params, keys[3:], strict=False)
    }
    return params, grads


def trained(update, key):
    params, grads = grown(key)

    def step(carry, g):
        params, state = carry
        updates, state = update.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, update.init(params)), grads)
    return params, state


def ours(o, key, values=None):
    values = values or {k: np.float32(v) for k, v in o.traced().items()}
    params, state = trained(transform(o, values, values["lr"]), key)
    return judged(o, values, state, params)


def close(a, b, rtol=2e-4):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=2e-5), a, b
    )


@named
def test_an_optimiser_is_that_of_optax_over_many_steps(optimizer):
    if isinstance(optimizer, ScheduleFreeAdamW):
        pytest.skip("compared with its formula below")
    key = jax.random.key(1)
    expected, _ = trained(reference(optimizer), key)
    found = ours(optimizer, key)
    if isinstance(optimizer, Muon):
        # optax has no weight decay of the others, and Nesterov's momentum in Adam.
        expected, found = {"body": expected["body"]}, {"body": found["body"]}
    close(found, expected)


def test_schedule_free_is_its_formula():
    """Defazio et al. 2024, algorithm 1, in numpy."""
    o, key = ScheduleFreeAdamW(lr=0.1, weight_decay=0.1, clip=0.0), jax.random.key(2)
    params, grads = jax.tree.map(np.asarray, grown(key))
    found = ours(o, key)
    for name, start in params.items():
        z, x, v = start.copy(), start.copy(), np.zeros_like(start)
        for t in range(1, STEPS + 1):
            y, g = (1 - o.beta1) * z + o.beta1 * x, grads[name][t - 1]
            v = o.beta2 * v + (1 - o.beta2) * g**2
            step = g / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)
            z = z - o.lr * (step + o.weight_decay * (y if y.ndim == 2 else 0))
            x = (1 - 1 / t) * x + z / t
        np.testing.assert_allclose(found[name], x, rtol=2e-3, atol=2e-4)


@named
def test_members_side_by_side_are_each_alone(optimizer):
    keys = jax.random.split(jax.random.key(3), 3)
    members = [dataclasses.replace(optimizer, lr=lr) for lr in (0.01, 0.03, 0.1)]
    values = [{k: np.float32(v) for k, v in m.traced().items()} for m in members]
    stacked = jax.tree.map(lambda *x: np.stack(x), *values)
    together = jax.jit(jax.vmap(lambda k, v: ours(optimizer, k, v)))(keys, stacked)
    for i, member in enumerate(members):
        close(jax.tree.map(lambda x, i=i: x[i], together), ours(member, keys[i]))


@named
@pytest.mark.parametrize(
    "model", [MLP(width=6, depth=2), Transformer(width=8, depth=1, heads=2)]
)
def test_the_bytes_of_a_state_are_those_of_the_real_one(optimizer, model):
    make = mlp_run if isinstance(model, MLP) else text_run
    run = make(model=model, optimizer=optimizer)
    n = run.model.params(run.data.shape)
    measured = measure(run)
    assert optimizer.state_bytes(n) in (None, measured.state_bytes)
    assert optimizer.update_flops(n) in (None, measured.update_flops)
    assert training_bytes(run) == 8 * n.total + measured.state_bytes


def test_the_products_of_muon_are_counted():
    """Newton-Schulz of an m x n matrix, m < n: A = XXᵀ, AA and (bA + cAA)X, 5 times."""
    run = text_run(
        model=Transformer(width=8, depth=1, heads=2),
        optimizer=Muon(lr=0.1),
        steps=3,
    )
    shapes = [(8, 8), (8, 24), (8, 32), (8, 32)]
    each = [2 * (m * m * n + m**3 + m * m * n) for m, n in shapes]
    assert count(run).flops_optimizer == 3 * 5 * sum(each)
    assert count(text_run()).flops_optimizer == 0


def test_hidden_matrices_leave_out_what_reads_and_what_answers():
    params = {
        "embed": jnp.zeros((3, 2)),
        "head": {"kernel": jnp.zeros((2, 3))},
        "blocks": {0: {"up": {"kernel": jnp.zeros((2, 8))}, "gain": jnp.zeros(2)}},
    }
    hidden = hidden_matrices(params)
    assert hidden["blocks"][0] == {"up": {"kernel": True}, "gain": False}
    assert not hidden["embed"] and not hidden["head"]["kernel"]


@pytest.mark.parametrize("name", sorted(Optimizer.known))
def test_every_optimiser_has_an_implementation(name):
    assert callable(implementation(find(Optimizer, name)))


def test_every_continuous_field_is_traced_and_every_other_fixed():
    optimizer = Muon(lr=0.1)
    assert set(optimizer.traced()) == set(Muon.__dataclass_fields__) - {
        "nesterov",
        "scaling",
        "newton_schulz",
    }
    other = dataclasses.replace(optimizer, lr=0.3, momentum=0.8, weight_decay=0.1)
    assert other.program_key() == optimizer.program_key()
    wide = dataclasses.replace(optimizer, scaling="width")
    assert wide.program_key() != optimizer.program_key()
    run = mlp_run(optimizer=optimizer)
    assert hyper(run).optimizer.keys() == optimizer.traced().keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find(Optimizer, "adam"), "no optimizer 'adam'; did you mean adamw"),
        (lambda: AdamW(), "AdamW needs lr"),
        (lambda: SGD(lr=1, eps=1e-6), "SGD has no field 'eps'; its fields are lr, "),
        (lambda: ScheduleFreeAdamW(lr=1, beta1=0.0), "beta1 0.0 is not positive"),
        (lambda: Muon(lr=1, scaling="best"), "use one of rms, width"),
        (lambda: Lion(lr=1, beta2=1.0), r"Lion.beta2 1.0 is not in \[0, 1\)"),
    ],
)
def test_an_unknown_optimiser_or_field_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_two_optimisers_cannot_share_a_name():
    with pytest.raises(SpecError, match=r"'sgd' of .*Twice is taken by harness"):

        @spec
        class Twice(Optimizer):
            name = "sgd"


def test_schedules_are_no_reason_to_compile_again():
    runs = [mlp_run(schedule=schedule) for schedule in (WSD(), Constant())]
    assert runs[0].optimizer.program_key() == runs[1].optimizer.program_key()
