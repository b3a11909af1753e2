"""Facts about reading tables: mistakes are named, nothing is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.tables.expression import evaluate
from analysis.tables.table import Table, read_table, table_from_frame
from tests.analysis import synthetic

ROLES = {"n": "n", "d": "d", "c": "c", "loss": "loss"}


def read(frame: pd.DataFrame, **options: str) -> Table:
    return table_from_frame(frame, **{**ROLES, **options})


def test_csv_jsonl_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    frame = synthetic.frame(sizes=4, budgets=4)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        table = read_table(tmp_path / name, **ROLES)
        assert table.values("loss") == pytest.approx(frame["loss"].to_numpy())


def test_a_store_leaves_out_diverged_and_unannealed_runs_and_counts_them(
    tmp_path: Path,
) -> None:
    frame = synthetic.frame(sizes=4, budgets=4)
    frame = frame.rename(columns={"n": "n_matmul", "d": "tokens", "c": "flops_train"})
    frame["run_id"] = [f"r{i}" for i in range(len(frame))]
    frame["status"] = ["diverged", "diverged"] + ["done"] * (len(frame) - 2)
    frame["annealed"] = [True] * (len(frame) - 1) + [False]
    frame.loc[:1, "loss"] = np.nan
    frame.to_parquet(tmp_path / "runs.parquet")
    table = read_table(tmp_path)
    assert len(table) == 13
    assert [x.count for x in table.left_out] == [2, 1]
    assert "diverged" in str(table.left_out[0])


def test_nan_losses_are_left_out_and_counted() -> None:
    frame = synthetic.frame()
    frame.loc[[3, 7], "loss"] = np.nan
    table = read(frame)
    assert len(table) == len(frame) - 2
    assert str(table.left_out[0]).startswith("2 rows left out: loss is not a finite")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(columns="loss"), "no column 'loss'"),
        (lambda f: f.rename(columns={"loss": "losses"}), "did you mean 'losses'"),
        (lambda f: f.assign(n=f["n"].astype(object).where(f.index != 2, "big")),
         "column 'n' .* has text in row 3, e.g. 'big'"),
        (lambda f: f.assign(n=f["n"].where(f.index != 4, 0)),
         "column 'n' .* zero or negative in row 5"),
        (lambda f: f.assign(d=-f["d"]), "zero or negative in .* and 59 more"),
        (lambda f: f.assign(d=f["d"].where(f.index != 4)), "or infinite in row 5"),
        (lambda f: pd.concat([f, f.head(1)]), "row 65 .* repeat earlier rows"),
        (lambda f: f.head(0), "has no rows"),
        (lambda f: f.head(3), "3 usable rows with a 'loss' for the 5 constants of ch"),
        (lambda f: f.assign(d=1e9), "'d' .* is 1e\\+09 in all \\d+ rows"),
    ],
)  # fmt: skip
def test_bad_tables_get_one_line_that_names_column_rows_and_remedy(
    spoil, message: str
) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        fit_law(read(spoil(synthetic.frame())))
    assert "\n" not in str(caught.value)


def test_rows_are_numbered_as_in_the_file_also_after_some_were_left_out() -> None:
    frame = synthetic.frame()
    frame.loc[0, "d"] = 1.0
    frame.loc[9, "n"] = 0
    with pytest.raises(AnalysisError, match="zero or negative in row 10;"):
        read(frame, where="d > 1")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="there is no table at"):
        read_table(tmp_path / "none.csv", **ROLES)
    with pytest.raises(AnalysisError, match=r"no runs\.parquet"):
        read_table(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(AnalysisError, match="cannot read"):
        read_table(tmp_path / "t.parquet", **ROLES)
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(AnalysisError, match=r"is none of \.csv"):
        read_table(tmp_path / "t.xlsx", **ROLES)


def test_duplicates_can_be_kept_or_dropped_knowingly() -> None:
    frame = synthetic.frame()
    twice = pd.concat([frame, frame])
    assert len(read(twice, duplicates="keep")) == 2 * len(frame)
    dropped = read(twice, duplicates="drop")
    assert len(dropped) == len(frame)
    assert "copy of an earlier row" in str(dropped.left_out[0])


def test_expressions_compute_over_columns() -> None:
    frame = pd.DataFrame(
        {"Model Size": [2, 4], "model.width": [3, 5], "family": ["a", "b"]}
    )
    assert evaluate("`Model Size` * 6", frame).tolist() == [12, 24]
    assert evaluate("log2(`Model Size`) + model.width", frame).tolist() == [4, 7]
    assert evaluate("family in ['a'] or model.width >= 5", frame).tolist() == [True] * 2
    assert evaluate("1 < `Model Size` < 3", frame).tolist() == [True, False]
    assert evaluate("not family == 'a'", frame).tolist() == [False, True]


def test_expressions_do_not_overflow_integers() -> None:
    frame = pd.DataFrame({"n": [10**11], "d": [10**13]})
    assert evaluate("6 * n * d", frame)[0] == pytest.approx(6e24)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "n.__class__",
        "[x for x in n]",
        "(lambda: 1)()",
        "open('x')",
        "n if True else d",
        "n[0]",
        "f'{n}'",
        "n is d",
        "n +",
        "",
    ],
)
def test_expressions_run_no_code(text: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        evaluate(text, synthetic.frame())
    assert "\n" not in str(caught.value)


def test_a_filter_must_be_a_condition() -> None:
    with pytest.raises(AnalysisError, match="is not a condition"):
        read(synthetic.frame(), where="n + 1")
    with pytest.raises(AnalysisError, match="no row of frame is left"):
        read(synthetic.frame(), where="n > 1e20")
