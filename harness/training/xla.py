"""Settings of XLA's compiler, which reads them when jax looks for its devices."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import MutableMapping

OPTIONS = "--xla_backend_extra_options"
SHORT_LOOPS = f"{OPTIONS}=-unroll-full-max-count=4"
"""LLVM unrolls whole any inner loop of 9 to about 40 rounds before it looks for vector
instructions, and then finds none: elementwise work on arrays whose last axis is that
long took 8 times as long (jaxlib 0.10, 65,536 numbers, max(x, 0): 33 µs, or 4)."""


def vectorise(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has programs for CPUs use vector instructions on short axes too.

    Changes nothing where jax may find an accelerator, whose compiler would read the
    same option, nor where the user has options for LLVM. A process that has used jax
    before goes on without it: the same numbers up to rounding.
    """
    flags = environment.get("XLA_FLAGS", "")
    if OPTIONS not in flags and only_cpus(environment):
        environment["XLA_FLAGS"] = f"{flags} {SHORT_LOOPS}".strip()


def only_cpus(environment: MutableMapping[str, str]) -> bool:
    """Whether jax can find nothing but CPUs, read without starting it."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
