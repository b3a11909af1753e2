"""Mistakes a user can mend. Each message is one line that says what and how."""

from __future__ import annotations

import site
import sysconfig
import traceback
from pathlib import Path


class HarnessError(ValueError):
    """Base of what the command line reports in one line, with exit code 2."""


class Interrupted(BaseException):
    """The user or the system asked the process to stop (SIGINT, SIGTERM)."""


class SpecError(HarnessError):
    """A spec or sweep that cannot be run as written."""


class DataError(HarnessError):
    """A data set that is missing, malformed, or smaller than asked for."""


class StoreError(HarnessError):
    """A results folder that cannot be read or written as asked."""


class UnreachableError(StoreError):
    """A results folder that could not be reached for as long as one waits for it.

    No mistake of the user's: exit code 74, and a launcher starts another worker.
    """


class DamagedFileError(StoreError):
    """A file of a results folder that holds nothing that could be meant."""


class UnknownTagError(SpecError):
    """A spec of a family or data source that no loaded code defines."""

    def __init__(self, message: str, *, kind: str, name: str) -> None:
        super().__init__(message)
        self.kind, self.name = kind, name


def one_line(error: BaseException) -> str:
    """The type and message of an error, and the line of the user's that raised it.

    Code of the harness and installed packages is passed over, so an error that comes
    through jax is still told by the place where the user can mend it.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if _is_users(f.filename)]
    return f"{text} ({users[-1].filename}:{users[-1].lineno})" if users else text


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path, package = Path(filename).resolve(), Path(__file__).resolve().parent
    installed = [*site.getsitepackages(), sysconfig.get_path("stdlib")]
    others = [package, package.parent / "analysis", *map(Path, installed)]
    return not any(path.is_relative_to(other.resolve()) for other in others)
