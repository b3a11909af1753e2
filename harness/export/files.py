"""The forms in which a trained model is written for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from harness.data.files import write_whole
from harness.errors import SpecError, StoreError
from harness.export.onnx_file import onnx
from harness.export.stablehlo import stablehlo
from harness.export.trained import Trained

Form = Literal["safetensors", "stablehlo", "onnx"]


def write(trained: Trained, to: Form, path: str | Path) -> int | None:
    """Writes a file that appears whole; returns the only batch size that it takes.

    None stands for any size. A file of safetensors holds the weights alone.

    Raises:
        SpecError: there is no such form, a package for it is missing, or the model has
            an operation that the form lacks.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    if to not in get_args(Form):
        raise SpecError(f"no form {to!r}; known are {', '.join(get_args(Form))}")
    if path.is_dir():
        raise SpecError(f"{path} is a folder; give the name of a file")
    try:
        if to == "safetensors":
            trained.save(path)
            return None
        exported = stablehlo(trained) if to == "stablehlo" else onnx(trained)
        write_whole(path, lambda beside: beside.write_bytes(exported.program))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    return exported.batch
