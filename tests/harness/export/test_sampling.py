"""What is drawn from a cache is what the whole forward pass says, token for token."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from harness import RNN, LinearRNN, Transformer
from harness.errors import DataError, SpecError
from harness.export import sampling
from tests.harness.export.runs import CONTEXT, TOKENS, VOCAB, drawn
from tests.harness.new_family import Bigram

COUNT = 25
PROMPT = [3, 1, 4]
LONG_PROMPT = [i % VOCAB for i in range(19)]
CHOOSE = jax.jit(sampling.choose)
transformer = functools.partial(Transformer, width=16, depth=2, heads=4)

CACHED = {
    "rotary": transformer(),
    "learned, tied": transformer(positions="learned", tied=True, kv_heads=2),
    "grouped heads": transformer(kv_heads=2, mlp="swiglu", depth=1),
    "one key head, muP": transformer(kv_heads=1, mup_base=8),
    "experts, some full": transformer(experts=4, top_k=2, capacity=0.6),
    "one expert each": transformer(experts=3, top_k=1, capacity=0.0, mlp="swiglu"),
    "simple": RNN(width=12, cell="simple"),
    "gru": RNN(width=12, cell="gru"),
    "lstm": RNN(width=12, depth=2, cell="lstm"),
    "linear": LinearRNN(width=16, depth=2),
}


def seen(n_prompt, n, unbounded):
    """First and last token that number n is drawn from, as `sample` promises."""
    first = max(0, n_prompt - CONTEXT)
    while not unbounded and n - first > CONTEXT:
        # The window was full when it held the tokens up to first + CONTEXT.
        first += CONTEXT + 1 - CONTEXT // 2
    return 0 if unbounded else first, n


def by_full_passes(trained, prompt, choice):
    """The same tokens, each from a forward pass over all that it may see."""
    unbounded = trained.model.stepping is not None and trained.model.stepping.unbounded
    room = len(prompt) + COUNT if unbounded else CONTEXT
    forward = jax.jit(trained.model.apply)
    ids = list(prompt)
    for index in range(COUNT):
        first, last = seen(len(prompt), len(ids), unbounded)
        padded = np.zeros((1, room), np.int32)
        padded[0, : last - first] = ids[first:last]
        logits_V = forward(trained.params, padded)[0, last - first - 1]
        ids.append(int(CHOOSE(logits_V, choice, index)))
    return ids[len(prompt) :]


def choice(temperature, top_k=VOCAB, seed=7):
    return sampling.Choice(np.float32(temperature), np.int32(top_k), np.uint32(seed))


@pytest.mark.parametrize("name", CACHED)
def test_cached_tokens_are_those_of_full_passes(name):
    trained = drawn(CACHED[name])
    assert trained.model.stepping is not None
    greedy = trained.sample(PROMPT, COUNT, temperature=0)
    assert greedy == by_full_passes(trained, PROMPT, choice(0))
    warm = trained.sample(LONG_PROMPT, COUNT, temperature=1.3, top_k=5, seed=7)
    assert warm == by_full_passes(trained, LONG_PROMPT, choice(1.3, top_k=5))
    assert len(set(warm)) > 2


@pytest.mark.parametrize("name", ["grouped heads", "experts, some full", "lstm"])
def test_cached_logits_are_those_of_one_full_pass(name):
    trained = drawn(CACHED[name])
    stepping, params = trained.model.stepping, trained.params
    tokens = np.random.default_rng(0).integers(0, VOCAB, (3, CONTEXT))
    cache, logits = stepping.empty(params, 3), []
    step = jax.jit(stepping.step)
    for position in range(CONTEXT):
        now, cache = step(params, tokens[:, position], position, cache)
        logits.append(now)
    full = jax.jit(trained.model.apply)(params, tokens)
    np.testing.assert_allclose(np.stack(logits, axis=1), full, atol=2e-5)


def test_bfloat16_is_sampled_in_bfloat16():
    trained = drawn(CACHED["grouped heads"], precision="bfloat16")
    (keys, _), _ = trained.model.stepping.empty(trained.params, 1)[0]
    assert keys.dtype == jax.numpy.bfloat16
    assert len(trained.sample(PROMPT, COUNT)) == COUNT


@pytest.mark.parametrize("model", [Bigram(rank=4), CACHED["rotary"]], ids=str)
def test_a_family_without_a_cached_path_is_sampled_by_full_passes(model):
    trained = drawn(model)
    uncached = dataclasses.replace(trained.model, stepping=None)
    full = sampling.sampler(uncached, trained.task)
    ids = full.draw(trained.params, PROMPT, COUNT, choice(1.0))
    assert ids == by_full_passes(trained, PROMPT, choice(1.0))
    assert ids == trained.sample(PROMPT, COUNT, seed=7)


def test_one_program_draws_samples_of_all_lengths():
    program = sampling.sampler((trained := drawn(CACHED["gru"])).model, trained.task)
    for prompt, count, temperature in ((PROMPT, 1, 0), (LONG_PROMPT, 40, 0.5)):
        program.draw(trained.params, prompt, count, choice(temperature, count))
    assert program.fill._cache_size() == 1


def test_top_k_and_temperature_choose_as_they_say():
    logits = np.log(np.array([0.5, 0.1, 0.25, 0.15], np.float32))
    draw = jax.jit(jax.vmap(sampling.choose, in_axes=(None, None, 0)))
    of_two = np.asarray(draw(logits, choice(1.0, 2), np.arange(3000)))
    assert set(of_two) == {0, 2}
    assert abs(np.mean(of_two == 0) - 2 / 3) < 0.03
    sharp = np.asarray(draw(logits, choice(0.5, 4), np.arange(3000)))
    squares = np.square(np.exp(logits))
    shares = np.bincount(sharp, minlength=4) / 3000
    np.testing.assert_allclose(shares, squares / squares.sum(), atol=0.03)


def test_a_seed_draws_the_same_again_and_another_draws_others():
    trained = drawn(CACHED["gru"])
    first = trained.sample(PROMPT, COUNT, seed=1)
    assert trained.sample(PROMPT, COUNT, seed=1) == first
    assert trained.sample(PROMPT, COUNT, seed=2) != first
    assert trained.sample(PROMPT, 5, seed=1) == first[:5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [3, VOCAB]}, f"token id {VOCAB} is not in the vocabulary"),
        ({"prompt": [0.5]}, "token ids are integers"),
        ({"tokens": 0}, "tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"seed": 2**32}, "seed is"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    trained = drawn(CACHED["gru"])
    with pytest.raises(SpecError, match=message):
        trained.sample(**{"prompt": PROMPT, "tokens": 3, **changes})


def test_text_needs_data_that_are_text():
    with pytest.raises(DataError, match="'zipf_markov' hold no text; use token ids"):
        drawn(CACHED["gru"]).sample("the", 3)
    assert TOKENS.shape.target == "next_token"
