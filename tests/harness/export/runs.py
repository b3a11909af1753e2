"""Small runs and trained models that the tests of this folder share."""

import jax
import numpy as np

from harness import WSD, AdamW, RunSpec, Trained, ZipfMarkov
from harness.families.build import build

CONTEXT, VOCAB = 8, 11
TOKENS = ZipfMarkov(
    vocab=VOCAB, context=CONTEXT, unique_tokens=64 * CONTEXT, eval_sequences=20
)


def run_of(model, data=TOKENS, **fields):
    """A run of a model on data, short unless `fields` say otherwise."""
    fields = {"schedule": WSD(), "batch": 4, "steps": 10, **fields}
    return RunSpec(model=model, data=data, optimizer=AdamW(lr=1e-2), **fields)


def drawn(model, data=TOKENS, **fields):
    """A model with random weights, gains and biases, of which none is zero."""
    like = jax.eval_shape(build(model, data.shape).init, jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = 0.3 if leaf.ndim < 2 else leaf.shape[-2] ** -0.5
        return rng.normal(scale=scale, size=leaf.shape).astype(leaf.dtype)

    params = jax.device_put(jax.tree.map(draw, like))
    return Trained(run=run_of(model, data, **fields), params=params)


def inputs_of(trained, count, seed=0):
    """A batch of inputs of the task's kind."""
    task, rng = trained.task, np.random.default_rng(seed)
    shapes = {
        "tokens": (count, task.length),
        "vectors": (count, task.inputs),
        "images": (count, *task.size, task.inputs),
        "sequences": (count, task.length, task.inputs),
    }
    if task.kind == "tokens":
        return rng.integers(0, task.inputs, shapes["tokens"]).astype(np.int32)
    return rng.uniform(size=shapes[task.kind]).astype(np.float32)
