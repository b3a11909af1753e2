"""Foreign text in a store never steers the terminal of who looks at it."""

import json

import pytest

from harness.cli.views.terminal import safe, safe_lines
from harness.store import add_sweep, create_store, failures
from harness.store.leases import Leases, WorkerId
from harness.sweeps.plan import sweep_record
from tests.harness.crashes import runs
from tests.harness.strategies import planned

EVIL = "\x1b[2J\x1b]0;owned\x07\r\nforged: all done\u202e\u2028\ud800\x9b31m"


def is_calm(text):
    steering = set("\x1b\x07\r\x9b\u202e\u2028\x08\x7f")
    return not steering & set(text) and text.encode() is not None


def test_controls_are_shown_as_such():
    assert safe("a\x1b[31mb") == "a\\x1b[31mb"
    assert safe("line\nline\ttab") == "line\\nline\\ttab"
    assert safe("right\u202eleft \ud800") == "right\\u202eleft \\ud800"
    assert safe("ünïcode 日本語 ± × …") == "ünïcode 日本語 ± × …"
    assert safe_lines("a\x00\nb") == "a\\x00\nb"
    for number in (*range(32), 127, *range(128, 160)):
        assert is_calm(safe(chr(number)))


@pytest.fixture
def evil(tmp_path):
    """A store whose sweep, worker and failure have names that would steer."""
    store, made = create_store(tmp_path / "s"), planned(*runs(1, (6, 9)))
    add_sweep(store, sweep_record(made, name=EVIL, doc=""))
    worker = WorkerId(name=EVIL, host=EVIL, pid=1, process=None)
    Leases(store, worker=worker).claim(made.runs[0].trunk_id)
    failures.add_failure(
        store, made.runs[0].trunk_id, [], error=ValueError(EVIL), progress=EVIL
    )
    return store


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_store_cannot_steer_a_terminal(evil, harness, command):
    store = evil
    name = f"records/{'0' * 16}.json"
    store.files.publish(name, json.dumps({"run_id": EVIL, "row": {}}).encode())
    code, out, err = harness(command, store.uri)
    assert code in (0, 1) and is_calm(out) and is_calm(err)
    assert "\nforged" not in out
    if command == "status":
        assert "\\x1b[2J" in out


def test_an_error_cannot_steer_a_terminal(evil, harness):
    evil.files.publish("_store.json", b'{"format": 2, "exclusive": "\\u001b[2J"}')
    code, _, err = harness("status", evil.uri)
    assert code == 2 and err.startswith("error: ") and is_calm(err)
    assert err.count("\n") == 1
