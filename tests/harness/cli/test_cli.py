"""The command line as a user meets it: results, repeats, interruptions, mistakes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from analysis.report.findings import Findings, load_findings, save_findings
from harness import Transformer
from harness.cli import COMMANDS, experiment, load_command
from harness.cli.options import with_options
from harness.store import schema

TINY = """
'''Does a tiny sweep work?'''
from harness import AdamW, WSD, RunSpec, Sweep, Text, Transformer, product

WIDTHS = [8, 16]
BASE = RunSpec(
    model=Transformer(width=8, depth=1, heads=2),
    data=Text(context=16, eval_sequences=16),
    optimizer=AdamW(lr=1e-2), schedule=WSD(warmup=2),
    batch=4,
    evals_per_octave=2,
)
SWEEP = Sweep(product(BASE, {"model.width": WIDTHS, "tokens": [1e3, 2e3, 4e3]}))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(TINY)
    return tmp_path


def start(*args):
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from harness.cli import main; main()", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


CLOCK = {"seconds_compile", "seconds_train", "tokens_per_second", "peak_memory"}


def tables(store: Path):
    """Everything a store says, without what a clock said."""
    metrics = pd.concat(
        map(pd.read_parquet, sorted((store / "metrics").glob("*.parquet")))
    )
    metrics = metrics.sort_values("run_id", kind="stable", ignore_index=True)
    runs = pd.read_parquet(store / "runs.parquet")
    return metrics.drop(columns="wall_s"), runs.drop(columns=list(CLOCK))


