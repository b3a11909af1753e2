"""What the README shows is what is in the files, and it runs."""

import re
from pathlib import Path

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


def test_the_new_family_is_the_one_that_the_tests_train():
    source = (ROOT / "tests" / "harness" / "new_family.py").read_text()
    assert source.split('"""\n', 1)[1].strip() == BLOCKS[2].strip()


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
