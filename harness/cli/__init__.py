"""The command line. Heavy imports happen inside the commands; `--help` stays fast.

Exit codes: 0 all done; 1 some runs failed or a reproduction missed; 2 a mistake the
user can mend (one line, no traceback); 75 interrupted, run again to go on.
"""

from __future__ import annotations

import os
import sys

import typer

from analysis.errors import AnalysisError
from harness.cli import data, fits, probing, studies, sweeps, workers
from harness.cli.stopping import INTERRUPTED, STOPPER
from harness.errors import HarnessError, Interrupted

app = typer.Typer(
    name="harness",
    help="Train families of models over scale, fit scaling laws to what comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sweeps.register(app)
probing.register(app)
workers.register(app)
fits.register(app)
studies.register(app)
data.register(app)


def main() -> None:
    """Entry point of the console script."""
    STOPPER.listen()
    try:
        app()
    except (HarnessError, AnalysisError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(str(stop) or "interrupted", file=sys.stderr, flush=True)
        sys.stdout.flush()
        # Not sys.exit: the device's threads may still be computing, and taking the
        # interpreter apart under them can crash. Every file is closed by now.
        os._exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; that is not an error.
        sys.stderr.close()
        sys.exit(0)
