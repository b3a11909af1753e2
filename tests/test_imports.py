"""The import rule: data moves left to right, and what must be light stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("jax", "flax", "optax", "pandas", "matplotlib", "scipy", "pyarrow", "numpy")

ALLOWED = {
    "errors": set(),
    "fields": {"errors"},
    "spec": {"errors", "fields"},
    "count": {"spec"},
    "families": {"count", "errors", "fields", "spec"},
    "sweep": {"count", "errors", "fields", "spec"},
    "recipe": {"errors", "fields", "spec", "sweep"},
    "sources": {"errors", "fields", "spec"},
    "data": {"errors", "sources", "spec"},
    "plan": {"count", "data", "errors", "fields", "spec", "sweep"},
    "models": {"errors", "families", "spec"},
    "optim": {"spec"},
    "metrics": set(),
    "layout": {"device", "errors", "spec"},
    "step": {"layout", "models", "optim", "spec"},
    "evaluation": {"data", "layout", "metrics", "spec", "step"},
    "xla": set(),
    "device": set(),
    "mismatch": {"plan"},
    "options": {"errors"},
    "store": {"errors", "options", "spec"},
    "history": set(),
    "forecast": {"history", "plan"},
    "program": {
        "data",
        "device",
        "evaluation",
        "layout",
        "models",
        "optim",
        "spec",
        "step",
    },
    "probe": {"data", "device", "forecast", "layout", "program", "spec"},
    "train": {"history", "plan", "program", "spec", "step"},
    "record": {
        "count",
        "device",
        "history",
        "metrics",
        "plan",
        "sources",
        "spec",
        "train",
    },
    "checkpoint": {
        "errors",
        "history",
        "options",
        "plan",
        "record",
        "step",
        "store",
        "train",
    },
    "population": {"errors", "fields", "forecast", "plan", "store"},
    "queue": {"plan", "store"},
    "attempt": {
        "checkpoint",
        "count",
        "errors",
        "plan",
        "record",
        "step",
        "store",
        "train",
    },
    "ahead": {"device", "plan", "program"},
    "worker": {
        "ahead",
        "attempt",
        "checkpoint",
        "data",
        "device",
        "errors",
        "forecast",
        "layout",
        "options",
        "plan",
        "population",
        "probe",
        "program",
        "queue",
        "spec",
        "store",
        "train",
    },
    "hosts": {
        "device",
        "errors",
        "history",
        "plan",
        "population",
        "program",
        "spec",
        "step",
        "store",
        "train",
        "worker",
    },
    "engines": {"errors"},
    "cli": {"*"},
}
"""Which parts of `harness` each part may import, anywhere in its files."""


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


def part_of(path):
    first = path.relative_to(ROOT / "harness").parts[0]
    return first.removesuffix(".py")


def parts_imported(path):
    for module, names in imports(path):
        package, *rest = module.split(".")
        if package != "harness":
            continue
        yield from [rest[0]] if rest else [n for n in names if n in ALLOWED]


@pytest.mark.parametrize("path", sorted((ROOT / "harness").rglob("*.py")), ids=str)
def test_harness_imports_only_what_lies_to_its_left(path):
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return
    allowed = ALLOWED[part]
    for imported in parts_imported(path):
        assert "*" in allowed or imported in allowed | {part}, (part, imported)


@pytest.mark.parametrize("path", sorted((ROOT / "harness").rglob("*.py")), ids=str)
def test_only_models_know_flax_and_only_the_command_line_knows_analysis(path):
    packages = {module.split(".")[0] for module, _ in imports(path)}
    assert "flax" not in packages or part_of(path) == "models"
    assert "analysis" not in packages or part_of(path) == "cli"


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=str)
def test_analysis_never_imports_harness(path):
    assert all(module.split(".")[0] != "harness" for module, _ in imports(path))


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("harness", HEAVY),
        ("harness.cli", HEAVY),
        ("harness.plan", ("jax", "flax", "optax", "pandas", "matplotlib", "scipy")),
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