def assert_same_tables(a: Path, b: Path):
    for one, other in zip(tables(a), tables(b), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_run_again_trains_nothing_and_a_new_size_trains_only_itself(folder, harness):
    code, out, _ = harness("run", "tiny", "--no-report")
    assert code == 0 and "6/6" in out
    store = folder / "results" / "tiny"
    before = {p: p.stat().st_mtime_ns for p in (store / "records").iterdir()}
    assert len(before) == 6

    # Runs that are fitted are not fitted again; the page has the present question.
    (store / "report").mkdir()
    nothing = Findings()
    save_findings(nothing, store, pd.read_parquet(store / "runs.parquet"))
    file = folder / "experiments" / "tiny.py"
    file.write_text(TINY.replace("Does a tiny sweep work?", "Does it still work?"))
    code, out, _ = harness("run", "tiny")
    assert code == 0 and "all 6 runs are finished" in out and "report: " in out
    assert load_findings(store) == nothing
    page = (store / "report" / "index.html").read_text()
    assert "<pre>Does it still work?</pre>" in page

    file.write_text(TINY.replace("[8, 16]", "[8, 12, 16]"))
    code, out, _ = harness("run", "tiny", "--no-report")
    assert code == 0 and "9 runs, 6 finished before" in out
    after = {p: p.stat().st_mtime_ns for p in (store / "records").iterdir()}
    assert len(after) == 9 and before.items() <= after.items()
    runs = pd.read_parquet(store / "runs.parquet")
    assert sorted(set(runs["model.width"])) == [8, 12, 16]
    assert set(runs["grid.tokens"]) == {1e3, 2e3, 4e3}


def test_plan_and_run_say_why_finished_runs_are_not_of_this_sweep(folder, harness):
    harness("run", "tiny", "--no-report", "--set", "steps=3")
    changed = ("--set", "schedule.warmup=1", "--set", "steps=3")
    assert "mismatch" in json.loads(harness("plan", "tiny", *changed, "--json")[1])
    for command in (("plan", "tiny"), ("run", "tiny", "--no-report")):
        out = harness(*command, *changed)[1]
        assert "2 finished runs of this folder are not in this sweep" in out
        assert "2: schedule.warmup 2 → 1" in out


def test_status_and_plan_say_what_is_done(folder, harness):
    code, out, _ = harness("plan", "tiny", "--json")
    view = json.loads(out)
    assert code == 0 and view["runs"] == 6 and view["finished"] == 0
    assert view["seconds_left"] is None
    harness("run", "tiny", "--no-report")
    view = json.loads(harness("plan", "tiny", "--json")[1])
    assert view["finished"] == 6 and view["flops_left"] == 0
    assert "nothing to time" in harness("plan", "tiny", "--probe")[1]
    status = json.loads(harness("status", "results/tiny", "--json")[1])
    assert (status["done"], status["pending"], status["failures"]) == (6, 0, [])
    assert status["workers"] == [] and set(status["runs"].values()) == {"done"}
    assert harness("doctor", "results/tiny")[1] == "format 3, 16 files, all sound\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=str)
def test_interrupted_and_resumed_sweeps_end_in_the_same_tables(folder, number):
    # Four programs to compile and 16 runs: longer than any of the stops below waits.
    longer = TINY.replace("[8, 16]", "[8, 16, 24, 32]")
    longer = longer.replace("[1e3, 2e3, 4e3]", "[1e3, 4e3, 1e4, 2e4]")
    (folder / "experiments" / "tiny.py").write_text(longer)
    stopped = 0
    # Seconds after starting, or (None) once a run of this attempt is published.
    for delay in (0.2, 1.0, None, 3.0, None):
        process = start("run", "tiny", "--no-report", "--out", "torn")
        if delay is None:
            while (line := process.stdout.readline()) and "/16 " not in line:
                pass
        else:
            time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate()
        # 75 from our handler; the signal itself before Python has come that far.
        assert process.returncode in {0, 75, -number}, (delay, errors)
        stopped += process.returncode != 0
    assert stopped >= 3
    for store in ("torn", "calm"):
        assert start("run", "tiny", "--no-report", "--out", store).wait() == 0
    assert_same_tables(folder / "calm", folder / "torn")


def test_an_optimiser_and_a_schedule_defined_in_the_experiment_file_train(
    folder, harness
):
    parts = (Path(__file__).parents[1] / "new_optimizer.py").read_text()
    (folder / "experiments" / "signs.py").write_text(
        parts
        + """
from harness import MLP, RunSpec, Sweep, TwoMoons, product
BASE = RunSpec(
    model=MLP(width=4), data=TwoMoons(unique_examples=64, eval_examples=32),
    optimizer=SignMomentum(lr=1e-2), schedule=Straight(), batch=16,
)
SWEEP = Sweep(product(BASE, {"steps": [8, 16]}))
"""
    )
    code, out, err = harness("run", "signs", "--no-report")
    assert code == 0, out + err


def test_a_family_defined_in_the_experiment_file_trains(folder, harness):
    family = (Path(__file__).parents[1] / "new_family.py").read_text()
    family = family.replace('family = "bigram"', 'family = "mine"')
    (folder / "experiments" / "mine.py").write_text(
        family
        + """
from harness import AdamW, WSD, RunSpec, Sweep, Text, product
BASE = RunSpec(
    model=Bigram(rank=2), data=Text(context=16, eval_sequences=8),
    optimizer=AdamW(lr=1e-2), schedule=WSD(), batch=4, steps=10,
)
SWEEP = Sweep(product(BASE, {"model.rank": [2, 4]}))
"""
    )
    code, out, err = harness("run", "mine", "--no-report")
    assert (code, err) == (0, "") and "2/2" in out
    # As where the file was not loaded.
    for file in (folder / "results" / "mine").glob("[rs]*/*.json"):
        value = json.loads(file.read_text())
        for owner in value.get("points", [value]):
            owner["spec"]["model"]["family"] = "elsewhere"
        file.write_bytes(schema.with_checksum(value))
    code, out, _ = harness("doctor", "results/mine")
    assert code == 0 and out == (
        "format 3, 8 files, all sound; family 'elsewhere' is not known here; its "
        "specs are not checked\n"
    )
    for command in ("status", "retry", "cancel"):
        assert harness(command, "results/mine")[0] == 0
    code, _, err = harness("work", "results/mine")
    assert code == 2 and err == (
        "error: this sweep uses the family 'elsewhere', which the experiment's file "
        "mine.py defines; give --experiment FILE\n"
    )


def test_a_failing_run_becomes_a_row_and_the_others_train(folder, harness):
    family = (Path(__file__).parents[1] / "new_family.py").read_text()
    broken = family.replace('family = "bigram"', 'family = "broken"')
    broken = broken.replace(
        "self.embed = ", "assert spec.rank < 4, 'too many'; self.embed = "
    )
    (folder / "experiments" / "broken.py").write_text(
        broken
        + """
from harness import AdamW, WSD, RunSpec, Sweep, Text, product
BASE = RunSpec(
    model=Bigram(rank=2), data=Text(context=16, eval_sequences=8),
    optimizer=AdamW(lr=1e-2), schedule=WSD(), batch=4, steps=10,
)
SWEEP = Sweep(product(BASE, {"model.rank": [4, 2]}))
"""
    )
    code, out, err = harness("plan", "broken", "--probe")
    assert code == 2 and err.count("\n") == 1
    assert "AssertionError: too many (" in err and "broken.py:35)" in err
    code, out, err = harness("run", "broken", "--no-report")
    assert code == 1 and "1 runs are not trained" in err
    assert "failed (error) broken  rank 4: AssertionError: too many" in out
    status = harness("status", "results/broken")[1]
    assert "2 runs: 1 done, 0 pending, 1 failed" in status
    assert status.count("AssertionError: too many") == 2 and "Traceback" in status
    # Tried once more after an error, and again when told to.
    store = folder / "results" / "broken"
    assert len(list((store / "failures").iterdir())) == 2
    code, out, _ = harness("retry", "results/broken")
    assert code == 0 and "1 runs will be tried again" in out
    assert "1 pending" in harness("status", "results/broken")[1]
    code, out, _ = harness("cancel", "results/broken")
    assert code == 0 and "1 runs cancelled" in out
    assert harness("run", "broken", "--no-report")[0] == 1
    assert len(list((store / "failures").iterdir())) == 2
    assert "1 cancelled" in harness("status", "results/broken")[1]


EDITS = {
    "misspelt field": ("width=8, depth", "widht=8, depth", "did you mean width"),
    "heads": (
        "heads=2",
        "heads=3",
        "8 is not divisible by heads 3; use heads in {1, 2",
    ),
    "budget": ("[1e3,", "[10,", "token budget 10 is smaller than one batch of 64"),
    "corpus": ("context=16", "context=16, corpus='no.txt'", "no file matches"),
    "unique": ("context=16", "context=16, unique_tokens=16 * 10**7", "160,000,000"),
    "no sweep": ("SWEEP =", "SWEEPS =", "does not define SWEEP"),
    "syntax": ("SWEEP =", "SWEEP ==", "tiny.py"),
    "exit": ("SWEEP =", "import sys; sys.exit(0)\nSWEEP =", "SystemExit"),
    "list": ("SWEEP = Sweep", "SWEEP = list", "SWEEP is a list; wrap the points"),
    "no budget": (', "tokens": [1e3, 2e3, 4e3]', "", "no budget"),
    "module": (
        "WIDTHS =",
        "Transformer.implementation = 'nowhere:Net'\nWIDTHS =",
        "no module 'nowhere'",
    ),
    "exception": ("WIDTHS = [8, 16]", "WIDTHS = 1 / 0", "ZeroDivisionError"),
    "path": ("model.width", "model.widht", "did you mean width"),
    "warm-up": ("warmup=2", "warmup=500", "lower schedule.warmup"),
}


@pytest.mark.parametrize("edit", EDITS, ids=str)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_mistakes_get_one_line_and_leave_the_store_alone(
    folder, harness, monkeypatch, edit, command
):
    old, new, message = EDITS[edit]
    assert old in TINY
    monkeypatch.setattr(Transformer, "implementation", Transformer.implementation)
    (folder / "experiments" / "tiny.py").write_text(TINY.replace(old, new))
    code, out, err = harness(command, "tiny")
    assert code == 2 and out == ""
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (folder / "results").exists()


def test_outside_a_clone_a_name_says_where_experiments_are(
    tmp_path, harness, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shipped = experiment.SHIPPED / "quickstart.py"
    code, _, err = harness("plan", "quikstart")
    assert code == 2 and str(shipped) in err and shipped.is_file()
    # As an installed wheel has it: next to the package there are none.
    monkeypatch.setattr(experiment, "SHIPPED", tmp_path / "experiments")
    code, _, err = harness("plan", "quickstart")
    assert code == 2 and "inside a clone of the project" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("run", "tinny"), "did you mean tiny? experiments/ has tiny"),
        (("run", "experiments"), "no experiment and no Python file 'experiments'"),
        (("run", "notes.txt"), "no Python file 'notes.txt'; experiments/ has tiny"),
        (("run", "tiny", "--set", "optimizer.lrr=1"), "did you mean lr"),
        (("run", "tiny", "--set", "optimizer.lr"), "not path=value"),
        (("run", "tiny", "--set", "tokens=abc"), "tokens is 'abc'"),
        (("run", "tiny", "--set", "tokens=NaN"), "finite"),
        (("run", "tiny", "--out", "notes.txt"), "is a file"),
        (("status", "nowhere"), "not a results folder"),
        (("work", "tiny", "--options", "{"), "--options '{' is not what `harness run`"),
        (("work", "tiny", "--options", '{"terms": 1}'), "passes: TypeError"),
    ],
)
def test_wrong_arguments_get_one_line(folder, harness, args, message):
    (folder / "notes.txt").write_text("notes")
    code, _, err = harness(*args)
    assert code == 2 and message in err and err.count("\n") == 1


