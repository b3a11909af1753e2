"""Finding and loading an experiment: a Python file that defines `SWEEP`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from harness.errors import SpecError
from harness.sweep import Sweep, product

FOLDER = Path("experiments")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A loaded experiment file."""

    name: str
    doc: str
    path: Path
    sweep: Sweep


def load(name: str, overrides: list[str]) -> Experiment:
    """The experiment called `name` (a path, or a file's name in experiments/).

    A file in a folder there may be named with it or without: classics/mnist_mlp.

    `overrides` are `path=value` settings applied to every run. Raises `SpecError`.
    """
    path = _find(name)
    sweep, doc = _execute(path)
    points = list(sweep.points)
    if overrides:
        points = product(points, dict(map(_setting, overrides)))
    return Experiment(name=path.stem, doc=doc, path=path, sweep=Sweep(points))


def _find(name: str) -> Path:
    for path in (Path(name), FOLDER / f"{name}.py", *_deeper(name)):
        if path.suffix == ".py" and path.is_file():
            if not re.fullmatch(r"[A-Za-z0-9][\w-]*", path.stem):
                raise SpecError(f"{path.name}: use letters, digits, _ and - in names")
            return path
    found = [p.relative_to(FOLDER) for p in FOLDER.rglob("*.py")]
    here = sorted(str(p.with_suffix("")) for p in found if p.stem[0] != "_")
    known = f"; experiments/ has {', '.join(here)}" if here else ""
    raise SpecError(f"no experiment {name!r}: it is not a Python file{known}")


def _deeper(name: str) -> list[Path]:
    """Files of that name in folders of experiments/. Raises if there are several."""
    found = sorted(FOLDER.glob(f"*/{name}.py")) if "/" not in name else []
    if len(found) > 1:
        raise SpecError(f"{name!r} is {' and '.join(map(str, found))}; name one")
    return found


def _execute(path: Path) -> tuple[Sweep, str]:
    module_name = f"experiments.{path.stem}"
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
    sweep = getattr(module, "SWEEP", None)
    if sweep is None:
        raise SpecError(f"{path} is not an experiment: it does not define SWEEP")
    if not isinstance(sweep, Sweep):
        kind = type(sweep).__name__
        raise SpecError(f"{path}: SWEEP is a {kind}; wrap the points in Sweep(…)")
    return sweep, (module.__doc__ or "").strip()


def _where(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).name == path.name]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _what(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SpecError) else f"{type(error).__name__}: {text}"


def _setting(text: str) -> tuple[str, list[Any]]:
    """`path=value` as an axis of one value."""
    path, equals, value = text.partition("=")
    if not equals:
        raise SpecError(f"--set {text!r} is not path=value, such as optim.lr=0.01")
    try:
        return path.strip(), [json.loads(value)]
    except ValueError:
        return path.strip(), [value]
