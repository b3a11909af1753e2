"""The command line. A command's module is imported when the command is called.

Exit codes: 0 all done; 1 some runs failed or a reproduction missed; 2 a mistake the
user can mend (one line, no traceback); 74 the results could not be reached for long; 75
interrupted, run again to go on.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import os
import sys
import threading
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from analysis.errors import AnalysisError
from harness.cli.stopping import INTERRUPTED, STOPPER
from harness.cli.views.terminal import safe
from harness.engines.base import UNREACHABLE
from harness.errors import HarnessError, Interrupted, UnreachableError

COMMANDS = {
    "plan": (
        "sweeps",
        "Show what would run: models, tokens, FLOPs, what is finished, the time left.",
    ),
    "run": (
        "sweeps",
        "Train what is not finished yet, then fit and write the report.",
    ),
    "families": ("sweeps", "List the model families and their fields."),
    "work": (
        "workers",
        "Be one worker: train runs of a sweep, with as many others as there are.",
    ),
    "probe": ("workers", ""),
    "status": (
        "folders",
        "Show how far a sweep is: runs by state, workers, failures, the time left.",
    ),
    "retry": (
        "folders",
        "Try failed and cancelled runs again: all of them, or those named.",
    ),
    "cancel": (
        "folders",
        "Train no more of the runs that are not finished: of all, or of those named.",
    ),
    "doctor": (
        "folders",
        "Verify every file; put damaged ones aside, so that their runs train again.",
    ),
    "mirror": (
        "mirror",
        "Send curves, specs and final losses to a tracker, from the folder alone.",
    ),
    "pack": (
        "folders",
        "Put the small files of finished runs into few large ones, while others work.",
    ),
    "unpack": (
        "folders",
        "Write a results folder again with a file for each run, into a new folder.",
    ),
    "fit": ("fits", "Fit a law to a table of runs, with bootstrap intervals."),
    "predict": (
        "predictions",
        "Predict the loss of a model, or the best model for a budget or a loss.",
    ),
    "laws": ("fits", "List the laws that can be fitted."),
    "report": (
        "tables",
        "Fit a results folder and write its report, FOUND.md and fits.json.",
    ),
    "check": (
        "tables",
        "Measure what experiments promise on their results; exit code 1 on a miss.",
    ),
    "compare": (
        "tables",
        "Rank laws by how well they predict budgets beyond those they are fitted to.",
    ),
    "speedup": (
        "tables",
        "How much compute one recipe saves against another, at the same loss.",
    ),
    "approaches": (
        "tables",
        "Exponent of N* against C by each estimator under each counting convention.",
    ),
    "tune": (
        "tables",
        "The best learning rate of each point, and the rule of each family.",
    ),
    "suggest": (
        "tables",
        "Suggest the runs that tell most of the target for the compute spent.",
    ),
    "reproduce": (
        "tables",
        "Bring published numbers out again; exit code 1 when one is missed.",
    ),
    "sample": ("weights", "Let a trained language model go on from a prompt."),
    "export": (
        "weights",
        "Write a trained model for other programs: safetensors, StableHLO or ONNX.",
    ),
    "data": ("data", "Data sets on this machine."),
}
"""Module of each command, and its line in the help; a command without one is hidden."""


class LazyGroup(TyperGroup):
    """Commands of which only name and help are known before one is called."""

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        """The command that the arguments name, from its module, and what follows."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name and known else None, rest


def load_command(name: str) -> TyperCommand | TyperGroup:
    """The command of this name, its module imported."""
    module = import_module(f"harness.cli.{COMMANDS[name][0]}")
    group = typer.main.get_command(module.app)
    assert isinstance(group, TyperGroup)
    command = group.commands[name]
    assert isinstance(command, TyperCommand | TyperGroup)
    return command


app = typer.Typer(
    name="harness",
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(importlib.metadata.version("scaling-harness"))
        raise typer.Exit


@app.callback()
def harness(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    """Train families of models over scale, fit scaling laws to what comes out."""


def _not_loaded() -> None:
    raise AssertionError("a command is run from its module")


for _name, (_, _help) in COMMANDS.items():
    # As a short help it is wrapped; a help would be cut to fit a line.
    app.command(_name, short_help=_help, hidden=not _help)(_not_loaded)


def entry() -> NoReturn:
    """Runs the command line and ends the process: the console script.

    The interpreter is not taken apart: threads of jax and Arrow that still start or
    run would now and then abort the process, after all was done.
    """
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Runs the command line; raises `SystemExit` where it ends with a code."""
    STOPPER.listen()
    try:
        app()
    except UnreachableError as error:
        print(f"error: {safe(str(error))}", file=sys.stderr)
        sys.exit(UNREACHABLE)
    except (HarnessError, AnalysisError) as error:
        print(f"error: {safe(str(error))}", file=sys.stderr)
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
