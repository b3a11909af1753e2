"""Plain operations: models written so that other programs can read them.

Layers choose the form of an operation by the device that it will run on. What is to be
exported runs elsewhere, so it is traced in the plain form of each: no fused kernels, no
scatter, no scan by halves.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_ASKED = contextvars.ContextVar("plain operations", default=False)


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """A context in which models are traced in plain operations."""
    token = _ASKED.set(True)
    try:
        yield
    finally:
        _ASKED.reset(token)


def are_plain() -> bool:
    """Whether what is traced now is to be written in plain operations."""
    return _ASKED.get()
