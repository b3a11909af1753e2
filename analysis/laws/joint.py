"""Laws of loss against parameters `n` and training tokens `d` together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.laws.base import Law, coefficient, exponent, irreducible, register


def _chinchilla(p: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    return p["E"] + p["A"] * x["n"] ** -p["alpha"] + p["B"] * x["d"] ** -p["beta"]


def n_exponent(p: Mapping[str, Any]) -> Any:
    """Exponent a of N* ∝ C^a: β/(α+β), when C ∝ N·D (Hoffmann et al. 2022, eq. 4)."""
    return p["beta"] / (p["alpha"] + p["beta"])


def d_exponent(p: Mapping[str, Any]) -> Any:
    """Exponent b of D* ∝ C^b: α/(α+β) = 1 - a (Hoffmann et al. 2022, eq. 4)."""
    return p["alpha"] / (p["alpha"] + p["beta"])


CHINCHILLA = register(
    Law(
        name="chinchilla",
        predict=_chinchilla,
        parameters=(
            irreducible("E"),
            coefficient("A"),
            coefficient("B"),
            exponent("alpha"),
            exponent("beta"),
        ),
        columns=("n", "d"),
        formula="L = E + A n^-alpha + B d^-beta",
        reference="Hoffmann et al. 2022 (2203.15556), eq. 10",
        derived=(("a", n_exponent), ("b", d_exponent)),
    )
)
