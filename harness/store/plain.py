"""The one reader of the JSON files of a store, whoever wrote them."""

from __future__ import annotations

import json
import math
import re

from harness.specs.canonical import JsonObject
from harness.store.schema import checksum

CHECKSUM = re.compile(r"[0-9a-f]{64}")
DEEPEST = 64
"""Most levels of nesting; a spec of the largest parts has six."""


def json_object(content: bytes) -> JsonObject:
    """The JSON object in the content of a file.

    Raises `ValueError` with the reason if it holds none, is nested too deeply, or has a
    number that is no finite one.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    if not isinstance(value, dict):
        raise ValueError("it does not hold a JSON object")
    _check(value)
    return value


def is_sound(value: JsonObject) -> bool:
    """Whether an object agrees with its checksum; one written without any does."""
    if "seal" in value:
        return bool(value["seal"] == checksum(value))
    # The name of the checksum may be what is damaged.
    texts = (inner for inner in value.values() if isinstance(inner, str))
    return not any(map(CHECKSUM.fullmatch, texts))


def _check(value: JsonObject) -> None:
    """Raises `ValueError` for what a Python program could stumble over later."""
    level: list[dict[str, object] | list[object]] = [value]
    for _ in range(DEEPEST):
        inner = [
            item
            for group in level
            for item in (group.values() if isinstance(group, dict) else group)
        ]
        for item in inner:
            if isinstance(item, float | int) and not _is_finite(item):
                raise ValueError("it has a number that is not finite")
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _refuse(name: str) -> object:
    raise ValueError(f"it has a number that is not finite: {name}")
