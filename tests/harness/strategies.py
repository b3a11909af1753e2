"""Hypothesis strategies and small runs that several tests share."""

import dataclasses

from hypothesis import strategies as st

from harness import MLP, OptimSpec, RunSpec, TeacherStudent, Text, Transformer
from harness.plan import Plan, plan
from harness.sweep import Point

TINY_TEXT = Text(context=16, eval_sequences=8)
TINY_REGRESSION = TeacherStudent(inputs=5, unique_examples=64, eval_examples=32)


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
    )


@st.composite
def mlps(draw):
    return MLP(
        width=draw(st.integers(1, 9)),
        depth=draw(st.integers(1, 4)),
        activation=draw(st.sampled_from(["relu", "gelu", "tanh"])),
        bias=draw(st.booleans()),
    )


def text_run(**changes) -> RunSpec:
    """A transformer run that trains in well under a second."""
    base = RunSpec(
        model=Transformer(width=8, depth=1, heads=2),
        data=TINY_TEXT,
        optim=OptimSpec(lr=1e-2, warmup=2, weight_decay=0.1),
        batch=4,
        steps=20,
    )
    return dataclasses.replace(base, **changes)


def mlp_run(**changes) -> RunSpec:
    """A perceptron run that trains in well under a second."""
    base = RunSpec(
        model=MLP(width=6),
        data=TINY_REGRESSION,
        optim=OptimSpec(lr=1e-2),
        batch=8,
        steps=20,
    )
    return dataclasses.replace(base, **changes)


def planned(*runs: RunSpec) -> Plan:
    """The plan of these runs."""
    return plan([Point(run=run) for run in runs])
