"""Light modules stay light; the order of the floors is checked by `lint-imports`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import analysis

ROOT = Path(__file__).parent.parent
HARNESS = sorted((ROOT / "harness").rglob("*.py"))
HEAVY = ("jax", "flax", "optax", "pandas", "matplotlib", "scipy", "pyarrow", "numpy")


def packages(path):
    """The packages that a file imports anywhere, its own left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name their package"
            yield (node.module or "").split(".")[0]


def folder(path):
    return path.relative_to(ROOT / "harness").parts[0]


@pytest.mark.parametrize("path", HARNESS, ids=str)
def test_only_families_know_flax_and_only_what_users_call_knows_analysis(path):
    imported = set(packages(path))
    assert "flax" not in imported or folder(path) == "families"
    assert "analysis" not in imported or folder(path) in ("cli", "study")


@pytest.mark.parametrize(
    "path",
    [p for p in HARNESS if p.name == "spec.py" or folder(p) in ("specs", "sweeps")],
    ids=str,
)
def test_what_says_what_a_run_is_imports_nothing_heavy(path):
    assert not set(HEAVY) & set(packages(path))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("harness", HEAVY),
        ("harness.cli", HEAVY),
        ("harness.sweeps.plan", HEAVY),
        ("harness.store", ("jax", "flax", "pandas", "matplotlib", "scipy")),
        ("harness.engines.local", ("jax", "flax", "pandas", "matplotlib", "scipy")),
        ("analysis", HEAVY),
    ],
)
def test_light_modules_stay_light(module, forbidden):
    code = (
        f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_every_public_name_of_the_analysis_exists():
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
