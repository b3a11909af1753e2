"""The restricted expressions over the columns of a table; no code is ever executed.

Column names with a dot (`model.width`) are written as they are; names with spaces go in
backticks: `` `Training FLOP` / (6 * `Model Size`) ``. Allowed: numbers,
`+ - * / % **`, comparisons, `and or not`, and log, log10, log2, exp, sqrt, abs; of
texts only whether they are equal, or in a list. Length and depth are limited.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError

Value: TypeAlias = Any
"""A part of an expression is a series, a number, text, a truth or a list of them."""

_BINARY: dict[type, Callable[[Value, Value], Value]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
    ast.Mod: lambda a, b: a % b,
}
_COMPARE: dict[type, Callable[[Value, Value], Value]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.In: lambda a, b: a.isin(b) if isinstance(a, pd.Series) else a in b,
    ast.NotIn: lambda a, b: ~a.isin(b) if isinstance(a, pd.Series) else a not in b,
}
_FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
_CONSTANTS = (bool, int, float, str)
LONGEST = 10_000
"""Most characters of an expression."""
DEEPEST = 200
"""Most operations inside each other; a sum of as many terms is as deep."""
_SHOWN = 80
"""Most characters of an expression that a message repeats."""
CLOSE = 0.85
"""The likeness from which on an expression is taken for a misspelt column."""
_BACKTICKED = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_STRING = re.compile(r"('[^']*'|\"[^\"]*\")")


def missing_column(name: str, frame: pd.DataFrame) -> AnalysisError:
    """The error for a column that the table does not have, with the nearest name."""
    columns = [str(c) for c in frame.columns]
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(columns)}"
    return AnalysisError(f"the table has no column {name!r}; {hint}")


def mentions(text: str, name: str) -> bool:
    """Whether an expression is, or may read, the column of this name."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", text) is not None


def _as_float(value: Value) -> Value:
    """The value with integers as float64, so that 6 * n * d cannot overflow."""
    if isinstance(value, pd.Series) and value.dtype.kind in "iu":
        return value.astype(np.float64)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


