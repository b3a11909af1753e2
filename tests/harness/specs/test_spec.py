"""Specs: ids that never move by accident, canonical JSON, helpful errors."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from harness import (
    CNN,
    MLP,
    RNN,
    SGD,
    WSD,
    AdamW,
    Constant,
    Cosine,
    LinearRNN,
    RunSpec,
    SmoothedLikelihood,
    TeacherStudent,
    Text,
    Transformer,
    ViT,
)
from harness.errors import SpecError
from harness.specs.base import spec
from harness.specs.canonical import canonical_json
from harness.specs.reading import resolve
from harness.specs.run import ModelSpec
from harness.specs.task import TaskShape
from tests.harness.strategies import mlp_run, mlps, text_run, transformers

DIGITS = TaskShape(
    kind="images", length=1, inputs=1, outputs=10, target="class", size=(28, 28)
)
GOLDEN = Path(__file__).with_name("golden_run_ids.json")


def resolved(run):
    return dataclasses.replace(run, data=resolve(run.data))


def golden_runs():
    return {
        "text default": resolved(text_run()),
        "text gated, grouped, tied": resolved(
            text_run(
                model=Transformer(
                    width=16, depth=2, heads=4, kv_heads=2, mlp="swiglu", tied=True
                )
            )
        ),
        "text cosine, bfloat16": resolved(
            text_run(optimizer=AdamW(lr=1e-3), schedule=Cosine(), precision="bfloat16")
        ),
        "mlp default": mlp_run(),
        "mlp sgd": mlp_run(optimizer=SGD(lr=1e-3, momentum=0.9), schedule=WSD()),
        "mlp regularised": mlp_run(
            model=MLP(width=6, dropout=0.1, init="he"),
            optimizer=AdamW(lr=1e-3),
            schedule=WSD(),
            l1=1e-4,
            l2=1e-3,
            patience=3,
        ),
        "text experts": resolved(
            text_run(model=Transformer(width=8, depth=1, heads=2, experts=4))
        ),
        "text lstm": resolved(text_run(model=RNN(width=8))),
        "text linear recurrence": resolved(text_run(model=LinearRNN(width=8, depth=1))),
    }


def test_golden_ids():
    """Changing an id orphans every finished run of every user. Only a change in the
    meaning of a spec justifies it, and then SPEC_VERSION is raised with it."""
    expected = json.loads(GOLDEN.read_text())
    assert {name: run.run_id for name, run in golden_runs().items()} == expected


def test_every_identity_field_changes_the_id():
    run = resolved(text_run())
    ids = {run.run_id}
    for change in (
        {"steps": 21},
        {"batch": 5},
        {"seed_init": 1},
        {"seed_order": 1},
        {"seed_data": 1},
        {"precision": "bfloat16"},
        {"evals_per_octave": 4},
        {"optimizer": dataclasses.replace(run.optimizer, lr=0.011)},
        {"optimizer": SGD(lr=run.optimizer.lr)},
        {"schedule": Constant()},
        {"loss": SmoothedLikelihood(label_smoothing=0.1)},
        {"model": dataclasses.replace(run.model, tied=True)},
        {"data": dataclasses.replace(run.data, unique_tokens=1600)},
        {"data": dataclasses.replace(run.data, digest="0" * 16)},
    ):
        ids.add(dataclasses.replace(run, **change).run_id)
    assert len(ids) == 15


def test_an_added_field_at_its_default_is_no_part_of_the_id():
    run = mlp_run()
    kept = run.identity()
    assert "patience" not in kept and "dropout" not in kept["model"]
    assert not {"l1", "l2", "loss", "metrics"} & kept.keys()
    assert run.to_dict()["patience"] == 0
    changes = (
        {"patience": 1},
        {"model": dataclasses.replace(run.model, dropout=0.1)},
        {"model": dataclasses.replace(run.model, init="lecun")},
        {"model": dataclasses.replace(run.model, mup_base=3)},
        {"l1": 0.1},
        {"l2": 0.1},
    )
    ids = {dataclasses.replace(run, **change).run_id for change in changes}
    assert len(ids | {run.run_id}) == 1 + len(changes)


def test_lists_are_tuples_of_whole_numbers():
    spec = CNN(channels=[8, np.int64(16)])
    assert spec == CNN(channels=(8, 16)) and hash(spec)
    again = CNN.from_dict(json.loads(canonical_json(spec.to_dict())))
    assert again == spec and again.channels == (8, 16)


def test_the_path_of_a_corpus_is_not_part_of_the_id(tmp_path):
    words = bytes(range(97, 123)) * 40
    ids = set()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(words)
        corpus = Text(corpus=str(tmp_path / name), context=8, eval_sequences=2)
        ids.add(resolved(text_run(data=corpus)).run_id)
    (tmp_path / "b.txt").write_bytes(words.upper())
    ids.add(resolved(text_run(data=corpus)).run_id)
    assert len(ids) == 2


def test_equal_numbers_of_other_types_are_the_same_run():
    run = mlp_run(
        steps=np.int64(20), optimizer=AdamW(lr=np.float64(0.01)), schedule=WSD()
    )
    assert run == mlp_run() and run.run_id == mlp_run().run_id
    assert (
        mlp_run(optimizer=AdamW(lr=1), schedule=WSD()).run_id
        == mlp_run(optimizer=AdamW(lr=1.0), schedule=WSD()).run_id
    )


@settings(max_examples=50, deadline=None)
@given(transformers(), mlps())
def test_json_round_trip(transformer, mlp):
    for run in (text_run(model=transformer), mlp_run(model=mlp)):
        again = RunSpec.from_dict(json.loads(canonical_json(run.to_dict())))
        assert again == run


def test_an_unread_corpus_has_no_id():
    with pytest.raises(SpecError, match="before its data"):
        _ = text_run().run_id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transformer(widht=8, depth=1, heads=1), "did you mean width"),
        (lambda: Transformer(width=8, heads=1), "needs depth"),
        (
            lambda: Transformer(width=96, depth=1, heads=5),
            r"96 is not divisible by heads 5; use heads in \{1, 2, 3, 4, 6, 8, …\}",
        ),
        (lambda: Transformer(width=8, depth=1, heads=4, kv_heads=3), "kv_heads 3"),
        (lambda: Transformer(width=9, depth=1, heads=3), "even head size"),
        (lambda: Transformer(width=8.5, depth=1, heads=1), "whole number"),
        (lambda: Transformer(width=True, depth=1, heads=1), "whole number"),
        (lambda: Transformer(width=8, depth=1, heads=1, mlp="relu"), "gelu, swiglu"),
        (lambda: MLP(width=0), "at least 1"),
        (lambda: MLP(width=4, dropout=1.0), r"not in \[0, 1\)"),
        (lambda: MLP(width=4, init="normal"), "sigma is the standard"),
        (lambda: MLP(width=4, sigma=0.1), "sigma is the standard"),
        (lambda: MLP(width=4, init="he", mup_base=2), "use init='default'"),
        (lambda: CNN(channels=8), "a list of whole numbers"),
        (lambda: CNN(channels=()), "at least one"),
        (lambda: CNN(channels=(8, 1.5)), "whole number"),
        (lambda: CNN(channels=(8,), pools=2), "more than the 1 convolutions"),
        (lambda: CNN(channels=(1,) * 5).check(DIGITS), "shrink to nothing"),
        (lambda: ViT(width=8, depth=1, heads=2, patch=5).check(DIGITS), "not divide"),
        (lambda: RNN(width=8).check(DIGITS), "reads tokens or sequences, not images"),
        (
            lambda: Transformer(width=8, depth=1, heads=2, experts=2, top_k=3),
            "top_k 3 is more than the 2 experts",
        ),
        (
            lambda: Transformer(width=8, depth=1, heads=2, top_k=1),
            "no effect without experts",
        ),
        (lambda: SmoothedLikelihood(label_smoothing=1.0), r"not in \[0, 1\)"),
        (lambda: AdamW(lr=-1.0), "at least 0"),
        (lambda: AdamW(lr=float("nan")), "finite"),
        (lambda: AdamW(lr="fast"), "must be a number"),
        (lambda: WSD(cooldown=0.0), r"not in \(0, 1\]"),
        (lambda: AdamW(lr=1, beta2=1.0), r"not in \[0, 1\)"),
        (lambda: AdamW(lr=1, momentum=0.9), "AdamW has no field 'momentum'"),
        (lambda: Text(context=16, unique_tokens=100), "use 96"),
        (lambda: TeacherStudent(noise=-1), "at least 0"),
        (lambda: text_run(model=MLP(width=4)), "mlp reads vectors"),
        (lambda: mlp_run(model=text_run().model), "reads tokens"),
        (
            lambda: text_run(
                steps=10, optimizer=AdamW(lr=1e-3), schedule=WSD(warmup=9)
            ).check_budget(),
            "warm",
        ),
        (lambda: text_run().with_tokens(10), "token budget 10 is smaller than one"),
        (lambda: RunSpec.from_dict({"model": {"family": "transfomer"}}), "transformer"),
        (lambda: RunSpec.from_dict({"model": 3}), "JSON object"),
        (lambda: text_run(steps=0).check_budget(), "no budget"),
        (lambda: text_run(seed_init=2**32), "below 2"),
        (lambda: AdamW(lr=10**400), "must be a number"),
        (lambda: text_run(steps=10**30), "finite, below"),
        (lambda: text_run().with_tokens("abc"), "tokens is 'abc'"),
        (lambda: text_run().with_tokens(float("inf")), "finite"),
        (lambda: SGD(lr=1, beta1=0.5), "SGD has no field 'beta1'"),
        (lambda: Cosine(cooldown=0.5), "Cosine has no field 'cooldown'"),
        (lambda: Text(eval_sequences=1), "at least 2"),
    ],
)
def test_wrong_specs_say_what_to_do(make, message):
    with pytest.raises(SpecError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_two_families_cannot_share_a_name():
    with pytest.raises(SpecError, match=r"'mlp' of .*Mine is taken by harness"):

        @spec
        class Mine(ModelSpec):
            family = "mlp"

    with pytest.raises(SpecError, match="needs a line family = "):

        @spec
        class Other(MLP):
            implementation = "other:Other"


def test_minus_zero_is_zero():
    assert str(AdamW(lr=1, weight_decay=-0.0).weight_decay) == "0.0"
