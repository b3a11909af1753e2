"""Metrics against their definitions, written out example by example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.training.metrics import measures, whole


def draw_predictions(seed, examples, classes):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((examples, classes)).astype(np.float32)
    labels = rng.integers(0, classes, examples).astype(np.int32)
    return scores, labels


SHAPES = (st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 9))


@settings(max_examples=40, deadline=None)
@given(*SHAPES)
def test_classification_metrics_are_their_definitions(seed, examples, classes):
    scores, labels = draw_predictions(seed, examples, classes)
    found = measures("class", scores, labels)
    ranked = [sorted(range(classes), key=lambda v: -row[v]) for row in scores]
    first = [r[0] for r in ranked]
    hits = [a == b for a, b in zip(first, labels, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    assert found["error"] == pytest.approx(1 - np.mean(hits))
    if classes > 5:
        five = [b in r[:5] for r, b in zip(ranked, labels, strict=True)]
        assert found["top5_accuracy"] == pytest.approx(np.mean(five))
    else:
        assert "top5_accuracy" not in found

    scores_f1, precisions = [], []
    for v in range(classes):
        tp = sum(a == v and b == v for a, b in zip(first, labels, strict=True))
        fp = sum(a == v and b != v for a, b in zip(first, labels, strict=True))
        fn = sum(a != v and b == v for a, b in zip(first, labels, strict=True))
        if tp + fp + fn:
            scores_f1.append(2 * tp / (2 * tp + fp + fn))
        of_class = [h for h, b in zip(hits, labels, strict=True) if b == v]
        assert (f"accuracy/{v}" in found) == bool(of_class)
        if of_class:
            assert found[f"accuracy/{v}"] == pytest.approx(np.mean(of_class))
            order = sorted(range(examples), key=lambda e, v=v: -scores[e, v])
            at, seen = [], 0
            for rank, e in enumerate(order, start=1):
                if labels[e] == v:
                    seen += 1
                    at.append(seen / rank)
            precisions.append(np.mean(at))
    assert found["macro_f1"] == pytest.approx(np.mean(scores_f1))
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions))


@settings(max_examples=20, deadline=None)
@given(*SHAPES)
def test_r2_is_its_definition(seed, examples, outputs):
    rng = np.random.default_rng(seed)
    targets = rng.standard_normal((examples + 1, outputs))
    predicted = rng.standard_normal((examples + 1, outputs))
    each = [
        1
        - sum((t - p) ** 2 for t, p in zip(targets[:, o], predicted[:, o], strict=True))
        / ((examples + 1) * np.var(targets[:, o]))
        for o in range(outputs)
    ]
    assert measures("real", predicted, targets)["r2"] == pytest.approx(np.mean(each))


def test_perfect_and_constant_predictions():
    _, labels = draw_predictions(0, 50, 7)
    perfect = measures("class", np.eye(7)[labels], labels)
    assert all(
        value == (0 if name == "error" else 1) for name, value in perfect.items()
    )
    targets = np.random.default_rng(0).standard_normal((30, 2))
    assert measures("real", targets, targets) == {"r2": 1.0}
    mean = np.broadcast_to(targets.mean(axis=0), targets.shape)
    assert measures("real", mean, targets)["r2"] == pytest.approx(0)
    assert measures("real", np.ones((4, 1)), np.ones((4, 1))) == {}


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
def test_two_valued_targets_have_an_accuracy(low, high):
    targets = np.array([low, low, high, high], float)[:, None]
    middle = (low + high) / 2
    outputs = np.array([low, middle + 0.1, middle + 0.1, middle - 0.1])[:, None]
    assert measures("real", outputs, targets)["accuracy"] == 0.5


def test_values_of_single_classes_stay_out_of_the_table_of_runs():
    scores, labels = draw_predictions(0, 50, 3)
    found = measures("class", scores, labels)
    assert set(whole(found)) == {
        "accuracy",
        "error",
        "macro_f1",
        "mean_average_precision",
    }
    assert len(found) == 7
