"""The types of arrays and trees of arrays in code that uses jax."""

from __future__ import annotations

from typing import Any, TypeAlias

PyTree: TypeAlias = Any
"""A nest of containers with arrays as leaves; jax has no type that says so."""
