"""Metrics of held-out predictions besides the loss: plain numpy.

Classes that no held-out example has are left out: they have no accuracy and no average
precision. Ties between predictions go to the lower class, and between examples to the
earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from harness.data.files import Array
from harness.specs.registry import implementation
from harness.specs.run import RunSpec


def measures(target: str, outputs_EO: Array, targets: Array) -> dict[str, float]:
    """Metrics of predictions for a task whose `target` is "class" or "real".

    `targets` are labels (E,) or reals (E, O). The value of one class has the class in
    its name: `accuracy/3`.
    """
    if target == "class":
        return classification(outputs_EO, targets)
    return regression(outputs_EO, targets)


def own_measures(run: RunSpec, outputs_EO: Array, targets: Array) -> dict[str, float]:
    """The metrics of the run's own that take all predictions at once."""
    return {
        metric.name: float(
            implementation(type(metric))(
                outputs_EO,
                targets,
                SimpleNamespace(
                    **metric.fixed(), **metric.traced(), task=run.data.shape
                ),
            )
        )
        for metric in run.metrics
        if metric.whole
    }


def classification(scores_EV: Array, labels_E: Array) -> dict[str, float]:
    """Accuracy, error (1 - accuracy), macro F1, mean average precision, top-5 where
    there are more than 5 classes; accuracy of each class."""
    predicted_E = scores_EV.argmax(axis=1)
    hit_E = predicted_E == labels_E
    present = np.unique(labels_E)
    out = {"accuracy": float(hit_E.mean()), "error": float(1 - hit_E.mean())}
    if scores_EV.shape[1] > 5:
        out["top5_accuracy"] = top_accuracy(scores_EV, labels_E, 5)
    out["macro_f1"] = macro_f1(predicted_E, labels_E, scores_EV.shape[1])
    precisions = [average_precision(scores_EV[:, v], labels_E == v) for v in present]
    out["mean_average_precision"] = float(np.mean(precisions))
    return out | {f"accuracy/{v}": float(hit_E[labels_E == v].mean()) for v in present}


def top_accuracy(scores_EV: Array, labels_E: Array, k: int) -> float:
    """Share of examples whose label is among the `k` highest scores."""
    own_E1 = np.take_along_axis(scores_EV, labels_E[:, None].astype(np.int64), axis=1)
    classes_V = np.arange(scores_EV.shape[1])
    tied = (scores_EV == own_E1) & (classes_V < labels_E[:, None])
    before_E = ((scores_EV > own_E1) | tied).sum(axis=1)
    return float((before_E < k).mean())


def macro_f1(predicted_E: Array, labels_E: Array, classes: int) -> float:
    """Mean over classes, predicted or true, of 2·TP / (2·TP + FP + FN)."""
    true_V = np.bincount(labels_E, minlength=classes)
    predicted_V = np.bincount(predicted_E, minlength=classes)
    both_V = np.bincount(labels_E[predicted_E == labels_E], minlength=classes)
    seen_V = (true_V + predicted_V) > 0
    return float((2 * both_V[seen_V] / (true_V + predicted_V)[seen_V]).mean())


def average_precision(score_E: Array, positive_E: Array) -> float:
    """Mean, over the positive examples, of the precision at the rank of each."""
    order = np.argsort(-score_E, kind="stable")
    positive_E = positive_E[order]
    precision_E = np.cumsum(positive_E) / np.arange(1, len(positive_E) + 1)
    return float(precision_E[positive_E].mean())


def regression(outputs_EO: Array, targets_EO: Array) -> dict[str, float]:
    """R², the mean over outputs of 1 - squared error / variance.

    Where all targets are one of two numbers, also the accuracy of reading each output
    as the nearer of the two.
    """
    outputs, targets = (np.asarray(x, np.float64) for x in (outputs_EO, targets_EO))
    spread_O = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    missed_O = np.square(targets - outputs).sum(axis=0)
    varying_O = spread_O > 0
    out = {}
    if varying_O.any():
        out["r2"] = float((1 - missed_O[varying_O] / spread_O[varying_O]).mean())
    if len(values := np.unique(targets)) == 2:
        right = (outputs > values.mean()) == (targets > values.mean())
        out |= {"accuracy": float(right.mean()), "error": float(1 - right.mean())}
    return out


def whole(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of all classes together: columns of the table of runs."""
    return {name: value for name, value in metrics.items() if "/" not in name}
