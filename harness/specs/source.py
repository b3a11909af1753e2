"""Digests of the source of parts that are defined outside this package.

A digest covers a part's class, the code that it names, and all that these use of the
user's own: functions, classes and constants of the same package, or of files that no
package manager has installed. Of everything else only the name counts. Comments,
docstrings and formatting do not count, nor does the version of Python.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

from harness.errors import SpecError

PACKAGE = "harness"
ATTRIBUTES = ("implementation", "evaluation")
"""Attributes of a part's class that name code as "package.module:object"."""
READER = ("load", "resolve", "check_files")
"""Functions that a data source's reader may define."""
INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("purelib", "platlib", "stdlib", "platstdlib")
)


def code_digest(cls: type) -> str:
    """16 hex digits of sha256 over a part's source; "" for a part of this package.

    Raises `SpecError` if the source cannot be read, as of classes typed at a prompt.
    """
    return _digest(cls)


@functools.cache
def _digest(cls: type) -> str:
    if cls.__module__.partition(".")[0] == PACKAGE:
        return ""
    return _Closure(cls.__module__).digest(_roots(cls))


def _roots(cls: type) -> Iterator[object]:
    """The class, and the objects that its attributes name."""
    yield cls
    for attribute in ATTRIBUTES:
        module, _, name = getattr(cls, attribute, "").partition(":")
        if name:
            yield getattr(_imported(module), name, None)
    if reader := getattr(cls, "reader", ""):
        module_of_reader = _imported(reader)
        for name in READER:
            yield getattr(module_of_reader, name, None)


def _imported(module: str) -> object:
    # What is not there is reported where it is needed, with what names it.
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except ImportError:
        return None


class _Closure:
    """The user's own objects that some objects use, and theirs, and so on."""

    def __init__(self, module: str) -> None:
        self._module, self._package = module, module.partition(".")[0]
        self._texts: dict[str, str] = {}

    def digest(self, roots: Iterator[object]) -> str:
        for root in roots:
            if root is not None:
                self._add(root)
        lines = [f"{name} = {text}" for name, text in sorted(self._texts.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _add(self, value: object) -> str:
        """The name of a value in the digest; adds its source if it is the user's."""
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if not isinstance(value, type | types.FunctionType):
            return self._constant(value)
        # A script is another module when it is run than when it is loaded.
        own = value.__module__ == self._module
        name = f"{'' if own else value.__module__}.{value.__qualname__}"
        if name not in self._texts and self._is_own(value.__module__):
            self._texts[name] = ""
            tree = _tree(value)
            uses = sorted(self._uses(value, tree))
            self._texts[name] = "\n".join([_dump(tree), *uses])
        return name

    def _constant(self, value: object) -> str:
        """A constant by what it holds, another object by its type."""
        if isinstance(value, int | float | complex | str | bytes | None):
            return repr(value)
        if isinstance(value, tuple | list | set | frozenset):
            items = [self._add(item) for item in value]
            ordered = sorted(items) if isinstance(value, set | frozenset) else items
            return f"{type(value).__name__}({', '.join(ordered)})"
        if isinstance(value, dict):
            items = [f"{self._add(k)}: {self._add(v)}" for k, v in value.items()]
            return f"dict({', '.join(items)})"
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return f"partial({', '.join(map(self._add, parts))})"
        if hasattr(value, "tobytes") and hasattr(value, "shape"):
            content = hashlib.sha256(value.tobytes()).hexdigest()
            return f"array {value.shape} {content}"
        if dataclasses.is_dataclass(value):
            fields = [
                f"{f.name}={self._add(getattr(value, f.name))}"
                for f in dataclasses.fields(value)
            ]
            return f"{self._add(type(value))}({', '.join(fields)})"
        return f"object of {self._add(type(value))}"

    def _uses(self, value: object, tree: ast.AST) -> Iterator[str]:
        """The names that the source of a value loads, each with what it stands for."""
        scope = _scope(value)
        for chain in _chains(tree):
            if chain[0].startswith("__"):
                # The name of a module, which differs between scripts and imports.
                continue
            target: object = scope.get(chain[0], _MISSING)
            used = chain[:1]
            for attribute in chain[1:]:
                if not self._is_own_module(target):
                    break
                target = getattr(target, attribute, _MISSING)
                used = (*used, attribute)
            if target is not _MISSING and target is not value:
                yield f"{'.'.join(used)}: {self._add(target)}"

    def _is_own_module(self, value: object) -> bool:
        return isinstance(value, types.ModuleType) and self._is_own(value.__name__)

    def _is_own(self, module: str) -> bool:
        top = module.partition(".")[0]
        if top in (PACKAGE, "builtins"):
            return False
        if top == self._package:
            return True
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None:
            return False
        path = Path(file).resolve()
        return not any(path.is_relative_to(folder) for folder in INSTALLED)


_MISSING = object()


def _scope(value: object) -> dict[str, object]:
    """The names that a class or function can see besides its own."""
    if isinstance(value, types.FunctionType):
        return {**value.__globals__, **inspect.getclosurevars(value).nonlocals}
    return dict(vars(sys.modules[value.__module__]))


def _tree(value: type | types.FunctionType) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError) as error:
        raise SpecError(
            f"the source of {value.__qualname__} cannot be read, so nobody could tell "
            f"its runs from those of an edited one ({error}); define it in a file"
        ) from error


def _chains(tree: ast.AST) -> set[tuple[str, ...]]:
    """The names that are read in a tree, with the attributes taken of them."""
    chains = set()
    for node in ast.walk(tree):
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            chains.add((node.id, *reversed(attributes)))
    return chains


def _dump(node: object) -> str:
    """A tree as text: without positions, docstrings and what is empty."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {
        name: value
        for name, value in ast.iter_fields(node)
        if value is not None and value != [] and name not in ("ctx", "kind")
    }
    if isinstance(node, ast.Constant):
        return repr(node.value)
    body = fields.get("body")
    if isinstance(body, list) and isinstance(
        node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.Module
    ):
        fields["body"] = [line for line in body if not _is_text(line)]
    inner = ", ".join(f"{name}={_dump(value)}" for name, value in fields.items())
    return f"{type(node).__name__}({inner})"


def _is_text(line: ast.stmt) -> bool:
    """Whether a statement is a text that does nothing, such as a docstring."""
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )
