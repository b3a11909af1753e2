"""Mirrors beside a sweep: processes of their own that cannot hold it up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

LAST_PASS_S = 30.0
"""Seconds that mirrors have at a sweep's end to send what is left."""
NICE = 10
"""How far a mirror stands back for workers."""


@contextlib.contextmanager
def mirrors(
    uri: str, targets: Sequence[str], logs: Path, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """A block beside which mirrors run; it is given a function that looks at them.

    Args:
        uri: the results folder.
        targets: the trackers, as `--to` takes them.
        logs: folder for what they print.
        say: is told one line for each mirror that ends early or is not done in time.
    """
    logs.mkdir(parents=True, exist_ok=True)
    running = [_Process(uri, target, logs) for target in targets]

    def look() -> None:
        for process in running:
            if line := process.news():
                say(line)

    try:
        yield look
    finally:
        for process in running:
            process.ask_to_end()
        deadline = time.monotonic() + LAST_PASS_S
        for process in running:
            if line := process.end(max(0.0, deadline - time.monotonic())):
                say(line)


class _Process:
    def __init__(self, uri: str, target: str, logs: Path) -> None:
        self._uri, self._target = uri, target
        self._log = logs / f"mirror-{target.partition(':')[0]}.log"
        command = [sys.executable, "-m", "harness", "mirror", uri, "--to", target]
        command += ["--watch", "--parent", str(os.getpid())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        self._told = False

    def news(self) -> str | None:
        """A line if the mirror has ended by itself, once."""
        if self._told or self._process.poll() is None:
            return None
        self._told = True
        return f"tracker {self._target} ended ({self._last_line()}); training goes on"

    def ask_to_end(self) -> None:
        """Asks for a last pass."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, seconds: float) -> str | None:
        """Waits, then ends it; a line if not all was sent."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code == 0:
            return None
        return (
            f"tracker {self._target} does not have all of it; "
            f"`harness mirror {self._uri} --to {self._target}` sends the rest"
        )

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            return lines[-1].removeprefix("error: ") if lines else "without a word"
        return "without a word"
