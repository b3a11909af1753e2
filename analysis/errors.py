"""The one exception that a user's mistake raises."""


class AnalysisError(ValueError):
    """A table, law or request that cannot be used as given.

    The message is one line that names the column, rows or value at fault and the
    remedy; the command line prints it and exits with code 2.
    """
