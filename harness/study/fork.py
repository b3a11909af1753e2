"""Processes that were forked after jax had started, in which it would wait for ever."""

from __future__ import annotations

import os
import sys

from harness.errors import SpecError


class _Fork:
    """Whether this process was forked from one that had started jax."""

    had_jax = False


def refuse_fork() -> None:
    """Raises `SpecError` in a process that was forked after jax had started.

    Its threads do not exist there, and the first computation would wait for ever.
    """
    if _Fork.had_jax:
        raise SpecError(
            "this process was forked from one that uses jax, which does not survive "
            "that; use multiprocessing.get_context('spawn')"
        )


def _note() -> None:
    bridge = sys.modules.get("jax._src.xla_bridge")
    _Fork.had_jax = _Fork.had_jax or bool(getattr(bridge, "_backends", None))


def watch_forks() -> None:
    """Has each process that is forked from this one know whether jax was there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_note)
