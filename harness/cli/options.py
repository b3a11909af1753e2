"""Options that several commands share, each defined once.

`with_options` gives a command the options of the objects that say how to train and how
to work; the others are types of arguments.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.errors import AnalysisError
from harness.errors import SpecError

Column = Annotated[
    str | None, typer.Option(help="Column, or expression over columns, of this role.")
]
TableFile = Annotated[
    Path, typer.Argument(help="Results folder, or CSV, JSONL or parquet file.")
]
Where = Annotated[
    str | None, typer.Option(help="Keep these rows, e.g. 'loss < 3.5 and n > 1e6'.")
]
Duplicates = Annotated[
    Literal["error", "keep", "drop"],
    typer.Option(help="What to do with equal rows: error, keep or drop."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[
    str, typer.Argument(metavar="DIR", help="A results folder, or s3://bucket/prefix.")
]
ExperimentName = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="A file, or a name in experiments/.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a field of every run: path=value."),
]
Cores = Annotated[str | None, typer.Option(help="CPU cores to use, such as 0,1.")]
OptionsJson = Annotated[str | None, typer.Option("--options", hidden=True)]

Value = bool | int | float | str
"""The value of an option on the command line."""


def command_group() -> typer.Typer:
    """A new holder of a module's commands."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its dataclass arguments given as an option for each field.

    Fields of dataclasses inside are options too; a field without a `help` is none.
    """
    signature = inspect.signature(command, eval_str=True)
    objects = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if _is_object(parameter.annotation)
    }

    @functools.wraps(command)
    def called(**values: typing.Any) -> None:
        for name, kind in objects.items():
            flags = {flag for _, flag, _ in _flags(kind)}
            given = {flag: values.pop(flag) for flag in flags}
            values[name] = _object(kind, given)
        command(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in objects:
            parameters += [_option(*row) for row in _flags(objects[name])]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    # Both are read: the one for the order and defaults, the other for the types.
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def roles_of(pairs: list[str]) -> dict[str, str]:
    """ROLE=COLUMN pairs as a dict. Raises `AnalysisError` for anything else."""
    roles = {}
    for pair in pairs:
        role, equals, column = pair.partition("=")
        if not equals:
            raise AnalysisError(f"--column {pair!r} is not of the form ROLE=COLUMN")
        roles[role.strip()] = column.strip()
    return roles


Field = dataclasses.Field[object]


def _flags(kind: type) -> Iterator[tuple[Field, str, type]]:
    """Each field with an option, the option's name, and its type."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if _is_object(hints[field.name]):
            yield from _flags(hints[field.name])
        elif "help" in field.metadata:
            yield field, field.name.removesuffix("_s"), hints[field.name]


def _option(field: Field, flag: str, hint: type) -> inspect.Parameter:
    auto = _may_be_auto(hint)
    names = (f"--{flag}",) if hint is bool else ()
    option = typer.Option(*names, help=field.metadata["help"])
    return inspect.Parameter(
        flag,
        inspect.Parameter.KEYWORD_ONLY,
        default="auto" if auto else field.default,
        annotation=Annotated[str if auto else hint, option],
    )


def _object(kind: type, given: Mapping[str, Value]) -> object:
    values: dict[str, object] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, flag = hints[field.name], field.name.removesuffix("_s")
        if _is_object(hint):
            values[field.name] = _object(hint, given)
        elif flag in given:
            value = given[flag]
            values[field.name] = _number(flag, value) if _may_be_auto(hint) else value
    return kind(**values)


def _is_object(hint: type) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _may_be_auto(hint: type) -> bool:
    """Whether a field is a number or None, which the command line calls auto."""
    return isinstance(hint, types.UnionType)


def _number(flag: str, value: Value) -> int | None:
    text = str(value)
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--{flag} is {text!r}; give auto or a number from 1 up")
    return int(text)
