"""The command line, called in the process of the tests."""

import signal
import sys

import pytest

from harness.cli import main


@pytest.fixture
def harness(monkeypatch, capsys):
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, args)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call
