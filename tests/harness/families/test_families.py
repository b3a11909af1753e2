"""What the families compute beyond their counts: causality, dropout, routing, muP."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from harness import CNN, MLP, RNN, LinearRNN, ResNet, Transformer, ViT, families
from harness.families.build import build
from harness.families.layers.convolution import Conv, GroupNorm, halve
from harness.families.layers.core import Dropout, Weights
from harness.families.linear_rnn.module import recurrence
from harness.families.rnn.module import _loop, run
from harness.families.rnn.spec import GATES
from harness.families.transformer.experts import route
from harness.families.vit.module import cut
from harness.specs.task import TaskShape

T = 8
TOKENS = TaskShape(kind="tokens", length=T, inputs=11, outputs=11, target="next_token")
LABELS = TaskShape(kind="tokens", length=T, inputs=11, outputs=3, target="class")
IMAGES = TaskShape(
    kind="images", length=1, inputs=2, outputs=4, target="class", size=(8, 8)
)
SERIES = TaskShape(kind="sequences", length=T, inputs=3, outputs=4, target="class")
DECODER = Transformer(width=8, depth=2, heads=2)
MIXTURE = dataclasses.replace(DECODER, experts=4, top_k=2, capacity=1.0)


def family_of(value):
    """A short name for a case; the rest tells itself apart by number."""
    return getattr(value, "family", getattr(value, "kind", None))


CAUSAL = [
    DECODER,
    dataclasses.replace(DECODER, kv_heads=1, positions="learned", mlp="swiglu"),
    MIXTURE,
    *(RNN(width=5, depth=2, cell=cell) for cell in ("simple", "gru", "lstm")),
    LinearRNN(width=5, depth=2),
]
EVERY = [
    (MLP(width=6), IMAGES),
    (CNN(channels=(3, 4), hidden=5), IMAGES),
    (ResNet(width=4, stages=2), IMAGES),
    (ViT(width=8, depth=1, heads=2), IMAGES),
    (RNN(width=6), TOKENS),
    (RNN(width=6), SERIES),
    (LinearRNN(width=6, depth=1), LABELS),
    (DECODER, TOKENS),
    (MIXTURE, TOKENS),
]


def inputs_of(task, batch=2, seed=1):
    key = jax.random.key(seed)
    if task.kind == "tokens":
        return jax.random.randint(key, (batch, task.length), 0, task.inputs)
    shapes = {"images": task.size, "sequences": (T,), "vectors": ()}
    shape = (*shapes[task.kind], task.inputs)
    return jax.random.normal(key, (batch, *shape))


def made(spec, task):
    model = build(spec, task)
    return model, jax.jit(model.init)(jax.random.key(0))


def test_every_family_is_tried_here():
    """All but the linear model, which has no dropout; the controls train that one."""
    found = [getattr(families, name) for name in families.__all__]
    with_dropout = {f for f in found if "dropout" in f.__dataclass_fields__}
    assert {type(spec) for spec, _ in EVERY} == with_dropout
    assert len(with_dropout) == len(found) - 1


@pytest.mark.parametrize("spec", CAUSAL, ids=family_of)
def test_no_output_has_a_gradient_to_a_later_token(spec):
    """Each position holds a token of its own, so its row of the table is its input."""
    model, params = made(spec, TOKENS)
    tokens = jnp.arange(T)[None]

    def output(table, t):
        logits_TV = model.apply({**params, "embed": table}, tokens)[0]
        return (logits_TV[t] * jnp.arange(1, 12)).sum()

    jacobian = jax.jit(jax.vmap(jax.grad(output), in_axes=(None, 0)))
    size_ts = np.abs(jacobian(params["embed"], jnp.arange(T))).sum(axis=-1)[:, :T]
    later = np.triu(np.ones((T, T), bool), 1)
    assert np.all(size_ts[later] == 0)
    assert np.all(size_ts[~later] > 0)


@pytest.mark.parametrize("capacity", [0.6, 1.0, 0.0])
def test_routing_looks_neither_ahead_nor_at_other_sequences(capacity):
    """Which expert has room is no smooth function: here tokens are really changed."""
    spec = dataclasses.replace(MIXTURE, capacity=capacity)
    model, params = made(spec, TOKENS)
    tokens = inputs_of(TOKENS, batch=3)
    changed = tokens.at[:, 5].set((tokens[:, 5] + 1) % 11).at[2].set(0)
    apply = jax.jit(model.apply)
    before, after = apply(params, tokens), apply(params, changed)
    assert np.array_equal(before[:2, :5], after[:2, :5])
    assert not np.allclose(before[:2, 5:], after[:2, 5:])


@pytest.mark.parametrize(
    "spec", [*CAUSAL[3:6], LinearRNN(width=5, depth=2)], ids=family_of
)
def test_a_class_is_read_from_the_whole_sequence(spec):
    model, params = made(spec, SERIES)

    def size(x):
        return jnp.square(model.apply(params, x)).sum()

    gradient = np.abs(jax.jit(jax.grad(size))(inputs_of(SERIES)))
    assert np.all(gradient.sum(axis=(0, 2)) > 0)


@pytest.mark.parametrize(("spec", "task"), EVERY, ids=family_of)
def test_dropout_is_drawn_from_the_key_and_off_without_one(spec, task):
    plain, params = made(spec, task)
    model = build(dataclasses.replace(spec, dropout=0.5), task)
    x, keys = inputs_of(task), jax.random.split(jax.random.key(7))

    @jax.jit
    def outputs(params, x, key):
        pair = [plain.apply(params, x, key), model.apply(params, x, key)]
        return [plain.apply(params, x), model.apply(params, x), *pair]

    one, other = (outputs(params, x, key) for key in keys)
    jax.tree.map(np.testing.assert_array_equal, one, outputs(params, x, keys[0]))
    for never in (*one[1:3], *other[:3]):
        np.testing.assert_allclose(never, one[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[3], one[0]) and not np.allclose(one[3], other[3])


def test_dropout_keeps_the_mean_and_drops_its_share():
    drop = Dropout(0.25, jax.random.key(0))
    first, second = drop(jnp.ones(100_000)), drop(jnp.ones(100_000))
    assert float((first == 0).mean()) == pytest.approx(0.25, abs=0.005)
    assert float(first.mean()) == pytest.approx(1, abs=0.01)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("slots", [1, 2, T])
def test_routing_conserves_tokens(k, slots):
    """Every choice has a place of its own or is marked dropped, in order of time."""
    p_BTE = jax.nn.softmax(jax.random.normal(jax.random.key(k), (2, T, 4)))
    routes = jax.tree.map(np.asarray, route(p_BTE, k, slots))
    assert routes.kept_BTk.mean() == (1 if slots == T else pytest.approx(0.5, abs=0.5))
    np.testing.assert_allclose(
        routes.weight_BTk.sum(axis=-1), 1 if k > 1 else p_BTE.max(axis=-1), rtol=1e-6
    )
    for b in range(2):
        room = dict.fromkeys(range(4), slots)
        taken = set()
        for t in range(T):
            best = np.argsort(-p_BTE[b, t], kind="stable")[:k]
            assert list(best) == list(routes.expert_BTk[b, t])
            for j, expert in enumerate(best):
                kept = room[expert] > 0
                assert routes.kept_BTk[b, t, j] == kept
                room[expert] -= kept
                place = (expert, routes.slot_BTk[b, t, j])
                assert place not in taken
                taken.add(place)


def test_a_mixture_is_its_formula_and_records_what_it_drops():
    spec = Transformer(width=8, depth=1, heads=2, experts=3, top_k=2, capacity=0.8)
    model, params = made(spec, TOKENS)
    weights = params["blocks"][0]["feed_forward"]
    from harness.families.transformer.experts import Experts

    module = Experts(spec, TOKENS, residual=1.0, dtype=jnp.float32, rngs=nnx.Rngs(0))
    for name in ("router", "up", "down"):
        getattr(module, name).kernel[...] = weights[name]["kernel"]
    x_BTD = jax.random.normal(jax.random.key(3), (2, T, 8))
    y_BTD = module(x_BTD.reshape(-1, 8), T).reshape(2, T, 8)
    p_BTE = jax.nn.softmax(x_BTD @ weights["router"]["kernel"])
    slots, dropped = math.ceil(0.8 * 2 * T / 3), np.zeros(2)
    expected, share = np.zeros((2, T, 8)), np.zeros(3)
    for b in range(2):
        room = [slots] * 3
        for t in range(T):
            best = np.argsort(-p_BTE[b, t])[:2]
            for e in best:
                share[e] += 1 / (2 * 2 * T)
                if not room[e]:
                    dropped[b] += 1 / (2 * T)
                    continue
                room[e] -= 1
                h = jax.nn.gelu(x_BTD[b, t] @ weights["up"]["kernel"][e])
                weight = p_BTE[b, t, e] / p_BTE[b, t, best].sum()
                expected[b, t] += weight * (h @ weights["down"]["kernel"][e])
    np.testing.assert_allclose(y_BTD, expected, atol=1e-5)
    np.testing.assert_allclose(module.dropped[...], dropped, atol=1e-6)
    balance = 0.01 * 3 * (share * p_BTE.mean(axis=(0, 1))).sum()
    np.testing.assert_allclose(module.penalty[...], balance, rtol=1e-5)
    out = jax.jit(model.forward)(params, inputs_of(TOKENS), None)
    assert out.monitors["dropped"].shape == (2,) and out.penalty > 0


def test_without_a_limit_nothing_is_dropped():
    model, params = made(dataclasses.replace(MIXTURE, capacity=0.0), TOKENS)
    out = jax.jit(model.forward)(params, inputs_of(TOKENS, batch=4), None)
    assert np.all(out.monitors["dropped"] == 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("outputs", [2, 5], ids=["rows copied", "patches copied"])
def test_all_ways_to_convolve_agree(outputs, kernel, padding, stride):
    conv = Conv(
        2,
        outputs,
        kernel=kernel,
        padding=padding,
        stride=stride,
        bias=True,
        weights=Weights(),
        dtype=jnp.float32,
        rngs=nnx.Rngs(0),
    )
    conv.matrix.bias[...] = jnp.arange(float(outputs))
    x = jax.random.normal(jax.random.key(1), (2, 9, 6, 2))
    # A loss with a gradient of its own at each output.
    loss = lambda y: jnp.sum(y**2 * jnp.arange(y.size).reshape(y.shape))  # noqa: E731
    as_matmul, as_convolution = (
        nnx.value_and_grad(lambda conv, x, way=way: loss(way(conv, x)), argnums=(0, 1))
        for way in (Conv.as_matmul, Conv.as_convolution)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-2),
        as_matmul(conv, x),
        as_convolution(conv, x),
    )


def test_pooling_and_patches_are_windows_of_the_image():
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    for how, of in (("max", np.max), ("mean", np.mean)):
        pooled = halve(x[:, :3], how)
        assert pooled.shape == (2, 1, 3, 3)
        window = x[1, 0:2, 2:4]
        np.testing.assert_allclose(pooled[1, 0, 1], of(window, axis=(0, 1)), rtol=1e-6)
    patches = cut(x, 2)
    assert patches.shape == (2 * 2 * 3, 12)
    np.testing.assert_array_equal(patches[6 + 4], x[1, 2:4, 2:4].reshape(-1))


def test_group_norm_normalises_each_group_of_each_example():
    norm = GroupNorm(6, 3, dtype=jnp.float32)
    x = 5 + 3 * jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    y = norm(x).reshape(2, 16, 3, 2)
    np.testing.assert_allclose(y.mean(axis=(1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 3)), 1, atol=1e-3)


def test_recurrence_and_its_gradient_are_the_loop():
    a, b, weight = jax.random.uniform(jax.random.key(0), (3, 7, 2, 3))

    def loop(a, b):
        h, out = jnp.zeros((2, 3)), []
        for t in range(7):
            h = a[t] * h + b[t]
            out.append(h)
        return jnp.stack(out)

    np.testing.assert_allclose(recurrence(a, b), loop(a, b), rtol=1e-5)
    ours, theirs = (
        jax.grad(lambda a, b, f=f: (weight * f(a, b)).sum(), (0, 1))(a, b)
        for f in (recurrence, loop)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_the_gradient_of_a_cell_is_that_of_its_loop(cell):
    gates = GATES[cell]
    x = jax.random.normal(jax.random.key(0), (5, 2, 3 * gates))
    matrix = jax.random.normal(jax.random.key(1), (3, 3 * gates))
    weight = jax.random.normal(jax.random.key(2), (5, 2, 3))

    def plain(x, matrix):
        return (weight * _loop(cell, x, jnp.zeros_like(x), matrix)).sum()

    ours = jax.grad(lambda x, m: (weight * run(cell, x, m)).sum(), (0, 1))(x, matrix)
    theirs = jax.grad(plain, (0, 1))(x, matrix)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("cell", ["simple", "gru", "lstm"])
def test_cells_are_their_formulas(cell):
    spec = RNN(width=4, cell=cell)
    model, params = made(spec, SERIES)
    layer = params["layers"][0]
    W, U = layer["enter"]["kernel"], layer["recur"]["kernel"]
    # Not only at the start, where all biases are zero.
    bias = jax.random.normal(jax.random.key(5), W.shape[1:])
    layer["enter"]["bias"] = bias
    x = inputs_of(SERIES)
    h = c = jnp.zeros((2, 4))
    for t in range(T):
        wx, uh = x[:, t] @ W + bias, h @ U
        if cell == "simple":
            h = jnp.tanh(wx + uh)
        elif cell == "gru":
            reset = jax.nn.sigmoid(wx[:, :4] + uh[:, :4])
            update = jax.nn.sigmoid(wx[:, 4:8] + uh[:, 4:8])
            new = jnp.tanh(wx[:, 8:] + reset * uh[:, 8:])
            h = (1 - update) * new + update * h
        else:
            i, f, o = (
                jax.nn.sigmoid((wx + uh)[:, 4 * n : 4 * n + 4] + (n == 1))
                for n in range(3)
            )
            c = f * c + i * jnp.tanh((wx + uh)[:, 12:])
            h = o * jnp.tanh(c)
    expected = h @ params["head"]["kernel"] + params["head"]["bias"]
    found = jax.jit(model.apply)(params, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("default", math.sqrt(2 / 300)),
        ("lecun", 1 / math.sqrt(300)),
        ("he", math.sqrt(2 / 300)),
        ("glorot", math.sqrt(2 / 500)),
        ("normal", 0.03),
    ],
)
def test_initialisers_have_their_variance(init, std):
    spec = MLP(width=200, depth=1, init=init, sigma=0.03 if init == "normal" else 0.0)
    task = TaskShape(kind="vectors", length=1, inputs=300, outputs=2)
    params = build(spec, task).init(jax.random.key(0))
    kernel = params["hidden"][0]["kernel"]
    assert float(kernel.std()) == pytest.approx(std, rel=0.03)


def moved(spec, task, inputs):
    """Mean size of the outputs' change after two small steps of Adam."""
    model, params = made(spec, task)
    optimizer = optax.adam(1e-4)

    @jax.jit
    def change(params):
        start, state = params, optimizer.init(params)
        for _ in range(2):
            # A linear loss: what limits the steps is the parametrisation alone.
            grads = jax.grad(lambda p: -model.apply(p, inputs).mean())(params)
            update, state = optimizer.update(grads, state)
            params = optax.apply_updates(params, update)
        return jnp.abs(model.apply(params, inputs) - model.apply(start, inputs)).mean()

    return float(change(params))


