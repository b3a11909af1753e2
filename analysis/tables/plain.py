"""The JSON of everything that an analysis leaves behind: one rule, one writer.

A number that is not known, NaN or infinite, is null.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

JsonObject = dict[str, Any]
"""An object of JSON as it is read or written."""


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
    """The indented JSON text, with every list of plain values on one line."""
    text = json.dumps(to_json(value), indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m.group()), text)


def write_text(path: Path, text: str) -> None:
    """Replace a file whole, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
