"""Folders that cannot be written, odd names, and what a report shows."""

import os
import subprocess
import sys

import pytest

from harness.cli import main
from harness.store import create_store
from harness.sweeps.options import WorkerOptions
from tests.harness.cli.test_cli import TINY
from tests.harness.strategies import ALONE


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """`harness ARGS` in a folder with an experiment: (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(TINY)

    def call(*args):
        import signal

        monkeypatch.setattr(sys, "argv", ["harness", *map(str, args)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return call


def test_a_folder_without_permission_is_one_line(tmp_path):
    """As another user, since root is refused nothing."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    code = (
        "import os, sys\n"
        "from harness.errors import StoreError\n"
        "from harness.store import create_store\n"
        "os.setuid(65534)\n"
        "try: create_store(sys.argv[1])\n"
        "except StoreError as error: print(error)\n"
    )
    tmp_path.chmod(0o755)
    where = tmp_path / "closed"
    where.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", code, str(where / "results")],
        capture_output=True,
        text=True,
    )
    assert done.stderr == "" and done.stdout.count("\n") == 1
    assert "Permission denied" in done.stdout and str(where) in done.stdout


def test_a_place_where_nothing_can_be_made_is_one_line(run):
    code, err = run("run", "tiny", "--out", "/proc/results")
    assert code == 2 and err.startswith("error: cannot write /proc/results")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["..", "../tiny", "a b", "-x", "tiny;rm", "é"])
def test_experiment_names_cannot_leave_the_folder(run, tmp_path, name):
    (tmp_path / "experiments" / "tiny;rm.py").write_text(TINY)
    (tmp_path / "experiments" / "a b.py").write_text(TINY)
    (tmp_path / "experiments" / "é.py").write_text(TINY)
    code, err = run("run", name)
    assert code == 2 and "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_a_store_behind_a_symlink_is_a_store(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    create_store(tmp_path / "link")
    assert (tmp_path / "real" / "_store.json").exists()


def test_file_names_differ_by_more_than_case(tmp_path):
    """So that a store is the same on a file system that ignores it."""
    from harness.workers.worker import work
    from tests.harness.crashes import runs
    from tests.harness.strategies import planned

    store = create_store(tmp_path)
    work(store, planned(*runs(1, (6,))), options=WorkerOptions(train=ALONE))
    names = store.files.walk()
    assert len({name.lower() for name in names}) == len(names)
    assert all(name == name.lower() for name in names)