def growth(make, task, inputs):
    """Exponent of the change's size in the width, between widths 32 and 256."""
    small, large = (moved(make(width), task, inputs) for width in (32, 256))
    return math.log(large / small) / math.log(8)


@pytest.mark.parametrize("family", ["mlp", "transformer"])
def test_coordinate_check(family):
    """Under muP a step of Adam moves the outputs as much at every width; under the
    standard parametrisation it moves those of wide models more (Yang et al. 2022)."""
    if family == "mlp":
        task = TaskShape(kind="vectors", length=1, inputs=8, outputs=2)
        inputs = jax.random.normal(jax.random.key(2), (16, 8))

        def make(width, base):
            return MLP(width=width, depth=3, activation="relu", mup_base=base)
    else:
        task, inputs = TOKENS, inputs_of(TOKENS, batch=4)

        def make(width, base):
            heads = width // 16
            return Transformer(width=width, depth=1, heads=heads, mup_base=base)

    standard = growth(lambda width: make(width, 0), task, inputs)
    mup = growth(lambda width: make(width, 32), task, inputs)
    assert abs(mup) < 0.25 and standard > 0.6


@pytest.mark.parametrize(
    "make",
    [
        lambda b: MLP(width=8, mup_base=b),
        lambda b: dataclasses.replace(DECODER, mup_base=b),
    ],
)
def test_mup_at_its_base_is_the_standard_model(make):
    task = TOKENS if make(0).family == "transformer" else SERIES
    (plain, params), (scaled, same) = made(make(0), task), made(make(8), task)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    x = inputs_of(task)
    plain_apply, scaled_apply = jax.jit(plain.apply), jax.jit(scaled.apply)
    np.testing.assert_array_equal(plain_apply(params, x), scaled_apply(params, x))
