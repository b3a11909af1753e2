"""Mistakes a user can mend. Each message is one line that says what and how."""


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
