"""The changes of CONTRIBUTING.md touch the files that it names, and no others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent

ADDED = {
    # An optimiser: its class and its transformation.
    "harness/optimizers/spec.py": """

@spec
class Sign(Optimizer):
    '''The sign of each gradient.'''

    name = "sign"
    implementation = "harness.optimizers.update:sign"
""",
    "harness/optimizers/update.py": """

def sign(h: Any) -> optax.GradientTransformation:
    signs = optax.stateless(lambda g, _: jax.tree.map(jnp.sign, g))
    return optax.chain(signs, optax.scale_by_learning_rate(h.lr))
""",
    # A schedule: its class, and its shares.
    "harness/schedules/spec.py": """

@spec
class Halved(Schedule):
    '''A straight line to zero over the last half of the steps.'''

    name = "halved"
    implementation = "harness.schedules.rates:halved"

    def decay_start(self, steps: int) -> int:
        return steps // 2
""",
    "harness/schedules/rates.py": """

def halved(step: Floats, steps: int, schedule: Schedule) -> Floats:
    return 1 - progress(step, steps, schedule)
""",
    # A named data set: one entry.
    "harness/data/catalog.py": """
CATALOG["toy"] = NamedImages(
    summary="nothing", files=(), shape=(4, 4, 1, 2), train=8, test=8
)
""",
    # An engine: a module, and the line below.
    "harness/engines/noted.py": """
from harness.engines.local import LocalEngine


class NotedEngine(LocalEngine):
    '''Workers on this machine, whose command is written down.'''

    def start(self, command, slots, logs):
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "command.txt").write_text("\\n".join(command))
        super().start(command, slots, logs)
""",
}
CHANGED = {
    "harness/engines/base.py": (
        'ENGINES = {"local"',
        'ENGINES = {"noted": "harness.engines.noted:NotedEngine", "local"',
    ),
    # A training flag: one field.
    "harness/sweeps/options.py": (
        "    remat: bool = ",
        "    nudge: int = dataclasses.field("
        'default=0, metadata={"help": "Nothing."})\n    remat: bool = ',
    ),
}
EXPERIMENT = '''"""Are the new parts used?"""

from harness import MLP, RunSpec, Sweep, TwoMoons, product
from harness.optimizers.spec import Sign
from harness.schedules.spec import Halved

BASE = RunSpec(
    model=MLP(width=4),
    data=TwoMoons(unique_examples=64, eval_examples=32),
    optimizer=Sign(lr=1e-2),
    schedule=Halved(),
    batch=16,
)
SWEEP = Sweep(product(BASE, {"steps": [8, 12]}))
'''


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the packages with the changes made, and how to call its command."""
    root = tmp_path_factory.mktemp("changed")
    for package in ("harness", "analysis"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / package, ignore=ignore)
    for name, text in ADDED.items():
        with (root / name).open("a") as file:
            file.write(text)
    for name, (before, after) in CHANGED.items():
        text = (root / name).read_text()
        assert text.count(before) == 1
        (root / name).write_text(text.replace(before, after))
    (root / "parts.py").write_text(EXPERIMENT)

    def harness(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
        )

    return root, harness


def test_an_optimiser_a_schedule_an_engine_and_a_flag_work_together(changed):
    root, harness = changed
    done = harness(
        *("run", "parts.py", "--engine", "noted", "--nudge", "3", "--no-report"),
        *("--workers", "1"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    runs = pd.read_parquet(root / "results" / "parts" / "runs.parquet")
    assert len(runs) == 2 and runs["annealed"].all()
    command = root / "results" / "parts" / "work" / "logs" / "command.txt"
    lines = command.read_text().split("\n")
    options = json.loads(lines[lines.index("--options") + 1])
    assert options["train"]["nudge"] == 3


def test_a_named_data_set_is_known_to_its_source_and_to_the_command(changed):
    root, harness = changed
    assert "toy" in harness("data", "list").stdout
    code = "from harness import Images; print(Images(data='toy').shape.size)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "(4, 4)", done.stderr


def test_contributing_names_these_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for name in [*ADDED, *CHANGED]:
        named = name if name != "harness/engines/noted.py" else "harness/engines/"
        assert f"`{named}`" in text
