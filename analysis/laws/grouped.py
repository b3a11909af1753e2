"""One law for several groups of rows, some of its constants shared and some of each.

With shared exponents and coefficients of its own, each group is a factor better or
worse than another at every scale, and the factor has an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote, unquote

import jax.numpy as jnp

from analysis.errors import AnalysisError
from analysis.laws.arrays import Array, Values
from analysis.laws.base import Derived, Law, Parameter

KIND = "kind"
"""The column that a grouped law reads: the number of a row's group."""
BETWEEN, SHARED, SAFE = "|", "; share ", " =._-"
V = TypeVar("V")


def grouped(law: Law, labels: Sequence[str], shared: Sequence[str]) -> Law:
    """The law with constants of each group, but those that are shared.

    Constants of a group are called `A@label`, and so are the values derived from them.

    Args:
        law: of one group.
        labels: of the groups, in the order of their numbers in the column `kind`.
        shared: the constants that all groups have together.

    Raises:
        AnalysisError: one group, an unknown constant, or nothing of its own for any.
    """
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise AnalysisError(
            f"groups are two or more, with names of their own: {labels}"
        )
    for name in shared:
        if name not in law.parameter_names:
            raise AnalysisError(
                f"{law.name} has no constant {name!r} to share; it has "
                f"{', '.join(law.parameter_names)}"
            )
    own = [p for p in law.parameters if p.name not in shared]
    if not own:
        raise AnalysisError(
            f"all constants of {law.name} are shared: then the groups are one; "
            "--pool fits them together"
        )

    def predict(p: Values, x: Values) -> Array:
        values = {name: p[name] for name in shared}
        for parameter in own:
            each = [p[of_group(parameter.name, label)] for label in labels]
            value = each[0]
            for number, other in enumerate(each[1:], start=1):
                value = jnp.where(x[KIND] == number, other, value)
            values[parameter.name] = value
        return law.predict(values, x)

    parameters = [p for p in law.parameters if p.name in shared]
    for label in labels:
        parameters += [replace(p, name=of_group(p.name, label)) for p in own]
    return replace(
        law,
        name=_name(law, labels, shared),
        predict=predict,
        parameters=tuple(parameters),
        columns=(*law.columns, KIND),
        derived=_derived(law, labels, shared, own),
        refine_starts=None,
    )


def of_group(constant: str, label: str) -> str:
    """What a constant of a group is called."""
    return f"{constant}@{label}"


def constants_of_group(values: Mapping[str, V], label: str) -> dict[str, V]:
    """The constants of one group's own law, from those of the grouped one."""
    ending = f"@{label}"
    own = {k.removesuffix(ending): v for k, v in values.items() if k.endswith(ending)}
    return {k: v for k, v in values.items() if "@" not in k} | own


def _derived(
    law: Law, labels: Sequence[str], shared: Sequence[str], own: Sequence[Parameter]
) -> tuple[tuple[str, Derived], ...]:
    def of(function: Derived, label: str) -> Derived:
        return lambda p: function(constants_of_group(p, label))

    derived = []
    for name, function in law.derived:
        if _needs_only(function, shared, own):
            derived.append((name, function))
        else:
            derived += [(of_group(name, k), of(function, k)) for k in labels]
    return tuple(derived)


def _needs_only(
    function: Derived, shared: Sequence[str], own: Sequence[Parameter]
) -> bool:
    """Whether a derived value follows from the shared constants."""
    try:
        function(dict.fromkeys(shared, 0.5))
    except KeyError:
        return False
    return bool(own)


def _name(law: Law, labels: Sequence[str], shared: Sequence[str]) -> str:
    groups = BETWEEN.join(quote(label, safe=SAFE) for label in labels)
    return f"{law.name}{{{groups}{SHARED}{', '.join(shared)}}}"


def parse(text: str) -> tuple[list[str], list[str]]:
    """The labels and shared constants in the braces of a grouped law's name."""
    groups, _, shared = text.partition(SHARED)
    labels = [unquote(label) for label in groups.split(BETWEEN)]
    return labels, [s.strip() for s in shared.split(",") if s.strip()]


def labels_of(law: Law) -> list[str]:
    """The groups of a grouped law; none of another."""
    if KIND not in law.columns or not law.name.endswith("}"):
        return []
    return parse(law.name[law.name.rindex("{") + 1 : -1])[0]


def group_number(law: Law, group: str | None) -> float:
    """The number of a group of a grouped law, by its name or the end of it.

    Raises:
        AnalysisError: it has no such group, or nothing says which is meant.
    """
    labels = labels_of(law)
    found = [i for i, k in enumerate(labels) if group and k.split("= ")[-1] == group]
    found = found or [i for i, k in enumerate(labels) if group and group in k]
    if len(found) != 1:
        raise AnalysisError(
            f"the fit has groups ({'; '.join(labels)}): name one with --group"
        )
    return float(found[0])
