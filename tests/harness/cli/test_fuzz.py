"""Whatever a spec, a store's file or a command line says: one clear line, no
traceback, and a store that is as it was."""

import copy
import json
import random
import string
import warnings

import pytest

from harness import RunSpec
from harness.cli import app
from harness.errors import HarnessError
from harness.store import add_sweep, create_store, open_store
from harness.store.doctor import examine
from harness.store.status import sweep_status
from harness.store.write import view_of
from harness.sweeps.options import WorkerOptions
from harness.sweeps.plan import plan_of_record, sweep_record
from harness.workers.worker import work
from tests.harness.crashes import runs
from tests.harness.strategies import ALONE, planned, text_run

VALUES = [
    None, True, -1, 0, 1, 3, 2**63, 2**80, 0.5, -0.0, 1e308, 1e-320, "", "x", "adamw",
    "../../etc/passwd", "s3://x", "\x00", "é" * 300, [], {}, [1], {"a": {"b": []}},
    "0" * 16, "{}", "nan",
]  # fmt: skip


def mutated(rng, value):
    """A copy with a few changes anywhere inside."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        at = value
        while isinstance(at, dict | list) and at:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = rng.choice(list(keys))
            if not isinstance(at[key], dict | list) or rng.random() < 0.3:
                change(rng, at, key)
                break
            at = at[key]
    return value


def change(rng, at, key):
    kind = rng.random()
    if kind < 0.15:
        del at[key]
    elif kind < 0.3 and isinstance(at, dict):
        at[rng.choice(["extra", "", "run_id", "seal", "family"])] = rng.choice(VALUES)
    elif kind < 0.45 and isinstance(at[key], int | float):
        at[key] = at[key] * rng.choice([-1, 2, 1e9]) + rng.choice([0, 1, 0.5])
    else:
        at[key] = rng.choice(VALUES)


def garbled(rng, content):
    """Bytes cut, flipped, doubled or filled with others."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data = data[:at]
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at:at] = data[: rng.randrange(40)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(5))
    return bytes(data)


def snapshot(folder):
    return {
        p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_mutated_specs(private_caches):
    rng, refused = random.Random(1), 0
    specs = [r.run.to_dict() for r in planned(text_run(), *runs(1)).runs]
    for _ in range(2500):
        try:
            run = RunSpec.from_dict(mutated(rng, rng.choice(specs)))
            run.ids()
            run.check_budget()
        except HarnessError as error:
            refused += 1
            assert str(error) and "\n" not in str(error)
    assert refused > 1000


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "store"
    store, made = create_store(folder), planned(*runs(1, (6, 9)))
    add_sweep(store, sweep_record(made, name="small", doc="why"))
    work(store, made, options=WorkerOptions(train=ALONE))
    return folder


READERS = {
    "sweep_status": sweep_status,
    "plan": lambda store: plan_of_record(store.sweeps()[-1]),
    "view": view_of,
    "doctor": lambda store: examine(store, mend=False),
    "open": lambda store: open_store(store.uri),
}


def test_mutated_stores(trained):
    rng, refused = random.Random(2), 0
    files = sorted(p for p in trained.rglob("*") if p.is_file() and p.suffix != ".log")
    store = open_store(trained)
    for turn in range(1600):
        victim = rng.choice(files)
        before = victim.read_bytes()
        if victim.suffix == ".json" and turn % 2:
            changed = mutated(rng, json.loads(before))
            if isinstance(changed, dict) and rng.random() < 0.7:
                # As if the damage had been sealed: no checksum tells.
                changed.pop("seal", None)
            victim.write_text(json.dumps(changed))
        else:
            victim.write_bytes(garbled(rng, before))
        damaged = snapshot(trained)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for reader in READERS.values():
                try:
                    reader(store)
                except HarnessError as error:
                    refused += 1
                    assert str(error)
        assert snapshot(trained) == damaged
        victim.write_bytes(before)
    assert refused > 500


WORDS = [
    "plan", "run", "work", "status", "retry", "cancel", "doctor", "families", "laws",
    "fit", "predict", "compare", "suggest", "report", "STORE", "STORE/runs.parquet",
    "nowhere", "../..", "--json", "--out", "--set", "optimizer.lr=1", "tokens=x", "=",
    "--workers", "0", "-1", "1e9", "--look-only", "--sweep", "0000", "0" * 16, "--law",
    "chinchilla", "--where", "n > 1 and", "__import__('os')", "--n", "--loss", "",
    "\x00", "a=b", "--checkpoint", "nan", "--beat", "--stale", "--cores", "99", "s3:/x",
    "gs://b/x",
]  # fmt: skip


def test_mutated_command_lines(trained, tmp_path, monkeypatch):
    """In this process, through the same entry as the console script."""
    import contextlib
    import io
    import signal
    import sys

    from harness.cli import main

    assert app.registered_commands
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    rng = random.Random(3)
    before = snapshot(trained)
    for _ in range(1000):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.2:
            words.append("".join(rng.choices(string.printable, k=rng.randint(1, 9))))
        words = [w.replace("STORE", str(trained)) for w in words]
        # These change a store, or train, because they are asked to.
        if {"retry", "cancel", "work", "report"} & set(words[:1]):
            words[1:2] = ["nowhere"]
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        assert code in (0, 1, 2), (words, code)
        assert "Traceback" not in err.getvalue(), words
    assert snapshot(trained) == before
    assert list(tmp_path.iterdir()) == []
