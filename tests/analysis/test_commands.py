"""Facts about the analysis commands of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from analysis.records import Fit
from tests.analysis import synthetic

fits = pytest.importorskip("harness.cli.fits")
studies = pytest.importorskip("harness.cli.studies")


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    fits.register(app)
    studies.register(app)
    return app


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "runs.csv"
    frame = synthetic.frame(noise=0.005)
    frame.rename(columns={"n": "N", "d": "D"}).to_csv(path, index=False)
    return path


def test_fit_then_predict(app: typer.Typer, csv: Path, tmp_path: Path) -> None:
    record = tmp_path / "fit.json"
    command = ["fit", str(csv), "--n", "N", "--d", "c / (6 * N)", "--bootstrap", "50"]
    done = CliRunner().invoke(app, [*command, "--json", str(record)])
    assert done.exit_code == 0, done.output
    assert "condition number" in done.output
    assert Fit.load(record).recipe.columns["d"] == "c / (6 * N)"

    one = ["predict", str(record), "--n", "1e9", "--d", "2e10", "--json"]
    band = json.loads(CliRunner().invoke(app, one).output)["loss"]
    assert band["low"] < band["value"] < band["high"]
    best = CliRunner().invoke(app, ["predict", str(record), "--compute", "1e21"])
    assert "N* (parameters)" in best.output


def test_laws_are_listed_for_readers_and_programs(app: typer.Typer) -> None:
    assert "chinchilla" in CliRunner().invoke(app, ["laws"]).output
    records = json.loads(CliRunner().invoke(app, ["laws", "--json"]).output)
    chinchilla = next(r for r in records if r["name"] == "chinchilla")
    assert chinchilla["columns"] == ["n", "d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "M"], "no column 'M'"),
        (["--law", "chinchila"], "did you mean 'chinchilla'"),
        (["--where", "N > "], "cannot read the expression"),
        (["--objective", "l3"], "none of huber"),
        (["--column", "u"], "not of the form ROLE=COLUMN"),
        (["--bootstrap", "1"], "2 or more"),
        (["--level", "95"], "between 0 and 1"),
    ],
)
def test_mistakes_raise_one_line_and_write_nothing(
    app: typer.Typer, csv: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    base = ["fit", str(csv), "--n", "N", "--d", "D"]
    file = ["--json", str(tmp_path / "f.json")]
    done = CliRunner().invoke(app, [*base, *file, *arguments])
    assert isinstance(done.exception, AnalysisError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_reproduce_exits_1_on_a_miss_and_0_otherwise(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.published import base
    from analysis.published.base import Outcome, Reproduction, equal

    for name, obtained in (("hit", 1.0), ("miss", 2.0)):
        outcome = Outcome(checks=(equal("q", 1.0, obtained, 1e-3),))
        one = Reproduction(name=name, paper="p", recipe="r", run=lambda o=outcome: o)
        monkeypatch.setitem(base._REPRODUCTIONS, name, one)
    hit = CliRunner().invoke(app, ["reproduce", "hit"])
    assert hit.exit_code == 0
    assert "ok     q" in hit.output
    miss = CliRunner().invoke(app, ["reproduce", "miss", "--json"])
    assert miss.exit_code == 1
    assert json.loads(miss.output)[0]["passed"] is False
    unknown = CliRunner().invoke(app, ["reproduce", "nothing"])
    assert isinstance(unknown.exception, AnalysisError)


def test_suggest_and_approaches_speak_json(app: typer.Typer, csv: Path) -> None:
    base = [str(csv), "--n", "N", "--d", "D", "--json"]
    done = CliRunner().invoke(app, ["suggest", *base, "--budget", "1e22"])
    found = json.loads(done.output)
    assert 0 < found["spent"] <= 1e22
    assert found["error_after"] < found["error_before"]
    done = CliRunner().invoke(app, ["approaches", *base, "--bootstrap", "50"])
    rows = json.loads(done.output)["exponents"]
    parametric = next(r for r in rows if r["approach"] == "3 parametric")
    low, high = parametric["interval"]
    assert low < parametric["value"] < high


def test_compare_ranks_the_named_laws(app: typer.Typer, csv: Path) -> None:
    arguments = ["compare", str(csv), "--n", "N", "--d", "D", "--bootstrap", "20"]
    laws = ["--law", "tied", "--law", "chinchilla", "--json"]
    found = json.loads(CliRunner().invoke(app, [*arguments, *laws]).output)
    assert [s["law"] for s in found] == ["chinchilla", "tied"]
    assert found[0]["error"] < found[1]["error"]
