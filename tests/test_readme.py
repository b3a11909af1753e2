"""What the README shows is what is in the files, and it runs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_sweep_file_is_the_quick_start():
    assert (ROOT / "experiments" / "quickstart.py").read_text() == BLOCKS[0]


def test_results_are_read_in_three_lines(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = BLOCKS[1].split("\n")
    assert sum(bool(line) for line in lines) == 3
    names: dict = {}
    exec(BLOCKS[1], names)
    runs, curves = names["runs"], names["curves"]
    assert len(runs) == 20 and set(runs["run_id"]) == set(curves["run_id"])


def test_the_law_of_ones_own_is_fitted(tmp_path, capsys, monkeypatch):
    from harness.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_laws.py").write_text(BLOCKS[2])
    width = np.geomspace(16, 1024, 12)
    loss = 1.7 + 5.0 * width**-0.5
    pd.DataFrame({"width": width, "val_loss": loss}).to_csv("runs.csv", index=False)
    (command,) = re.findall(r"harness fit .*by_width", README)
    monkeypatch.setattr("sys.argv", [*command.split(), "--bootstrap", "50"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert re.search(r"alpha +0\.5\b", capsys.readouterr().out)


def test_the_new_family_is_the_one_that_the_tests_train():
    source = (ROOT / "tests" / "harness" / "new_family.py").read_text()
    assert source.split('"""\n', 1)[1].strip() == BLOCKS[3].strip()


def test_every_column_of_the_conventions_table_exists():
    table = README.split("## Conventions")[1].split("##")[0]
    named = set()
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        named |= set(re.findall(r"`(\w+)`", row))
    runs = pd.read_parquet(ROOT / "results" / "quickstart" / "runs.parquet")
    assert len(named) == 16 and named <= set(runs.columns)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()
