"""Exported programs give the outputs of the model, in runtimes that know no family."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import harness
from harness import (
    CNN,
    MLP,
    RNN,
    LinearRNN,
    RandomFeatures,
    ResNet,
    Trained,
    Transformer,
    ViT,
)
from harness.data.dataset import load
from harness.errors import SpecError
from harness.export.onnx_file import onnx
from harness.export.stablehlo import stablehlo
from harness.families.layers.cpu import on_cpu
from harness.specs.base import spec
from harness.specs.run import DataSpec, ModelSpec, RunSpec
from harness.specs.task import ForwardFlops, Params, TaskShape
from tests.harness.export.runs import TOKENS, drawn, inputs_of, run_of
from tests.harness.new_family import Bigram
from tests.harness.strategies import TINY_REGRESSION

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("jax2onnx")


@spec
class Shaped(DataSpec):
    """Data of any shape, of which there are none."""

    source = "shaped"
    reader = __name__
    kind: str

    @property
    def shape(self):
        sizes = {"images": (3, (8, 8), 1), "sequences": (3, (1, 1), 6)}
        inputs, size, length = sizes[self.kind]
        return TaskShape(
            kind=self.kind,
            length=length,
            inputs=inputs,
            outputs=5,
            target="class",
            size=size,
        )


IMAGES, SEQUENCES = Shaped(kind="images"), Shaped(kind="sequences")
MODELS = {
    "mlp": (MLP(width=8, depth=3, activation="gelu"), TINY_REGRESSION),
    "gru on sequences": (RNN(width=8, cell="gru", depth=2), SEQUENCES),
    "random features": (RandomFeatures(width=9), TINY_REGRESSION),
    "cnn": (CNN(channels=(4, 6), hidden=7), IMAGES),
    "cnn, valid, mean": (
        CNN(channels=(6, 2), pools=1, padding="valid", pool="mean"),
        IMAGES,
    ),
    "resnet": (ResNet(width=8), IMAGES),
    "vit": (ViT(width=16, depth=2, heads=2, patch=4), IMAGES),
    "transformer": (Transformer(width=16, depth=2, heads=4, kv_heads=2), TOKENS),
    "transformer, learned, tied": (
        Transformer(
            width=16, depth=1, heads=2, positions="learned", tied=True, mlp="swiglu"
        ),
        TOKENS,
    ),
    "experts": (
        Transformer(width=16, depth=2, heads=2, experts=4, top_k=2, capacity=0.6),
        TOKENS,
    ),
    "one expert": (
        Transformer(width=16, depth=1, heads=2, experts=3, top_k=1, mlp="swiglu"),
        TOKENS,
    ),
    "simple": (RNN(width=8, cell="simple"), TOKENS),
    "lstm": (RNN(width=8, depth=2), TOKENS),
    "linear": (LinearRNN(width=16, depth=2), TOKENS),
    "linear on sequences": (LinearRNN(width=8, depth=1), SEQUENCES),
    "one's own": (Bigram(rank=4), TOKENS),
}
NAMES = tuple(MODELS)
VARIANTS = ("cnn, valid, mean", "one expert", "simple", "linear on sequences")
"""Whose operations, though not their places in ONNX, are those of others."""


def run_onnx(exported, inputs):
    session = onnxruntime.InferenceSession(exported.program)
    (outputs,) = session.run(None, {"inputs": inputs})
    return outputs


def expected(trained, inputs):
    """The outputs of the forms that training uses."""
    assert on_cpu() == (jax.default_backend() == "cpu")
    return np.asarray(trained.apply(inputs))


# It reads a variable of Flax in a way that Flax will give up.
@pytest.mark.filterwarnings("ignore:'.value' access:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_onnx_gives_the_same_outputs_for_batches_of_any_size(name):
    trained = drawn(*MODELS[name])
    exported = onnx(trained)
    assert exported.batch is None
    for count in (1, 5):
        inputs = inputs_of(trained, count, seed=count)
        outputs = run_onnx(exported, inputs)
        assert outputs.dtype == np.float32
        np.testing.assert_allclose(outputs, expected(trained, inputs), atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in VARIANTS])
def test_stablehlo_gives_the_same_outputs_for_batches_of_any_size(name):
    trained = drawn(*MODELS[name])
    exported = stablehlo(trained)
    assert exported.batch is None
    program = jax.export.deserialize(bytearray(exported.program))
    assert set(program.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    for count in (1, 5):
        inputs = inputs_of(trained, count, seed=count)
        outputs = program.call(inputs)
        np.testing.assert_allclose(outputs, expected(trained, inputs), atol=1e-5)


def test_the_held_out_loss_of_the_store_comes_out_of_onnx():
    result = harness.train(run_of(MODELS["experts"][0], steps=30, batch=8))
    exported = onnx(Trained(run=result.run, params=result.params))
    dataset = load(result.run.data, result.run.seed_data)
    inputs, targets = dataset.gather(dataset.held_out, dataset.eval_offsets)
    logits = run_onnx(exported, inputs.astype(np.int32))
    nats = -np.asarray(jax.nn.log_softmax(logits))
    loss = np.take_along_axis(nats, targets[..., None].astype(np.int64), axis=-1).mean()
    assert loss == pytest.approx(result.row["loss"], abs=1e-4)
    assert loss < np.log(TOKENS.vocab)


def test_bfloat16_is_exported_with_float32_outputs():
    trained = drawn(*MODELS["transformer"], precision="bfloat16")
    inputs = inputs_of(trained, 3)
    program = jax.export.deserialize(bytearray(stablehlo(trained).program))
    outputs = program.call(inputs)
    assert outputs.dtype == jnp.float32
    exact = expected(drawn(*MODELS["transformer"]), inputs)
    np.testing.assert_allclose(outputs, exact, atol=0.2)


def test_an_onnx_file_says_which_run_it_is_of():
    trained = drawn(*MODELS["mlp"])
    session = onnxruntime.InferenceSession(onnx(trained).program)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["harness.run_id"] == trained.run.run_id
    assert RunSpec.from_dict(json.loads(facts["harness.spec"])) == trained.run


def test_an_export_leaves_training_as_it_is():
    trained = drawn(*MODELS["experts"])
    inputs = inputs_of(trained, 3)

    def gradient():
        loss = lambda p: jnp.square(trained.model.apply(p, inputs)).sum()  # noqa: E731
        return jax.tree.leaves(jax.jit(jax.grad(loss))(trained.params))

    before = gradient()
    onnx(trained), stablehlo(trained)
    for one, other in zip(before, gradient(), strict=True):
        np.testing.assert_array_equal(one, other)


class Counted(ModelSpec):
    """Base of families for tests: no matter what they cost."""

    __slots__ = ()

    def params(self, task):
        return Params(embed=0, head=task.inputs, head_matrix=0, body_matrices=0)

    def forward_flops(self, task):
        return ForwardFlops(full=1, causal=1)


@spec
class Looped(Counted):
    """A family that loops over its batch in Python."""

    family = "looped"
    implementation = f"{__name__}:LoopedModule"


class LoopedModule(nnx.Module):
    def __init__(self, spec, task, *, dtype, rngs):
        self.gain = nnx.Param(jnp.ones(task.inputs))

    def __call__(self, x):
        return jnp.stack([x[i] @ self.gain[...] for i in range(len(x))])[:, None]


@spec
class Spectral(Counted):
    """A family with an operation that ONNX lacks."""

    family = "spectral"
    implementation = f"{__name__}:SpectralModule"


class SpectralModule(LoopedModule):
    def __call__(self, x):
        square = x[:, :, None] * x[:, None, :] + jnp.eye(x.shape[1])
        return jax.lax.linalg.eigh(square)[1][:, :1] * self.gain[...]


def test_a_family_that_needs_a_fixed_batch_gets_one():
    trained = drawn(Looped(), TINY_REGRESSION)
    inputs = inputs_of(trained, 1)
    exported = stablehlo(trained)
    assert exported.batch == 1
    program = jax.export.deserialize(bytearray(exported.program))
    np.testing.assert_allclose(
        program.call(inputs), expected(trained, inputs), atol=1e-6
    )
    in_onnx = onnx(trained)
    assert in_onnx.batch == 1
    np.testing.assert_allclose(
        run_onnx(in_onnx, inputs), expected(trained, inputs), atol=1e-6
    )


def test_an_operation_that_onnx_lacks_is_named():
    with pytest.raises(SpecError, match=r"spectral has an operation .*eigh"):
        onnx(drawn(Spectral(), TINY_REGRESSION))
