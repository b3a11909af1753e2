"""Hypothesis strategies and small runs that several tests share."""

import dataclasses

from hypothesis import strategies as st

from harness import (
    CNN,
    MLP,
    RNN,
    WSD,
    AdamW,
    LinearRNN,
    ResNet,
    RunSpec,
    TeacherStudent,
    Text,
    Transformer,
    ViT,
)
from harness.specs.task import TaskShape
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import Plan, plan
from harness.sweeps.sweep import Point

ALONE = TrainOptions(population=1)
"""One run after another, whatever a population would gain."""
TINY_TEXT = Text(context=16, eval_sequences=8)
TINY_REGRESSION = TeacherStudent(inputs=5, unique_examples=64, eval_examples=32)


RATES = st.sampled_from([0.0, 0.3])
ACTIVATIONS = st.sampled_from(["relu", "gelu", "tanh", "sigmoid", "silu"])


@st.composite
def drawn(draw, *, mup=False):
    """Fields `init`, `sigma` and `mup_base` that go together."""
    init = draw(st.sampled_from(["default", "lecun", "he", "glorot", "normal"]))
    fields = {"init": init, "sigma": 0.02 if init == "normal" else 0.0}
    if mup and init == "default":
        fields["mup_base"] = draw(st.sampled_from([0, 3]))
    return fields


@st.composite
def mixtures(draw):
    """Fields of a mixture of experts, or none."""
    experts = draw(st.sampled_from([0, 1, 4]))
    if not experts:
        return {}
    return {
        "experts": experts,
        "top_k": draw(st.integers(1, min(3, experts))),
        "capacity": draw(st.sampled_from([0.0, 0.6, 1.0, 1.25])),
    }


@st.composite
def transformers(draw):
    kv_heads = draw(st.sampled_from([None, 1, 2, 3]))
    heads = draw(st.integers(1, 3)) * (kv_heads or 1)
    head_size = 2 * draw(st.integers(1, 4))
    return Transformer(
        width=heads * head_size,
        depth=draw(st.integers(1, 3)),
        heads=heads,
        kv_heads=kv_heads,
        ffn=draw(st.sampled_from([None, 5, 24])),
        mlp=draw(st.sampled_from(["gelu", "swiglu"])),
        positions=draw(st.sampled_from(["rotary", "learned"])),
        tied=draw(st.booleans()),
        dropout=draw(RATES),
        **draw(drawn(mup=True)),
        **draw(mixtures()),
    )


@st.composite
def mlps(draw):
    return MLP(
        width=draw(st.integers(1, 9)),
        depth=draw(st.integers(1, 4)),
        activation=draw(ACTIVATIONS),
        bias=draw(st.booleans()),
        dropout=draw(RATES),
        **draw(drawn(mup=True)),
    )


@st.composite
def cnns(draw):
    channels = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    return CNN(
        channels=tuple(channels),
        pools=draw(st.sampled_from([None, 0, 1])),
        kernel=draw(st.integers(1, 3)),
        padding=draw(st.sampled_from(["same", "valid"])),
        pool=draw(st.sampled_from(["max", "mean"])),
        hidden=draw(st.sampled_from([0, 3])),
        activation=draw(ACTIVATIONS),
        bias=draw(st.booleans()),
        dropout=draw(RATES),
        **draw(drawn()),
    )


@st.composite
def resnets(draw):
    return ResNet(
        width=draw(st.integers(1, 5)),
        blocks=draw(st.integers(1, 2)),
        stages=draw(st.integers(1, 3)),
        dropout=draw(RATES),
        **draw(drawn()),
    )


@st.composite
def vits(draw):
    heads = draw(st.integers(1, 3))
    return ViT(
        width=heads * draw(st.integers(1, 4)),
        depth=draw(st.integers(1, 2)),
        heads=heads,
        patch=draw(st.integers(1, 4)),
        ffn=draw(st.sampled_from([None, 5])),
        dropout=draw(RATES),
        **draw(drawn()),
    )


@st.composite
def rnns(draw):
    return RNN(
        width=draw(st.integers(1, 6)),
        depth=draw(st.integers(1, 3)),
        cell=draw(st.sampled_from(["simple", "gru", "lstm"])),
        dropout=draw(RATES),
        **draw(drawn()),
    )


@st.composite
def linear_rnns(draw):
    return LinearRNN(
        width=draw(st.integers(1, 6)),
        depth=draw(st.integers(1, 3)),
        ffn=draw(st.sampled_from([None, 5])),
        dropout=draw(RATES),
        **draw(drawn()),
    )


@st.composite
def next_token_tasks(draw):
    V = draw(st.integers(2, 30))
    T = draw(st.integers(2, 12))
    return TaskShape(kind="tokens", length=T, inputs=V, outputs=V, target="next_token")


@st.composite
def token_class_tasks(draw):
    T, V, O = (draw(st.integers(2, 9)) for _ in range(3))  # noqa: E741
    return TaskShape(kind="tokens", length=T, inputs=V, outputs=O, target="class")


@st.composite
def vector_tasks(draw):
    return TaskShape(
        kind="vectors",
        length=1,
        inputs=draw(st.integers(1, 12)),
        outputs=draw(st.integers(1, 5)),
        target=draw(st.sampled_from(["real", "class"])),
    )


@st.composite
def image_tasks(draw):
    return TaskShape(
        kind="images",
        length=1,
        inputs=draw(st.integers(1, 3)),
        outputs=draw(st.integers(2, 5)),
        target=draw(st.sampled_from(["real", "class"])),
        size=(draw(st.integers(4, 13)), draw(st.integers(4, 13))),
    )


@st.composite
def sequence_tasks(draw):
    return TaskShape(
        kind="sequences",
        length=draw(st.integers(2, 9)),
        inputs=draw(st.integers(1, 4)),
        outputs=draw(st.integers(1, 4)),
        target=draw(st.sampled_from(["real", "class"])),
    )


token_models = st.one_of(transformers(), rnns(), linear_rnns())
pairs = st.one_of(
    st.tuples(token_models, next_token_tasks()),
    st.tuples(token_models, token_class_tasks()),
    st.tuples(st.one_of(rnns(), linear_rnns(), mlps()), sequence_tasks()),
    st.tuples(st.one_of(mlps(), cnns(), resnets(), vits()), image_tasks()),
    st.tuples(mlps(), vector_tasks()),
)
"""A model and a task; not every one of them can be trained on the other."""


def text_run(**changes) -> RunSpec:
    """A transformer run that trains in well under a second."""
    base = RunSpec(
        model=Transformer(width=8, depth=1, heads=2),
        data=TINY_TEXT,
        optimizer=AdamW(lr=1e-2, weight_decay=0.1),
        schedule=WSD(warmup=2),
        batch=4,
        steps=20,
    )
    return dataclasses.replace(base, **changes)


def mlp_run(**changes) -> RunSpec:
    """A perceptron run that trains in well under a second."""
    base = RunSpec(
        model=MLP(width=6),
        data=TINY_REGRESSION,
        optimizer=AdamW(lr=1e-2),
        schedule=WSD(),
        batch=8,
        steps=20,
    )
    return dataclasses.replace(base, **changes)


def planned(*runs: RunSpec) -> Plan:
    """The plan of these runs."""
    return plan([Point(run=run) for run in runs])