class _Evaluator:
    """One expression over one table, evaluated by a walk through its syntax tree."""

    def __init__(self, text: str, frame: pd.DataFrame) -> None:
        self.text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        self.source = text
        self.frame = frame
        self.quoted: dict[str, str] = {}

    def run(self) -> Value:
        """The value of the text.

        Raises:
            AnalysisError: it is no expression, or has no value.
        """
        tree = self._parsed()
        try:
            return self._visit(tree.body)
        except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            if isinstance(error, AnalysisError):
                raise
            raise AnalysisError(
                f"cannot compute the expression {self.text!r}: {error}"
            ) from None

    def _parsed(self) -> ast.Expression:
        if len(self.source) > LONGEST:
            raise AnalysisError(
                f"the expression {self.text!r} has {len(self.source):,} characters; "
                f"at most {LONGEST:,} are read"
            )
        source = _BACKTICKED.sub(self._hide, self.source).strip()
        source = self._with_names_hidden(source)
        try:
            tree = ast.parse(source, mode="eval")
        except (SyntaxError, ValueError) as error:
            raise AnalysisError(
                f"cannot read the expression {self.text!r}: {error.args[0]}"
            ) from None
        # What the parser says when its own stack is full.
        except (RecursionError, MemoryError):
            tree = None
        if tree is None or _depth_exceeds(tree, DEEPEST):
            raise AnalysisError(
                f"the expression {self.text!r} is nested more than {DEEPEST} "
                "operations deep"
            )
        return tree

    def _with_names_hidden(self, source: str) -> str:
        """The text with the columns' names taken as names, whatever is in them."""
        awkward = [
            str(name)
            for name in self.frame.columns
            if not _NAME.fullmatch(str(name)) and str(name) in source
        ]
        for name in sorted(awkward, key=len, reverse=True):
            pattern = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)")
            parts = _STRING.split(source)
            # Every other part is a text in quotes, and stays one.
            parts[::2] = [
                pattern.sub(lambda _, n=name: self._key(n), part) for part in parts[::2]
            ]
            source = "".join(parts)
        return source

    def _hide(self, match: re.Match[str]) -> str:
        return self._key(match.group(1))

    def _key(self, name: str) -> str:
        key = f"_quoted_{len(self.quoted)}"
        self.quoted[key] = name
        return key

    def _column(self, name: str) -> pd.Series:
        name = self.quoted.get(name, name)
        if name not in self.frame.columns:
            columns = [str(c) for c in self.frame.columns]
            whole = difflib.get_close_matches(self.source, columns, 1, CLOSE)
            raise missing_column(self.source if whole else name, self.frame)
        return self.frame[name]

    def _visit(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=value) if isinstance(value, _CONSTANTS):
                return value
            case ast.Name(id=name):
                return self._column(name)
            case ast.Attribute():
                return self._column(ast.unparse(node))
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._visit(i) for i in items]
            case ast.BinOp(op=op) if type(op) in _BINARY:
                sides = [self._number(x) for x in (node.left, node.right)]
                return _BINARY[type(op)](*sides)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._series(~self._truth(operand))
            case ast.BoolOp(op=op, values=values):
                truths = [self._truth(v) for v in values]
                combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return self._series(combine.reduce(truths))
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=f), args=[argument], keywords=[]) if (
                f in _FUNCTIONS
            ):
                return _FUNCTIONS[f](self._number(argument))
        raise AnalysisError(
            f"{_words(node)!r} is not allowed in {self.text!r}: use columns, "
            "numbers, + - * / **, comparisons, and, or, not, in, log, exp, sqrt, abs"
        )

    def _number(self, node: ast.expr) -> Value:
        """The value of a node that must be a number, or a column of them."""
        value = self._visit(node)
        if not _is_numeric(value):
            raise AnalysisError(
                f"{_words(node)!r} in {self.text!r} is not a number: of texts and "
                "lists only == and in are allowed"
            )
        return _as_float(value)

    def _truth(self, node: ast.expr) -> np.ndarray:
        """The value of a node that must be a condition."""
        value = self._visit(node)
        if getattr(getattr(value, "dtype", None), "kind", "") != "b":
            raise AnalysisError(f"{_words(node)!r} in {self.text!r} is not a condition")
        return np.asarray(value)

    def _series(self, values: np.ndarray) -> pd.Series:
        return pd.Series(values, index=self.frame.index)

    def _compare(self, node: ast.Compare) -> Value:
        """The truth of a chain of comparisons, such as 1 < n < 3."""
        result: Value = True
        left = self._visit(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            if type(op) not in _COMPARE:
                raise AnalysisError(f"'is' is not allowed in {self.text!r}: use ==")
            right = self._visit(comparator)
            self._check_comparison(op, left, right)
            result = _COMPARE[type(op)](left, right) & result
            left = right
        return result

    def _check_comparison(self, op: ast.cmpop, left: Value, right: Value) -> None:
        """Raises `AnalysisError` for an order of texts, and a search inside of one."""
        if isinstance(op, ast.In | ast.NotIn):
            allowed = isinstance(right, list) and not isinstance(left, list)
        elif isinstance(op, ast.Eq | ast.NotEq):
            allowed = not isinstance(left, list) and not isinstance(right, list)
        else:
            allowed = _is_numeric(left) and _is_numeric(right)
        if not allowed:
            raise AnalysisError(
                f"a comparison in {self.text!r} is none of numbers: of texts only == "
                "and `in [list]` are allowed"
            )


def _is_numeric(value: Value) -> bool:
    """Whether a value is a number or a truth, or a column of them."""
    if isinstance(value, pd.Series):
        if value.dtype.kind in "biufc":
            return True
        kind = pd.api.types.infer_dtype(value, skipna=True)
        return kind in (
            "integer",
            "floating",
            "mixed-integer-float",
            "boolean",
            "empty",
        )
    return isinstance(value, bool | int | float | np.number | np.bool_)


def _depth_exceeds(tree: ast.AST, most: int) -> bool:
    level: list[ast.AST] = [tree]
    # Contexts and operators hang below the operations themselves.
    for _ in range(most + 3):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _words(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def evaluate(text: str, frame: pd.DataFrame) -> pd.Series:
    """The value of an expression over the columns of a table, one per row.

    Args:
        text: the expression; a column's name is one, whatever is in it.
        frame: the rows.

    Raises:
        AnalysisError: a column is unknown, or the text is outside the grammar.
    """
    if text in frame.columns:
        return frame[text]
    with np.errstate(all="ignore"):  # what is not finite is named where it matters
        value = _Evaluator(text, frame).run()
    if isinstance(value, pd.Series):
        return value
    return pd.Series([value] * len(frame), index=frame.index)


def condition(text: str, frame: pd.DataFrame) -> np.ndarray:
    """The truth (rows,) of a condition over the columns of a table.

    Raises:
        AnalysisError: the text is no expression, or its value is not true or false.
    """
    value = evaluate(text, frame)
    if value.dtype != bool:
        raise AnalysisError(
            f"the filter {text[:_SHOWN]!r} is not a condition; write e.g. `n > 1e6`"
        )
    return np.asarray(value)
