"""The accelerators that workers of this machine can use, found without starting jax.

A worker that starts jax takes the memory of what it finds, so a launcher must know the
devices without it. Sources: the CUDA C++ Programming Guide (environment variables), the
MIG User Guide (one instance per process), and ROCm's page on GPU isolation.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
ROCM_PLUGINS = ("jax_rocm60_plugin", "jax_rocm7_plugin")
ROCM_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
"""A folder per CPU and GPU that the kernel's driver knows."""
TPU_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")
TIMEOUT_S = 30


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Accelerators:
    """Devices of one kind, each under the name that `variable` knows it by."""

    variable: str
    """The environment variable that gives a process some of them."""
    names: tuple[str, ...]
    alone: bool = False
    """Whether a process can use only one of them, as with MIG instances."""


def accelerators() -> Accelerators | None:
    """GPUs that jax would use here; None if it would use none."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return None
    if _installed(CUDA_PLUGINS) and (found := _cuda()).names:
        return found
    if _installed(ROCM_PLUGINS) and (found := _rocm()).names:
        return found
    return None


def has_tpu() -> bool:
    """Whether jax would use this host's TPU chips, which one process takes together."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return False
    return _installed(("libtpu",)) and any(
        any(Path("/").glob(pattern.lstrip("/"))) for pattern in TPU_DEVICES
    )


def _installed(modules: Sequence[str]) -> bool:
    return any(importlib.util.find_spec(module) for module in modules)


def _cuda() -> Accelerators:
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    # A list that needs no counting is known without the driver's tool.
    if asked is not None and not visible(asked, None):
        return Accelerators(variable="CUDA_VISIBLE_DEVICES", names=())
    gpus = listed(_output(["nvidia-smi", "-L"]))
    if asked is None:
        names = [name for gpu in gpus for name in gpu]
    else:
        names = visible(asked, len(gpus) or None)
        numbered = dict(enumerate(gpus))
        names = [
            part
            for name in names
            for part in (numbered.get(int(name), [name]) if name.isdigit() else [name])
        ]
    return Accelerators(
        variable="CUDA_VISIBLE_DEVICES",
        names=tuple(names),
        alone=any(name.startswith("MIG-") for name in names),
    )


def listed(text: str) -> list[list[str]]:
    """Names per GPU from `nvidia-smi -L`: its number, or its MIG instances' uuids."""
    gpus: list[list[str]] = []
    for line in text.splitlines():
        if match := re.match(r"GPU (\d+):", line):
            gpus.append([match[1]])
        elif gpus and (match := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line)):
            instances = [name for name in gpus[-1] if name.startswith("MIG-")]
            gpus[-1] = [*instances, match[1]]
    return gpus


def visible(value: str, count: int | None) -> list[str]:
    """Devices that CUDA, or HIP, would show a process for this value of the variable.

    The list ends before the first entry that is no device: -1, `NoDevFiles`, an empty
    one, or a number beyond `count` (unless that is None). With a device named twice
    CUDA shows none at all.
    """
    names: list[str] = []
    for entry in value.split(","):
        name = entry.strip()
        if name.isdigit():
            if count is not None and int(name) >= count:
                break
            name = str(int(name))
        elif not name.startswith(("GPU-", "MIG-")):
            break
        names.append(name)
    return names if len(set(names)) == len(names) else []


def _rocm() -> Accelerators:
    count = sum(_is_gpu(node) for node in ROCM_NODES.glob("*/properties"))
    variable = "HIP_VISIBLE_DEVICES"
    # ROCR hides devices before HIP counts, from 0, those that are left.
    if (allowed := os.environ.get("ROCR_VISIBLE_DEVICES")) is not None:
        count = len(visible(allowed, count))
    # HIP takes CUDA's variable too, where its own is not set.
    asked = os.environ.get(variable, os.environ.get("CUDA_VISIBLE_DEVICES"))
    names = map(str, range(count)) if asked is None else visible(asked, count)
    return Accelerators(variable=variable, names=tuple(names))


def _is_gpu(properties: Path) -> bool:
    try:
        match = re.search(r"^simd_count (\d+)$", properties.read_text(), re.MULTILINE)
    except OSError:
        return False
    return match is not None and int(match[1]) > 0


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
