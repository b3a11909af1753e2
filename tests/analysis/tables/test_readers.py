"""Tables as people have them: read with a word on how, or refused with a remedy."""

from __future__ import annotations

import decimal
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from analysis.errors import AnalysisError
from analysis.fitting.fit import fit_law
from analysis.tables.numbers import as_numbers
from analysis.tables.table import Table, read_table
from analysis.uncertainty.intervals import fit_with_intervals
from analysis.uncertainty.predictions import predict
from analysis.uncertainty.units import Bootstrap
from tests.analysis import synthetic

FRAME = synthetic.frame(sizes=3, budgets=4)[["n", "d", "loss"]].round(
    {"n": 0, "d": 0, "loss": 5}
)


def rows(cell: str = "{n:.0f},{d:.0f},{loss}") -> str:
    return "\n".join(cell.format(**row) for row in FRAME.to_dict("records"))


def write(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def assert_whole(table: Table, *notes: str) -> None:
    """The table has the rows of `FRAME`, and says all that."""
    for role in ("n", "d", "loss"):
        np.testing.assert_allclose(table.values(role), FRAME[role], rtol=1e-3)
    for note in notes:
        assert any(note in said for said in table.notes), table.notes


TEXTS = {
    "plain": ("n,d,loss\n" + rows(), {}, ()),
    "semicolons and decimal commas": (
        "n;d;loss\n" + rows("{n:.0f};{d:.0f};{loss}").replace(".", ","),
        {},
        ("separated by ';'", "'loss': commas were read as decimal points"),
    ),
    "thousands": (
        "n,d,loss\n" + rows('"{n:,.0f}","{d:,.0f}",{loss}'),
        {},
        ("'n': commas were read as separators of thousands",),
    ),
    "suffixes": (
        "n,d,loss\n"
        + "\n".join(
            f"{n / 1e6:.6f}M,{d / 1e9:.6f}B,{y}" for n, d, y in FRAME.to_numpy()
        ),
        {},
        ("'n': K, M, B and T were read as 1e3",),
    ),
    "a byte order mark and padded names": (
        "\ufeff n ,d , val loss\n" + rows(),
        {"loss": "val loss"},
        (),
    ),
    "a row of units": (
        "n,d,loss\n(params),(tokens),(nats)\n" + rows(),
        {},
        ("it holds units ((params), (tokens), (nats))",),
    ),
    "the header again": (
        "n,d,loss\n" + rows().replace("\n", "\nn,d,loss\n", 1),
        {},
        ("1 row repeats the header; left out",),
    ),
    "comments": ("# made by hand\n\nn,d,loss\n" + rows(), {}, ("2 lines of comments",)),
    "tabs": ("n\td\tloss\n" + rows("{n}\t{d}\t{loss}"), {}, ("separated by",)),
    "slashes and percent signs in names": (
        "model/n,d,eval/val/loss%\n" + rows("{n},{d},{loss}%"),
        {"n": "model/n", "loss": "eval/val/loss% / 1"},
        ("its numbers are in percent, as they stand",),
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_are_read_and_what_was_decided_is_said(tmp_path: Path, kind: str) -> None:
    text, columns, notes = TEXTS[kind]
    assert_whole(read_table(write(tmp_path, text), **columns), *notes)
    fit = fit_law(read_table(write(tmp_path, text), **columns))
    assert fit.provenance.notes == read_table(write(tmp_path, text), **columns).notes
    for note in notes:
        assert note in str(fit)


def test_other_forms_hold_the_same_rows(tmp_path: Path) -> None:
    text = "n,d,loss\n" + rows()
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as packed:
        packed.writestr("t.csv", text)
    arrow = pa.Table.from_pandas(FRAME)
    with pa.output_stream(tmp_path / "t.csv.zst", compression="zstd") as stream:
        stream.write(text.encode())
    pyarrow.feather.write_feather(arrow, tmp_path / "t.feather")
    pyarrow.parquet.write_table(arrow, tmp_path / "t.parquet")
    records = FRAME.to_dict("records")
    write(tmp_path, json.dumps(records), "t.json")
    write(tmp_path, "\n".join(map(json.dumps, records)), "t.jsonl")
    for path in sorted(tmp_path.iterdir()):
        assert_whole(read_table(path))
    folder = tmp_path / "dataset"
    for part, some in enumerate((FRAME[:5], FRAME[5:])):
        (folder / f"seed={part}").mkdir(parents=True)
        some.to_parquet(folder / f"seed={part}" / "0.parquet")
    assert_whole(read_table(folder, group="seed"))
    for part, some in enumerate((FRAME[:5], FRAME[5:])):
        some.to_csv(tmp_path / f"part{part}.csv", index=False)
    assert_whole(read_table(tmp_path / "part*.csv"), "2 files were read")


def test_nested_columns_have_names_with_dots(tmp_path: Path) -> None:
    records = [
        {"config": {"n": n, "d": d}, "summary": {"eval/loss": y}}
        for n, d, y in FRAME.to_numpy().tolist()
    ]
    columns = {"n": "config.n", "d": "config.d", "loss": "summary.eval/loss"}
    lines = write(tmp_path, "\n".join(map(json.dumps, records)), "t.jsonl")
    assert_whole(read_table(lines, **columns), "nested columns have names with dots")
    pyarrow.parquet.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    assert_whole(read_table(tmp_path / "t.parquet", **columns), "nested columns")


def test_columns_of_any_type_are_numbers_where_they_hold_numbers() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "decimals": [decimal.Decimal("1.5"), decimal.Decimal("2"), None],
            "categories": pd.Categorical(["1e7", "1e7", "2e7"]),
            "half": np.array([1.5, 2.5, 3.5], np.float16),
            "text": [" 1 ", "2.5e3", "-"],
            "names": ["1e", "a", "7"],
            "ids": ["1" * 30, "2" * 30, "3" * 30],
            "flags": pd.array([True, False, True], dtype="boolean"),
            "mixed": [1, "2", None],
        }
    )
    read = as_numbers(frame)
    assert read["nullable"].tolist()[::2] == [1.0, 3.0] and read["nullable"].isna()[1]
    assert read["decimals"].tolist()[:2] == [1.5, 2.0]
    assert read["categories"].tolist() == [1e7, 1e7, 2e7]
    assert read["half"].dtype == np.float64
    assert read["text"].tolist()[:2] == [1.0, 2500.0] and read["text"].isna()[2]
    assert read["names"].tolist() == ["1e", "a", "7"]
    assert read["ids"].tolist() == frame["ids"].tolist()
    assert read["flags"].dtype == bool
    assert read["mixed"].tolist() == frame["mixed"].tolist()
    assert any("'half': half precision" in note for note in read.attrs["notes"])


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (
            "t.csv",
            "n,d,loss,loss\n1,2,3,4\n",
            r"2 columns are called 'loss' \(columns 3",
        ),
        ("t.csv", "# only\n", "has no rows"),
        ("t.json", '{"a": 1, "b": [[]]}', "it is no list of objects"),
        ("t.json", "[1, 2", "cannot read"),
        ("t.jsonl", '{"n": 1}\n{"n":', "line 2"),
        ("t.xls", "x", "is none of .csv, .tsv"),
        ("t.csv.zip", "x", "cannot read"),
        ("t.csv.xz", "x", "cannot read"),
        ("t.csv.gz", "x", "cannot read"),
        ("t.parquet", "x", "cannot read"),
    ],
)
def test_what_can_be_meant_in_two_ways_or_none_is_refused(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    with pytest.raises(AnalysisError, match=why):
        read_table(write(tmp_path, text, name))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"n,d,loss\n1,2,\xff\xfe\n")
    with pytest.raises(AnalysisError, match=r"cannot read .* 'utf-8' codec"):
        read_table(tmp_path / "t.csv")


