"""The import rule: data moves left to right, and what must be light stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("jax", "flax", "optax", "pandas", "matplotlib", "scipy", "pyarrow", "numpy")


def imports(path):
    """(module, names) of every import statement in a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        # What only a type checker reads is not an import of the running program.
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name their package"
            yield node.module or "", [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted((ROOT / "harness").rglob("*.py")), ids=str)
def test_only_families_know_flax_and_only_the_command_line_knows_analysis(path):
    packages = {module.split(".")[0] for module, _ in imports(path)}
    folder = path.relative_to(ROOT / "harness").parts[0]
    assert "flax" not in packages or folder == "families"
    assert "analysis" not in packages or folder == "cli"


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=str)
def test_analysis_never_imports_harness(path):
    assert all(module.split(".")[0] != "harness" for module, _ in imports(path))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("harness", HEAVY),
        ("harness.cli", HEAVY),
        (
            "harness.sweeps.plan",
            (
                *("jax", "flax", "optax", "pandas", "matplotlib", "scipy"),
                "harness.data.dataset",
            ),
        ),
        ("harness.store", ("jax", "flax", "pandas", "matplotlib", "scipy")),
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
