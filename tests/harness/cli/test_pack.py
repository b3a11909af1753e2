"""`harness pack` and `unpack`: a packed sweep is the sweep that it was, and goes on."""

import json
import os

import pandas as pd
import pytest

import harness as package
from harness.store import schema
from tests.harness.cli.test_cli import TINY, assert_same_tables, folder  # noqa: F401


@pytest.fixture
def finished(folder, harness):  # noqa: F811
    harness("run", "tiny", "--no-report", "--set", "steps=3")
    harness("run", "tiny", "--no-report")
    return folder / "results" / "tiny"


def test_a_packed_sweep_is_read_as_before_and_only_what_is_new_is_trained(
    finished, harness, tmp_path
):
    commands = [
        ("status", finished, "--json"),
        ("plan", "tiny", "--json"),
        ("fit", finished, "--law", "power", "--x", "n_matmul", "--bootstrap", "20"),
    ]
    before = [harness(*command) for command in commands]
    code, out, err = harness("pack", finished)
    assert (code, err) == (0, "")
    assert out.startswith("8 runs packed; 8 finished runs, 1 pack of ")
    assert [harness(*command) for command in commands] == before
    assert not list((finished / "records").iterdir())
    assert "all sound" in harness("doctor", finished)[1]
    assert "0 runs packed" in harness("pack", finished)[1]

    file = tmp_path / "experiments" / "tiny.py"
    file.write_text(TINY.replace("[8, 16]", "[8, 12, 16]"))
    code, out, _ = harness("run", "tiny", "--no-report", "--pack-every", "3")
    assert code == 0 and "9 runs, 6 finished before" in out
    runs = pd.read_parquet(finished / "runs.parquet")
    assert len(runs) == 11 and set(runs["attempts"]) == {1}
    # The three that are new were packed when they were there.
    assert not list((finished / "records").iterdir())
    assert pd.read_parquet(finished / "metrics")["run_id"].nunique() == 11

    study = package.open_study(finished)
    assert study.metrics["run_id"].nunique() == 11
    code, out, _ = harness("unpack", finished, tmp_path / "loose")
    assert code == 0 and out.startswith("11 finished runs are now in ")
    assert len(list((tmp_path / "loose" / "records").iterdir())) == 11
    assert "all sound" in harness("doctor", tmp_path / "loose")[1]
    assert "is there already" in harness("unpack", finished, tmp_path / "loose")[2]
    harness("pack", tmp_path / "loose")
    assert_same_tables(finished, tmp_path / "loose")


def test_a_mirror_of_a_packed_sweep_has_all_its_curves(finished, harness):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    harness("pack", finished)
    code, out, _ = harness("mirror", finished, "--to", "tensorboard:board")
    assert code == 0, out
    rows = pd.read_parquet(finished / "metrics")
    told = 0
    for path, _, names in os.walk("board"):
        if names:
            reader = events.EventAccumulator(path, size_guidance={"scalars": 0})
            reader.Reload()
            told += sum(
                len(reader.Scalars(tag))
                for tag in reader.Tags()["scalars"]
                if "/" in tag
            )
    assert told >= len(rows)


def test_runs_that_are_not_sound_are_counted_and_the_exit_code_says_so(
    finished, harness
):
    victim = next((finished / "metrics").iterdir())
    victim.write_bytes(victim.read_bytes()[:-4])
    with pytest.warns(UserWarning, match="not packed"):
        code, out, err = harness("pack", finished)
    assert code == 2 and "7 runs packed; 8 finished runs" in out
    assert "1 runs are not sound and were left as they are" in err


def test_the_doctor_names_the_format_and_converts_older_ones(finished, harness):
    code, out, _ = harness("doctor", finished, "--json", "--look-only")
    assert code == 0 and json.loads(out)["format"] == schema.FORMAT
    code, _, err = harness("doctor", finished, "--convert", "new")
    assert code == 2 and "is of format 3 already" in err