TUNED = """
'''Does a tuned sweep keep its minima?'''
from harness import MLP, AdamW, WSD, RunSpec, Sweep, TeacherStudent, product, tune
BASE = RunSpec(
    model=MLP(width=4, depth=1), data=TeacherStudent(inputs=4, eval_examples=64),
    optimizer=AdamW(lr=1e-3), schedule=WSD(), batch=16, steps=30, evals_per_octave=1,
)
GRID = product(BASE, {"model.width": [4, 8]})
SWEEP = Sweep(tune(GRID, lr=[1e-3, 1e-2, 1e-1, 1e18]))
"""


def test_a_tuned_sweep_from_file_to_rule_and_back(folder, harness):
    (folder / "experiments" / "tuned.py").write_text(TUNED)
    code, out, err = harness("run", "tuned")
    assert code == 0 and "8/8" in out and "report: " in out, err
    store = folder / "results" / "tuned"
    assert len(pd.read_parquet(store / "runs.parquet")) == 8
    assert "Tuned learning rates" in (store / "report" / "index.html").read_text()
    code, out, _ = harness("tune", store, "--json", "rule.json")
    (found,) = json.loads((folder / "rule.json").read_text())
    assert code == 0 and len(found["points"]) == 2
    assert all(p["losses"][-1] is None for p in found["points"])  # 1e18 diverged
    assert [len(p["rates"]) for p in found["points"]] == [4, 4]
    code, _, err = harness("tune", folder / "rule.json")
    assert code == 2 and err.count("\n") == 1


