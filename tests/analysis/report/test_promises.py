"""Promises: each kind is measured on the runs, and every bound can be missed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from analysis.report.findings import load_findings
from analysis.report.promises import check_promises, promises_of
from analysis.report.store import read_store
from analysis.report.write import write_report
from analysis.uncertainty.units import Bootstrap
from harness import (
    FamilyExponents,
    FittedConstant,
    Minima,
    Promise,
    RmsResidual,
    RunSpec,
    RunValue,
    Sweep,
)
from harness.cli import app
from harness.errors import SpecError
from tests.analysis.stores import LAW, write_store
from tests.harness.strategies import mlp_run

ALPHA = FittedConstant("chinchilla", "alpha")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "toy")


def outcome(folder: Path, promise: Promise):  # type: ignore[no-untyped-def]
    (told,) = check_promises(read_store(folder), [promise.to_dict()])
    return told


@pytest.mark.parametrize(
    ("quantity", "kept", "missed"),
    [
        (ALPHA, {"contains": LAW["alpha"]}, {"contains": 3.0}),
        (ALPHA, {"near": (LAW["alpha"], 0.1)}, {"near": (0.9, 0.1)}),
        (ALPHA, {"widest": 1.5}, {"widest": 1.0001}),
        (FittedConstant("chinchilla", "a"), {"at_least": 0.1}, {"at_least": 0.99}),
        (
            FittedConstant("power", "c", x="flops_train", where="n_matmul > 0"),
            {"at_least": 0.01},
            {"at_most": 0.01},
        ),
        (RmsResidual(), {"at_most": 0.05}, {"at_most": 1e-9}),
        (RmsResidual("kaplan"), {"at_most": 0.2}, {"at_least": 0.2}),
        (Minima("budgets"), {"at_least": 2}, {"at_least": 99}),
        (RunValue("loss", pick="greatest"), {"at_most": 9}, {"at_most": 1}),
        (RunValue("n_matmul", where="loss > 0"), {"at_least": 1}, {"at_least": 1e12}),
        (RunValue("loss + 1", pick="mean"), {"at_least": 1}, {"at_most": 1}),
    ],
)
def test_each_quantity_is_measured_and_each_bound_can_be_missed(
    folder: Path, quantity: object, kept: dict, missed: dict
) -> None:
    good = outcome(folder, Promise("It is so.", quantity, **kept))  # type: ignore[arg-type]
    bad = outcome(folder, Promise("It is so.", quantity, **missed))  # type: ignore[arg-type]
    assert good.kept and str(good).startswith("kept: It is so. (")
    assert not bad.kept and str(bad).startswith("missed: It is so. (")
    assert good.measured == bad.measured and np.isfinite(good.measured.value)


def test_what_cannot_be_measured_is_missed_and_says_why(folder: Path) -> None:
    for quantity, why in (
        (RunValue("accuracy"), "accuracy"),
        (RunValue("loss", where="loss > 1e9"), "no finished run has loss"),
        (FittedConstant("chinchilla", "gamma"), "chinchilla has no constant 'gamma'"),
        (FittedConstant("power", "c", x="nothing"), "nothing"),
    ):
        told = outcome(folder, Promise("It is so.", quantity, at_least=0))
        assert not told.kept and told.measured is None and why in told.note
    tuned = outcome(folder, Promise("x", Minima("rates"), at_least=1))
    assert not tuned.kept and tuned.measured.value == 0
    families = outcome(folder, Promise("x", FamilyExponents(), at_least=1))
    # Of one family, at one amount of data for each size, only compute has a law.
    assert families.kept and families.measured.value == 1


def test_a_report_and_the_check_tell_the_same(folder: Path) -> None:
    promises = [
        Promise("The exponent is that of the truth.", ALPHA, contains=LAW["alpha"]),
        Promise("All <b>runs</b> are huge.", RunValue("n_matmul"), at_least=1e12),
    ]
    sweep = json.loads((folder / "sweep.json").read_text())
    sweep["promises"] = [p.to_dict() for p in promises]
    (folder / "sweep.json").write_text(json.dumps(sweep))
    told = check_promises(read_store(folder), promises_of(folder))
    page = write_report(folder, bootstrap=Bootstrap(replicas=20)).read_text()
    assert load_findings(folder).promises == told
    assert [o.verdict for o in told] == ["kept", "missed"]
    assert '<li class="missed">missed: All &lt;b&gt;runs' in page
    result = CliRunner().invoke(app, ["check", str(folder)])
    assert result.exit_code == 1
    assert "kept: The exponent is" in result.output
    assert "missed: All <b>runs</b>" in result.output
    sweep["promises"] = sweep["promises"][:1]
    (folder / "sweep.json").write_text(json.dumps(sweep))
    result = CliRunner().invoke(app, ["check", str(folder), "--json"])
    assert result.exit_code == 0
    (only,) = json.loads(result.output)[str(folder)]
    assert only["kept"] and only["measured"]["interval"][0] < LAW["alpha"]


@pytest.mark.parametrize(
    "promises", [[{}], [{"says": "x", "bounds": {}, "quantity": {"kind": "luck"}}], [3]]
)
def test_damaged_promises_are_named(folder: Path, promises: list) -> None:
    with pytest.raises(AnalysisError, match="holds a promise that is none"):
        check_promises(read_store(folder), promises)


def test_a_promise_without_sense_is_refused_where_it_is_made() -> None:
    for make, why in (
        (lambda: Promise("x", ALPHA), "'x' has no bound"),
        (lambda: Promise("x", ALPHA, at_least=float("nan")), "at_least is nan"),
        (lambda: Promise("x", ALPHA, near=(1, "a")), "near is"),
        (lambda: Promise("x", "alpha", at_least=0), "is about one of FittedConstant"),
        (lambda: RunValue("loss", pick="best"), "pick is 'best'"),
        (lambda: Minima("x"), "along is 'x'"),
        (lambda: Sweep(mlp_run(), promises=["x"]), "not a list of Promise"),
    ):
        with pytest.raises(SpecError, match=why):
            make()  # type: ignore[no-untyped-call]
    assert isinstance(mlp_run(), RunSpec)
