"""One line that says where and when something was measured."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import jax


def machine() -> str:
    """Processor, cores, jax and its device, Python, load average before, date."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.processor() or platform.machine()
    return (
        f"{name}, {os.cpu_count()} cores; jax {jax.__version__} on "
        f"{jax.default_backend()}, Python {platform.python_version()}; load "
        f"{os.getloadavg()[0]:.1f}; "
        f"{datetime.date.today():%Y-%m-%d}"
    )
