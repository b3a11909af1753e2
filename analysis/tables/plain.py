"""The JSON of everything that an analysis leaves behind: one rule, one writer.

A number that is not known, NaN or infinite, is null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

JsonObject = dict[str, Any]
"""An object of JSON as it is read or written."""
BRACKETS = frozenset("[]{}")


def read_json(path: Path) -> Any:
    """The JSON in a file.

    Raises:
        OSError: there is none, or it is no regular file (a pipe would be waited for).
        ValueError: it is no JSON, or nested too deep to be read.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def to_json(value: object) -> Any:
    """The value as plain JSON: of arrays lists, of NaN and infinities null."""
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_json(v) for v in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: float | None) -> float:
    """The number that `to_json` has written: NaN for null."""
    return math.nan if value is None else float(value)


def dump_json(value: object) -> str:
    """The indented JSON text, with every list without inner brackets on one line."""
    return _layout(to_json(value), "\n")


def _layout(value: object, line: str) -> str:
    """The text of a plain value, whose further lines begin with `line`."""
    deeper = line + " "
    if isinstance(value, dict) and value:
        items = (f"{json.dumps(k)}: {_layout(v, deeper)}" for k, v in value.items())
        return "{" + deeper + f",{deeper}".join(items) + line + "}"
    if isinstance(value, list) and value:
        texts = [_layout(v, deeper) for v in value]
        if any(BRACKETS & set(text) for text in texts):
            return "[" + deeper + f",{deeper}".join(texts) + line + "]"
        return f"[ {', '.join(texts)} ]"
    return json.dumps(value, allow_nan=False)


def write_text(path: Path, text: str) -> None:
    """Replace a file whole, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
