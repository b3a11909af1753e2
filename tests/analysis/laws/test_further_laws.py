"""Laws of 2018 to 2025 with columns of their own get their constants back."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.fitting.options import FitOptions, Objective
from analysis.laws import all_laws, get_law
from analysis.tables.table import Table, table_from_frame
from tests.analysis.synthetic import TRUTH

SQUARES = FitOptions(objective=Objective(loss="squares"))


def axes(**values: object) -> dict[str, np.ndarray]:
    """All combinations of the values."""
    grid = np.meshgrid(*(np.asarray(v, float) for v in values.values()))
    return dict(zip(values, (a.ravel() for a in grid), strict=True))


N, D = np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 3e11, 5)
BITS = [3, 4, 6, 8, 16]
DESIGNS: dict[str, tuple[dict[str, float], dict[str, np.ndarray]]] = {
    "coupled": (
        {"E": 1.8, "A": 900.0, "B": 4000.0, "alpha": 0.4, "beta": 0.42, "k": 0.8},
        axes(n=np.geomspace(1e6, 1e11, 8), d=np.geomspace(1e8, 1e13, 8)),
    ),
    "growing": ({"b": 3.0, "c": 0.46}, axes(x=N)),
    "steps_to_target": ({"a": 1500.0, "b": 6e5}, axes(batch=2.0 ** np.arange(4, 13))),
    "critical_batch": (
        {"S_min": 1500.0, "B_crit": 400.0},
        axes(batch=2.0 ** np.arange(4, 13)),
    ),
    "fine_tuned": (
        {"E": 0.6, "room": 2.5, "B": -4.0, "beta": 0.6},
        axes(d=np.geomspace(50, 2e6, 16)),
    ),
    "parallel": (
        {"E": 1.3, "A": 200.0, "alpha": 0.3, "k": 0.33},
        axes(n=N, streams=[1, 2, 4, 8]),
    ),
    "routed": (
        {"a": -0.083, "b": -0.118, "c": 0.0099, "d": 1.11, "E_start": 2.1, "more": 240},
        axes(n=np.geomspace(1e7, 1e9, 5), experts=2.0 ** np.arange(0, 10)),
    ),
    "granular": (
        {"c": 0.47, "g": 2.1, "a": 18.0, "b": 31.0, "gamma": 0.58, "alpha": 0.115,
         "beta": 0.147},
        axes(n=np.geomspace(1e6, 1e11, 5), d=D, granularity=[1, 2, 4, 8, 16]),
    ),
    "sparse": (
        {"E": 1.2, "a_S": 300.0, "c_S": 150.0, "B": 200.0, "b_S": 0.7, "b_N": 0.33,
         "b_D": 0.27},
        axes(n=N, d=D, sparsity=[0, 0.5, 0.75, 0.875]),
    ),
    "precision": ({**TRUTH, "gamma": 2.7}, axes(n=N, d=D, bits=BITS)),
    "precision_of_parts": (
        {**TRUTH, "gamma_weights": 2.7, "gamma_activations": 2.2, "gamma_cache": 0.95},
        axes(n=N[::2], d=D[::2], bits_weights=[3, 6, 16], bits_activations=[3, 6, 16],
             bits_cache=[2, 4, 16]),
    ),
    "quantised": (
        {"C_T": 0.06, "gamma_D": 0.5, "gamma_N": 0.48, "gamma": 0.54},
        axes(n=N, d=D, bits=[3, 4, 5, 6]),
    ),
    "sigmoid_of_loss": (
        {"b": 0.25, "p0": 0.7, "k": 6.0, "L0": 0.9},
        axes(x=np.linspace(0.4, 1.6, 25)),
    ),
    "exponential_of_loss": (
        {"epsilon": 0.86, "k": 2.6, "gamma": 0.7},
        axes(x=np.linspace(2.0, 6.0, 20)),
    ),
    "loss_to_loss": (
        {"E1": 0.9, "K": 1.3, "kappa": 0.8, "E0": 1.5},
        axes(x=1.5 + np.geomspace(0.03, 3, 20)),
    ),
    "reward": (
        {"R0": 0.3, "rise": 0.35, "B": 1.7, "C_mid": 3e3},
        axes(x=np.geomspace(50, 2e5, 20)),
    ),
    "mixing:web,books": (
        {"c": 1.8, "k": 0.9, "t_web": -1.3, "t_books": 0.6},
        axes(web=[0, 0.2, 0.4, 0.6], books=[0, 0.1, 0.3]),
    ),
}  # fmt: skip
NOISE = 1e-3
"""Of the studies that intervals are checked on, in ln loss."""


def table(name: str, noise: float = 0.0, seed: int = 0) -> Table:
    import pandas as pd

    truth, columns = DESIGNS[name]
    law = get_law(name)
    loss = law.losses(truth, columns)
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(columns).assign(
        loss=loss * np.exp(noise * rng.standard_normal(loss.shape))
    )
    return table_from_frame(frame, **{k: k for k in (*law.columns, "loss")})


@pytest.mark.parametrize("name", DESIGNS)
def test_each_law_gets_its_constants_back(name: str) -> None:
    found = fit_law(table(name), name, SQUARES)
    for key, value in DESIGNS[name][0].items():
        assert found.constants[key] == pytest.approx(value, rel=2e-3), found.constants
    assert found.diagnostics.rms_residual < 1e-6
    assert not {"not_converged", "lack_of_fit"} & set(found.diagnostics.flags)


def distillation(**teachers: object) -> Table:
    """Students of some sizes and data under teachers of some losses."""
    import pandas as pd

    law = get_law("distilled")
    columns = axes(n=N, d=D, teacher=teachers.get("losses", [1.9, 2.1, 2.3, 2.6]))
    columns["alone"] = get_law("chinchilla").losses(TRUTH, columns)
    loss = law.losses(STUDENTS, columns)
    return table_from_frame(
        pd.DataFrame(columns).assign(loss=loss),
        **{k: k for k in (*law.columns, "loss")},
    )


STUDENTS = {
    "A": 3000.0, "B": 3000.0, "alpha": 0.45, "beta": 0.4, "gamma": 0.75,
    "c0": 1.5, "c1": 0.7, "d1": 1.1, "f1": 0.2,
}  # fmt: skip


def test_distillation_comes_back_where_the_students_own_law_is_held() -> None:
    held = "distilled[alpha=0.45, beta=0.4]"
    found = fit_law(distillation(), held, SQUARES)
    assert found.diagnostics.rms_residual < 1e-5
    for name in ("gamma", "c0", "c1", "d1", "f1"):
        assert found.constants[name] == pytest.approx(STUDENTS[name], rel=0.05)


def test_laws_reduce_to_those_that_they_extend() -> None:
    columns = axes(n=N, d=D)
    plain = get_law("chinchilla").losses(TRUTH, columns)
    coupled = get_law("coupled").losses({**TRUTH, "k": 1.0}, columns)
    assert coupled == pytest.approx(plain)
    full = {**columns, "bits": np.full(25, 200.0)}
    assert get_law("precision").losses({**TRUTH, "gamma": 2.0}, full) == pytest.approx(
        plain
    )
    one = {**columns, "granularity": np.ones(25)}
    same = {**TRUTH, "c": 1.69, "g": 206.4, "a": 200.0, "b": 410.7, "gamma": 0.5}
    assert get_law("granular").losses(same, one) == pytest.approx(plain)
    steps = {"batch": 2.0 ** np.arange(3, 12)}
    hyperbola = get_law("critical_batch").losses({"S_min": 7.0, "B_crit": 30.0}, steps)
    line = get_law("steps_to_target").losses({"a": 7.0, "b": 210.0}, steps)
    assert hyperbola == pytest.approx(line)


def test_experts_count_from_one_to_their_most() -> None:
    """Ê(1) = E_start and Ê(∞) = E_max (Clark et al. 2022, eq. 10)."""
    law = get_law("routed")
    constants = DESIGNS["routed"][0] | {"a": 0.0, "b": 1.0, "c": 0.0, "d": 0.0}
    counted = law.losses(constants, {"n": 1e8, "experts": np.array([1.0, 1e12])})
    assert counted == pytest.approx([2.1, 242.1], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "unknown"),
    [
        ("precision", {"bits": 16.0}, "gamma"),
        ("sparse", {"sparsity": 0.5}, "a_S"),
        ("granular", {"granularity": 4.0}, "g"),
        ("parallel", {"streams": 2.0}, "k"),
    ],
)
def test_designs_that_cannot_tell_are_refused(name, change, unknown) -> None:
    """A column that is the same in all rows says nothing of what it acts on."""
    whole = table(name)
    ((column, value),) = change.items()
    one = (
        whole.where(f"{column} == {value}")
        if name != "sparse"
        else whole.where("sparsity == 0.5")
    )
    with pytest.raises(AnalysisError, match=f"'{column}' .* in all"):
        fit_law(one, name)
    assert unknown in get_law(name).unknown


def test_shares_that_add_up_to_one_are_flagged() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    web, books, code = rng.dirichlet([2, 2, 2], 30).T
    loss = 1.8 + 0.9 * np.exp(-1.3 * web + 0.6 * books)
    frame = pd.DataFrame({"web": web, "books": books, "code": code, "loss": loss})
    roles = {k: k for k in ("web", "books", "code", "loss")}
    found = fit_law(table_from_frame(frame, **roles), "mixing:web,books,code")
    assert "unidentifiable" in found.diagnostics.flags
    two = fit_law(table_from_frame(frame, **roles), "mixing:web,books")
    assert two.diagnostics.flags == ()


def test_every_further_law_is_tried_here() -> None:
    tried = set(DESIGNS) | {"distilled"}
    here = {law.name for law in all_laws() if law.unknown or law.name == "growing"}
    assert here <= tried
