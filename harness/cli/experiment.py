"""The search for an experiment, a Python file with a `SWEEP`, and for its results."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from harness.errors import SpecError, UnknownTagError
from harness.store import Store, open_store
from harness.store.arrays import bring_arrays
from harness.store.read import ID
from harness.study import prepare, sources
from harness.sweeps.plan import Plan, plan, plan_of_record
from harness.sweeps.sweep import Scalar, Sweep, product

FOLDER = Path("experiments")
SHIPPED = Path(__file__).resolve().parents[2] / "experiments"
"""The experiments of a clone that this package is run from; no wheel holds them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A loaded experiment file."""

    name: str
    doc: str
    path: Path
    sweep: Sweep

    def plan(self) -> Plan:
        """The plan of all its runs. Raises what `plan` and `check_parts` raise."""
        planned = plan(self.sweep.points, self.sweep.keep_weights)
        prepare.check_parts(planned)
        return planned

    def place(self, out: str | None) -> str:
        """The path or address of its results: as given, else a folder of its name."""
        return str(Path("results") / self.name) if out is None else out


def load(name: str, overrides: list[str]) -> Experiment:
    """The experiment called `name` (a path, or a file's name in experiments/).

    A file in a folder there may be named with it or without: classics/mnist_mlp.

    `overrides` are `path=value` settings applied to every run. Raises `SpecError`.
    """
    path = _find(name)
    sweep, doc = _sweep_of(path)
    if overrides:
        points = product(sweep.points, dict(map(_setting, overrides)))
        sweep = dataclasses.replace(sweep, points=points)
    return Experiment(name=path.stem, doc=doc, path=path, sweep=sweep)


def open_sweep(
    folder: str,
    sweep_id: str | None,
    experiment: str | None,
    modules: Sequence[str] = (),
) -> tuple[Store, Plan]:
    """The store in a folder, and the plan of one of its sweeps.

    Args:
        folder: A path or address.
        sweep_id: The sweep; the one run last if None.
        experiment: A file to load first, for what it defines that runs use.
        modules: Modules to import first, for the same.
    """
    store = open_store(folder)
    with sources.loading():
        if experiment:
            _execute(_find(experiment))
        for module in modules:
            _import(module)
    if sweep_id is not None and not ID.fullmatch(sweep_id):
        raise SpecError(f"--sweep {sweep_id!r} is not a sweep id")
    sweeps = store.sweeps() if sweep_id is None else [store.sweep(sweep_id)]
    if not sweeps:
        raise SpecError(f"{store.uri} has no sweep yet; `harness run` writes one")
    try:
        planned = plan_of_record(sweeps[-1])
        bring_arrays(store, [run.run for run in planned.runs])
        return store, planned
    except UnknownTagError as error:
        raise SpecError(
            f"this sweep uses the {error.kind} {error.name!r}, which the experiment's "
            f"file {sweeps[-1]['name']}.py defines; give --experiment FILE"
        ) from None


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise SpecError(
            f"module {module}, which defines parts of this sweep, cannot be imported "
            f"here: {error}"
        ) from None


def _find(name: str) -> Path:
    for path in (Path(name), FOLDER / f"{name}.py", *_deeper(name)):
        if path.suffix == ".py" and path.is_file():
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", path.stem):
                raise SpecError(f"{path.name}: use letters, digits, _ and - in names")
            return path
    raise SpecError(f"no experiment and no Python file {name!r}{_remedy(name)}")


def _remedy(name: str) -> str:
    """The nearest name, and those there are; or where to find some."""
    if names := _names(FOLDER):
        close = _nearest(name, names)
        question = f" did you mean {close}?" if close else ""
        return f";{question} experiments/ has {', '.join(names)}"
    if shipped := _names(SHIPPED):
        path = SHIPPED / f"{_nearest(name, shipped) or shipped[0]}.py"
        return (
            f": there is no folder experiments/ here; give a file's path, such as "
            f"{path} ({SHIPPED} has {', '.join(shipped)})"
        )
    return (
        ": there is no folder experiments/ here; give a file's path, or run this "
        "inside a clone of the project, whose experiments/ are not installed with it"
    )


def _nearest(name: str, known: list[str]) -> str | None:
    by_stem = {Path(other).name: other for other in known}
    close = difflib.get_close_matches(Path(name).stem, by_stem, n=1)
    return by_stem[close[0]] if close else None


def _names(folder: Path) -> list[str]:
    files = [p.relative_to(folder) for p in folder.rglob("*.py")]
    return sorted(str(p.with_suffix("")) for p in files if p.stem[0] != "_")


def _deeper(name: str) -> list[Path]:
    """Files of that name in folders of experiments/. Raises if there are several."""
    files = sorted(FOLDER.glob(f"*/{name}.py")) if "/" not in name else []
    if len(files) > 1:
        raise SpecError(f"{name!r} is {' and '.join(map(str, files))}; name one")
    return files


def _sweep_of(path: Path) -> tuple[Sweep, str]:
    """The sweep that a file defines, and its docstring."""
    module = _execute(path)
    sweep = getattr(module, "SWEEP", None)
    if sweep is None:
        raise SpecError(f"{path} is not an experiment: it does not define SWEEP")
    if not isinstance(sweep, Sweep):
        kind = type(sweep).__name__
        raise SpecError(f"{path}: SWEEP is a {kind}; wrap the points in Sweep(…)")
    return sweep, (module.__doc__ or "").strip()


def _execute(path: Path) -> ModuleType:
    """The module that a file is. Raises `SpecError`, one line, for what it raises."""
    module_name = f"{sources.EXPERIMENTS}{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered first: a family defined in the file is imported from here by name.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    # Whatever the file raises is the user's to mend: say where, in one line.
    except (Exception, SystemExit) as error:
        raise SpecError(f"{_where(path, error)}: {_what(error)}") from error
    return module


def _where(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _what(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SpecError) else f"{type(error).__name__}: {text}"


def _setting(text: str) -> tuple[str, list[Scalar]]:
    """The setting `path=value` as an axis of one value."""
    path, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"--set {text!r} is not path=value, such as optimizer.lr=0.01")
    try:
        return path.strip(), [json.loads(value)]
    except ValueError:
        return path.strip(), [value]
