"""The command that mirrors a results folder to a tracker."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from harness.cli.options import Folder, command_group
from harness.cli.stopping import STOPPER
from harness.errors import HarnessError, SpecError
from harness.store import open_store
from harness.trackers.base import tracker_at
from harness.trackers.mirror import Mirror

LOOK_S = 2.0

app = command_group()


@app.callback()
def group() -> None:
    """Commands about trackers."""


@app.command()
def mirror(
    folder: Folder,
    to: Annotated[
        str,
        typer.Option(
            help="tensorboard[:FOLDER], wandb[:PROJECT] or mlflow[:URI].",
        ),
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until a signal asks to stop.")
    ] = False,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Send curves, specs and final losses to a tracker, from the folder alone."""
    store = open_store(folder)
    sweeps = store.sweeps()
    if not sweeps:
        raise SpecError(f"{store.uri} has no sweep yet; `harness run` writes one")
    try:
        mirrored = _mirror(
            Mirror(store, tracker_at(to, sweeps[-1]["name"]), to), watch, parent
        )
    except HarnessError:
        raise
    # A tracker is code of others, which raises anything.
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpecError(f"tracker {to} failed: {text}; send again to go on") from None
    typer.echo(mirrored)


def _mirror(mirror: Mirror, watch: bool, parent: int | None) -> str:
    with STOPPER.at_safe_points():
        while True:
            over = not watch or STOPPER.requested or _is_orphan(parent)
            mirror.send()
            if over:
                break
            _wait()
    mirror.close()
    left = mirror.left()
    return "all finished runs are mirrored" if not left else f"{left} runs are left"


def _wait() -> None:
    until = time.monotonic() + LOOK_S
    while time.monotonic() < until and not STOPPER.requested:
        time.sleep(0.1)


def _is_orphan(parent: int | None) -> bool:
    return parent is not None and os.getppid() != parent
