"""Kinds of rows on the command line, changed laws, and questions to their fits."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.fitting.record import Fit
from harness.cli import app
from tests.analysis import synthetic
from tests.analysis.stores import runs_frame, write_store

FEW = ("--bootstrap", "30")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two families, the second with a loss a tenth higher."""
    folder = write_store(tmp_path_factory.mktemp("stores") / "two")
    first = runs_frame()
    second = first.assign(
        family="rnn", run_id="f" + first["run_id"].str[1:], loss=first["loss"] * 1.1
    )
    pd.concat([first, second]).to_parquet(folder / "runs.parquet")
    return folder


def call(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.output if result.exception is None else str(result.exception)


def test_families_are_never_pooled_in_silence(store: Path, tmp_path: Path) -> None:
    apart = call("fit", store, *FEW, "--json", tmp_path / "fits.json")
    assert "rows of 2 kinds (family), each by itself; --pool takes" in apart
    assert "family = rnn\n" in apart and "family = transformer\n" in apart
    one = call("fit", store, *FEW, "--where", "family == 'rnn'")
    assert one.splitlines()[1:9] == apart.split("family = rnn\n")[1].splitlines()[:8]
    pooled = call("fit", store, *FEW, "--pool")
    assert "kinds" not in pooled and "column 'family' explains" in pooled

    ask = ("predict", tmp_path / "fits.json", "--n", "1e7", "--d", "1e8")
    assert "fits of 2 groups (family = rnn; family = transformer)" in call(*ask)
    losses = [
        json.loads(call(*ask, "--group", name, "--json"))["loss"]["value"]
        for name in ("rnn", "transformer")
    ]
    assert losses[0] == pytest.approx(1.1 * losses[1], rel=0.02)
    assert Fit.load(tmp_path / "fits.json", "rnn").provenance.group == "family = rnn"


def test_other_commands_keep_families_apart_as_well(store: Path) -> None:
    found = call("approaches", store, *FEW)
    assert found.count("\n3 parametric") == 6  # two families by three conventions
    records = json.loads(call("approaches", store, *FEW, "--json"))
    assert [r["group"] for r in records] == ["family = rnn", "family = transformer"]
    for command in (("suggest", store, "--budget", "1e15"), ("compare", store)):
        assert "choose one with --where \"family == 'rnn'\", or take them" in call(
            *command
        )
    assert "rms error" in call("compare", store, "--pool", *FEW)


def test_any_column_makes_groups_when_it_is_named(tmp_path: Path) -> None:
    frames = [
        synthetic.frame(noise=0.003, seed=k, sizes=4, budgets=4).assign(corpus=name)
        for k, name in enumerate(("web", "books", "code"))
    ]
    pd.concat(frames).to_csv(tmp_path / "t.csv", index=False)
    apart = call("fit", tmp_path / "t.csv", *FEW, "--by", "corpus")
    assert apart.count("corpus = ") >= 3 and "kinds" not in apart
    assert "no column 'corpora' to group by" in call(
        "fit", tmp_path / "t.csv", "--by", "corpora"
    )
    shared = call(
        "fit", tmp_path / "t.csv", *FEW, "--by", "corpus", "--share", "E,alpha,beta",
        "--json", tmp_path / "f.json",
    )  # fmt: skip
    assert "A@web" in shared and "B@code" in shared
    assert "times as much" in shared and "code needs" in shared
    ask = ("predict", tmp_path / "f.json", "--compute", "1e20")
    assert "has groups (books; code; web)" in call(*ask)
    assert "N* (parameters)" in call(*ask, "--group", "web")
    assert "--share needs --by" in call("fit", tmp_path / "t.csv", "--share", "E")


def test_a_group_without_a_fit_does_not_stop_the_others(tmp_path: Path) -> None:
    many = synthetic.frame(noise=0.003, sizes=4, budgets=4).assign(corpus="web")
    few = synthetic.frame(sizes=2, budgets=2).assign(corpus="books")
    pd.concat([many, few]).to_csv(tmp_path / "t.csv", index=False)
    found = call("fit", tmp_path / "t.csv", *FEW, "--by", "corpus")
    assert "corpus = books: " in found and "4 usable rows" in found
    assert "corpus = web\n" in found
    pd.DataFrame(few).to_csv(tmp_path / "few.csv", index=False)
    assert "4 usable rows" in call("fit", tmp_path / "few.csv", *FEW)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fits")
    synthetic.frame(noise=0.003).to_csv(folder / "t.csv", index=False)
    call("fit", folder / "t.csv", *FEW, "--c", "c", "--json", folder / "f.json")
    return folder / "f.json"


def test_constants_are_held_bounded_and_tied_by_options(record: Path) -> None:
    table = record.parent / "t.csv"
    held = call("fit", table, *FEW, "--fix", "E=1.69", "--tie", "beta=alpha")
    assert held.startswith("chinchilla[E=1.69, beta=alpha]: ")
    bounded = call(
        "fit", table, *FEW, "--bound", "alpha=0.4:0.5", "--positive", "E",
        "--any-sign", "beta",
    )  # fmt: skip
    assert "chinchilla[alpha=0.4:0.5, E=0:, beta=any]" in bounded
    assert "at bound: alpha" in bounded
    assert "no constant 'gamma'" in call("fit", table, "--fix", "gamma=1")


def test_numbers_are_taken_as_people_write_them(record: Path) -> None:
    plain = call("predict", record, "--n", "7e9", "--d", "1.4e11", "--json")
    assert plain == call("predict", record, "--n", "7B", "--d", "140B", "--json")
    several = json.loads(call("predict", record, "--compute", "1e20,1e21", "--json"))
    again = call("predict", record, "--compute", "1e20", "--compute", "1e21", "--json")
    assert several == json.loads(again) and len(several) == 2
    days = json.loads(call("predict", record, "--compute", "2 PF-days", "--json"))
    assert days == json.loads(
        call("predict", record, "--compute", "1.728e20", "--json")
    )
    assert "--compute 'much' is not a number" in call(
        "predict", record, "--compute", "much"
    )
    assert "--n has 2 values where another has 3" in call(
        "predict", record, "--n", "1e8,1e9", "--d", "1e9,1e10,1e11"
    )


def test_the_cheapest_model_and_what_it_costs(record: Path) -> None:
    best = json.loads(call("predict", record, "--compute", "1e22", "--json"))
    loss = best["loss"]["value"]
    back = json.loads(call("predict", record, "--target-loss", loss, "--json"))
    assert back["training"]["value"] == pytest.approx(1e22, rel=1e-4)
    ask = ["predict", record, "--target-loss", loss, "--inference-tokens", "1T"]
    price = ["--gpu", "h100", "--count", 64, "--mfu", 0.5, "--json"]
    served = json.loads(call(*ask, *price))
    assert served["n"]["value"] < best["n"]["value"]
    assert served["total"]["value"] > served["training"]["value"] > 1e22
    hours = served["training"]["value"] / (989e12 * 0.5 * 64 * 3600)
    assert served["hours"]["value"] == pytest.approx(hours)
    told = call("predict", record, "--compute", "1e22", "--ratio", 20)
    assert "D*/N* (tokens per parameter)   20 " in told
    assert "no model reaches a loss of 1.2" in call(
        "predict", record, "--target-loss", 1.2
    )
    assert "the peak of 'abacus' is not known" in call(
        "predict", record, "--compute", "1e22", "--gpu", "abacus"
    )


def test_a_prediction_says_how_far_it_reaches_and_what_the_fit_warned_of(
    tmp_path: Path,
) -> None:
    frame = synthetic.frame(noise=0.003, sizes=5, budgets=5)
    frame.loc[3, "loss"] *= 2
    frame.rename(columns={"loss": "ppl"}).to_csv(tmp_path / "t.csv", index=False)
    call(
        "fit", tmp_path / "t.csv", *FEW, "--loss", "ppl", "--c", "c",
        "--json", tmp_path / "f.json",
    )  # fmt: skip
    told = call("predict", tmp_path / "f.json", "--n", "1e11", "--d", "1e12")
    assert "c = 6e+23 is 33.3 times above the fitted rows" in told
    assert "loss (as ppl)" in told
    assert "WARNING of the fit: row 4 (loss" in told
