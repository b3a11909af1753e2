"""Importing the package costs nothing, and the halves stay apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import analysis

ROOT = Path(analysis.__file__).parent


def test_importing_analysis_imports_neither_jax_nor_pandas() -> None:
    code = "import sys, analysis; print([m for m in ('jax', 'pandas', 'scipy', "
    code += "'matplotlib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_exists() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None


def test_analysis_never_imports_harness() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(n.split(".")[0] == "harness" for n in names), path
