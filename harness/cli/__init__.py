"""The command line. Heavy imports happen inside the commands; `--help` stays fast.

Exit codes: 0 all done; 1 some runs failed or a reproduction missed; 2 a mistake the
user can mend (one line, no traceback); 75 interrupted, run again to go on.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer

from analysis.errors import AnalysisError
from harness.cli import fits, sweeps
from harness.errors import HarnessError, Interrupted

INTERRUPTED = 75

app = typer.Typer(
    name="harness",
    help="Train families of models over scale, fit scaling laws to what comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sweeps.register(app)
fits.register(app)


def main() -> None:
    """Entry point of the console script."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except (HarnessError, AnalysisError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is not an error.
        sys.stderr.close()
        sys.exit(0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Not KeyboardInterrupt: the command-line library would make that exit code 1.
    raise Interrupted
