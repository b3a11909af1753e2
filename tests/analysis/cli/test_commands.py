"""Facts about the analysis commands of the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from analysis.errors import AnalysisError
from analysis.fitting.record import Fit
from tests.analysis import synthetic

cli = pytest.importorskip("harness.cli")


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    return cli.app


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
    assert Fit.load(record).provenance.columns["d"] == "c / (6 * N)"

    one = ["predict", str(record), "--n", "1e9", "--d", "2e10", "--json"]
    band = json.loads(CliRunner().invoke(app, one).output)["loss"]
    assert band["low"] < band["value"] < band["high"]
    best = CliRunner().invoke(app, ["predict", str(record), "--compute", "1e21"])
    assert "N* (parameters)" in best.output
    bare = CliRunner().invoke(app, ["predict", str(record)])
    assert str(bare.exception) == (
        "chinchilla predicts from --n … --d …, or --compute C for the best model"
    )


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


OWN_LAW = """
from analysis.laws import Law, coefficient, exponent, irreducible

mine = Law(
    name="mine",
    predict=lambda p, x: p["E"] + p["A"] * (x["width"] * x["d"]) ** -p["alpha"],
    parameters=(irreducible("E"), coefficient("A"), exponent("alpha")),
    columns=("width", "d"),
    formula="L = E + A (width d)^-alpha",
    reference="mine",
)
"""


def test_a_law_in_a_file_of_ones_own_is_fitted_and_predicts(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("laws.py").write_text(OWN_LAW)
    width, d = (x.ravel() for x in np.meshgrid([8, 16, 32], [1e6, 1e7, 1e8]))
    loss = 1.5 + 40 * (width * d) ** -0.25
    pd.DataFrame({"width": width, "d": d, "loss": loss}).to_csv("t.csv", index=False)
    fit = ["fit", "t.csv", "--bootstrap", "0", "--json", "f.json", "--law"]
    done = CliRunner().invoke(app, [*fit, "laws.py:mine"])
    assert done.exit_code == 0, done.output
    assert Fit.load("f.json").constants["alpha"] == pytest.approx(0.25, rel=1e-6)
    ask = ["predict", "f.json", "--column", "width=64", "--d", "1e9", "--json"]
    band = json.loads(CliRunner().invoke(app, ask).output)["loss"]
    assert band["value"] == pytest.approx(1.5 + 40 * 64e9**-0.25, rel=1e-6)
    for name, message in (
        ("laws.py:other", "laws in it: mine"),
        ("gone.py:mine", "no file gone.py"),
    ):
        done = CliRunner().invoke(app, [*fit, name])
        assert message in str(done.exception)


BAD = {
    "missing": (lambda f: f.drop(columns="loss"), "no column is named for 'loss'"),
    "negative": (lambda f: f.assign(n=f["n"].where(f.index != 3, -5.0)), "in row 4"),
    "twice": (lambda f: pd.concat([f, f.head(2)]), "--duplicates drop"),
    "few": (lambda f: f.iloc[::21], "4 usable rows with a 'loss'|no estimator"),
    "equal": (lambda f: f.assign(d=1e9), "'d' .* is 1e\\+09 in all \\d+ rows"),
    "text": (
        lambda f: f.astype(object).replace({"loss": {f["loss"][2]: "?"}}),
        "row 3",
    ),
    "empty": (lambda f: f.head(0), "has no rows"),
}
COMMANDS = {
    "fit": ("--json", "out.json"),
    "compare": (),
    "approaches": (),
    "suggest": ("--budget", "1e22"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_ends_every_command_in_one_line(
    app: typer.Typer, tmp_path: Path, monkeypatch, command: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    spoil, message = BAD[name]
    spoil(synthetic.frame(noise=0.005)).to_csv("t.csv", index=False)
    done = CliRunner().invoke(app, [command, "t.csv", *COMMANDS[command]])
    assert isinstance(done.exception, AnalysisError), done.output
    assert re.search(message, str(done.exception))
    assert "\n" not in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_a_record_is_not_begun_where_it_cannot_be_written(
    app: typer.Typer, csv: Path, tmp_path: Path
) -> None:
    target = tmp_path / "none" / "fit.json"
    command = ["fit", str(csv), "--n", "N", "--d", "D", "--json", str(target)]
    done = CliRunner().invoke(app, command)
    assert "there is no folder" in str(done.exception)


def test_the_bootstrap_is_named_and_can_be_chosen(
    app: typer.Typer, tmp_path: Path
) -> None:
    """Three seeds of each configuration: they are drawn, unless rows are asked for."""
    frame = pd.concat([synthetic.frame(0.005, s, sizes=4, budgets=4) for s in range(3)])
    frame.assign(s=np.repeat(range(3), 16)).to_csv(tmp_path / "t.csv", index=False)
    base = ["fit", str(tmp_path / "t.csv"), "--column", "seed=s", "--bootstrap", "20"]
    output = CliRunner().invoke(app, base).output
    assert "draws of 48 seeds" in output
    output = CliRunner().invoke(app, [*base, "--units", "row"]).output
    assert "draws of the residuals of 48 rows" in output
    assert "advised is --units seed" in output


def test_a_folder_that_is_not_there_names_the_command_that_writes_one(
    app: typer.Typer,
) -> None:
    result = CliRunner().invoke(app, ["fit", "results/none"])
    assert "a results folder, which `harness run` writes" in str(result.exception)


def test_a_short_table_without_a_loss_says_which_option_names_it(
    app: typer.Typer, tmp_path: Path
) -> None:
    (tmp_path / "short.csv").write_text("n,d\n1e7,1e9\n1e8,1e9\n")
    result = CliRunner().invoke(app, ["fit", str(tmp_path / "short.csv")])
    assert isinstance(result.exception, AnalysisError)
    assert "no column is named for 'loss'; name one, e.g. --loss" in str(
        result.exception
    )
