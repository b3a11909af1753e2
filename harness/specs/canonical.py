"""Canonical JSON, and the ids that are hashes of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

JsonObject = dict[str, Any]
"""A JSON object that was parsed, or that is to be written."""

SPEC_VERSION = 2
"""Raised when the meaning of a spec changes, so that no old id names a new run."""


def canonical_json(value: object) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, shortest floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_id(value: object) -> str:
    """A 16-digit id of any JSON value, stamped with the spec version."""
    return digest(canonical_json(value))


def digest(text: str) -> str:
    """16 hex digits of sha256 over `text`, stamped with the spec version."""
    stamped = f'{{"spec_version":{SPEC_VERSION},"value":{text}}}'
    return hashlib.sha256(stamped.encode()).hexdigest()[:16]
