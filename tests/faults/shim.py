"""The shim of shim.c, built where there is a compiler."""

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")


@functools.cache
def built():
    """The path of the shim; None where it cannot be built."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        return None
    made = Path(tempfile.mkdtemp()) / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-o", made, SOURCE, "-ldl", "-pthread"]
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    return None if done.returncode else made


def environment(*rules):
    """What to add to a process's environment for these rules; skips without a shim."""
    if built() is None:
        pytest.skip("no C compiler, or not Linux")
    return {"LD_PRELOAD": str(built()), "FAULTS": ";".join(rules)}
