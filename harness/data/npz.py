"""`.npz` files: named arrays, none of them pickled."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.files import remedy
from harness.errors import DataError


def read(
    file: Path, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[Any]]:
    """The named arrays in `file`. Raises `DataError` if one is missing or damaged.

    Optional arrays come all together or not at all.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            names = set(found.files)
            wanted = [*needed, *(optional if names & set(optional) else ())]
            if missing := [name for name in wanted if name not in names]:
                raise DataError(
                    f"{file} lacks the array {missing[0]!r}; it holds "
                    f"{', '.join(sorted(names)) or 'none'}"
                )
            return {name: found[name] for name in wanted}
    except DataError:
        raise
    except ValueError as error:
        raise DataError(
            f"{file} holds an array that is not rectangular numbers ({error}); images "
            "and rows must all have one size"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} is not a readable .npz file ({error}); {remedy(file)}"
        ) from None


def labels(y: NDArray[Any], file: Path, name: str) -> NDArray[np.int32]:
    """Class labels as int32. Raises `DataError` unless they are whole numbers (n,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f"{file}: {name} is {y.dtype} of shape {y.shape}; labels are whole numbers "
            "of shape (n,)"
        )
    return y.astype(np.int32)