def test_devices_parts_and_remat_lead_to_the_same_losses(folder, harness):
    small = TINY.replace("[8, 16]", "[8]").replace("[1e3, 2e3, 4e3]", "[1e3]")
    (folder / "experiments" / "small.py").write_text(small)
    spread = ["--devices", 2, "--accumulate", 2, "--remat", "--out", "spread"]
    for how in ([], spread):
        assert harness("run", "small", "--no-report", *how)[0] == 0
    plain, other = (
        pd.read_parquet(f"{store}/runs.parquet").iloc[0]
        for store in ("results/small", "spread")
    )
    assert (plain["devices"], other["devices"]) == (1, 2)
    assert other["loss"] == pytest.approx(plain["loss"], rel=1e-5)


def test_set_changes_every_run(folder, harness):
    settings = ("--set", "optimizer.lr=0.02", "--set", "steps=3")
    code, _, _ = harness("run", "tiny", "--no-report", *settings)
    assert code == 0
    runs = pd.read_parquet(folder / "results" / "tiny" / "runs.parquet")
    assert set(runs["optimizer.lr"]) == {0.02} and set(runs["steps"]) == {3}
    assert set(runs["grid.optimizer.lr"]) == {0.02} and "grid.tokens" not in runs


def test_help_and_large_plans_are_quick_because_they_import_little(folder):
    """Speed itself is in the benchmarks; what makes it possible is a fact."""
    wide = TINY.replace("[8, 16]", "[8 * k for k in range(1, 101)]")
    wide = wide.replace("[1e3, 2e3, 4e3]", "[1e3 * k for k in range(1, 101)]")
    (folder / "experiments" / "wide.py").write_text(wide)
    code = (
        "import sys; from harness.cli import main\n"
        "sys.argv = ['harness', 'plan', 'wide']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('jax', 'pandas', 'flax') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("10000 runs, 0 finished, 100 compiled programs")
    assert done.stdout.endswith("[]\n")


def test_help_lists_every_command_and_loads_none():
    code = (
        "import sys; from harness.cli import main\n"
        "sys.argv = ['harness', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = ('jax', 'numpy', 'pandas', 'pyarrow', 'rich.live')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    listing = done.stdout.splitlines()
    assert listing[-1] == "[]"
    shown = {line.split()[0] for line in listing if line.startswith("  ")}
    assert {name for name, (_, line) in COMMANDS.items() if line} <= shown
    assert "probe" not in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_needs_no_jax(name):
    code = (
        "import sys; from harness.cli import main\n"
        f"sys.argv = ['harness', {name!r}, '--help']\n"
        "try: main()\nexcept SystemExit as stop: print(stop.code)\n"
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert f"Usage: harness {name}" in done.stdout
    assert done.stdout.endswith("0\nFalse\n"), done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_they_say_of_themselves(name):
    command = load_command(name)
    _, line = COMMANDS[name]
    assert command.hidden == (not line)
    assert not line or " ".join(command.help.split()) == line


def test_the_version_is_that_of_the_package(harness):
    assert harness("--version")[1] == f"{version('scaling-harness')}\n"


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_population_that_is_none_is_refused(folder, harness, text):
    code, _, err = harness("plan", "tiny", "--population", text)
    assert code == 2 and "give auto or a number" in err and err.count("\n") == 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Inner:
    most: int | None = dataclasses.field(default=None, metadata={"help": "Most."})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Outer:
    wait_s: float = dataclasses.field(default=1.5, metadata={"help": "Seconds."})
    quick: bool = dataclasses.field(default=False, metadata={"help": "Quick."})
    hidden: int = 3
    inner: _Inner = dataclasses.field(default_factory=_Inner)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], _Outer()),
        (["--wait", "2", "--quick"], _Outer(wait_s=2.0, quick=True)),
        (["--most", "4"], _Outer(inner=_Inner(most=4))),
        (["--most", "auto"], _Outer()),
    ],
)
def test_a_field_with_a_help_is_an_option(args, expected):
    app, seen = typer.Typer(), []

    @app.command()
    @with_options
    def command(name: str, options: _Outer, last: int = 0) -> None:
        seen.append((name, options, last))

    done = CliRunner().invoke(app, ["x", *args, "--last", "7"])
    assert done.exit_code == 0, done.output
    assert seen == [("x", expected, 7)]
    assert "--hidden" not in CliRunner().invoke(app, ["--help"]).output


def test_environment_is_left_alone(folder, harness):
    before = dict(os.environ)
    harness("plan", "tiny")
    assert dict(os.environ) == before