def test_what_lacks_is_named_with_a_remedy_that_works(tmp_path: Path) -> None:
    lines = ("n,d,loss\n" + rows()).splitlines()
    unfinished = [*lines, "1e9,,", "2e9,,"]
    table = read_table(write(tmp_path, "\n".join(unfinished)))
    assert_whole(table)
    assert str(table.left_out[0]) == "2 rows left out: loss is not a finite number"
    path = write(tmp_path, "\n".join([*lines, "1e9,,3.5"]))
    with pytest.raises(AnalysisError, match=r"empty .* --where 'd > 0'"):
        read_table(path)
    assert_whole(read_table(path, where="d > 0"))
    path = write(tmp_path, "n,d,eval/val/Loss\n" + rows())
    with pytest.raises(AnalysisError, match="did you mean 'eval/val/Loss'"):
        read_table(path, loss="eval/val/Los")
    with pytest.raises(AnalysisError, match="no column is named for 'loss'"):
        fit_law(read_table(write(tmp_path, "n,d\n1,2\n3,4\n")))


def test_as_many_constants_as_rows_leave_nothing_determined(tmp_path: Path) -> None:
    path = write(tmp_path, "x,loss\n1e3,3.0\n1e4,2.0\n1e5,1.6\n")
    table = read_table(path, x="x")
    fit = fit_with_intervals(table, "power_constant", Bootstrap(replicas=50))
    assert all(np.isnan(i).all() for i in fit.intervals.values())
    assert "not determined" in str(fit)
    assert "as many constants as rows" in str(fit)
    assert np.isnan(predict(fit, {"x": 1e6}).low)
