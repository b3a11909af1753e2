"""One line that says where and when something was measured."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import jax


def machine() -> str:
    """Processor, cores, jax and its device, Python, load average before, date."""
    return (
        f"{_processor()}, {os.cpu_count()} cores; jax {jax.__version__} on "
        f"{jax.default_backend()}, Python {platform.python_version()}; load "
        f"{os.getloadavg()[0]:.1f}; "
        f"{datetime.date.today():%Y-%m-%d}"
    )


def _processor() -> str:
    """Its name; with the family, as machines that are rented often hide their model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    name = told.get("model name") or platform.processor() or platform.machine()
    family = told.get("cpu family")
    return f"{name} (family {family}, model {told['model']})" if family else name
