"""The device: persistent compile cache, precision, name, memory, peak FLOP/s."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from harness.training.peaks import PEAK_FLOPS

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def enable_compile_cache() -> Path:
    """Keeps compiled programs in the user's cache folder, across processes."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "scaling-harness" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs are the rule here: without these two, none would be kept.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def describe() -> dict[str, str | int]:
    """Device columns of a run record."""
    device = jax.devices()[0]
    kind = device.device_kind
    name = _cpu_name() if device.platform == "cpu" else kind
    return {
        "device": name,
        "device_platform": device.platform,
        "device_count": jax.device_count(),
        "cpu_cores": cores(),
        "os": platform.system(),
        "python": platform.python_version(),
    }


def peak_memory() -> int | None:
    """Peak bytes used so far: on the accelerator, or resident on a CPU."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory() -> int | None:
    """Bytes that are free: on the accelerator, or on a machine that has none."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return 1024 * int(sizes[0]) if sizes else None


def mfu(flops_per_second: float, precision: str, devices: int = 1) -> float | None:
    """Model FLOP utilisation, or None where the device's peak is not in the table."""
    peak = PEAK_FLOPS.get(jax.devices()[0].device_kind)
    if peak is None or precision != "bfloat16":
        return None
    return flops_per_second / (peak * devices)


def simulate(count: int) -> None:
    """Makes a CPU look like so many devices; to be called before jax looks for any."""
    jax.config.update("jax_num_cpu_devices", count)


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()
