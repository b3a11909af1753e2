"""Functions of numbers, written with jax.numpy, as functions of numpy's arrays.

A law is a formula: the same for every row. Traced for single numbers, it is a list of
elementwise operations, and numpy carries them out on arrays of any shapes that fit
together, without a compiler. Derivatives are those of JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from scipy import special

from analysis.laws.arrays import FloatArray, Predict

Operation = Callable[..., Any]
"""An operation on arrays, with its parameters."""


def _power(x: FloatArray, *, y: int) -> FloatArray:
    return np.power(x, y)


def _select(which: np.ndarray, *cases: FloatArray) -> FloatArray:
    if len(cases) == 2:
        return np.where(which, cases[1], cases[0])
    return np.choose(which, cases)


def _convert(x: FloatArray, *, new_dtype: Any, **_: object) -> FloatArray:
    return np.asarray(x).astype(new_dtype)


def _unchanged(x: FloatArray, **_: object) -> FloatArray:
    return x


OPERATIONS: dict[str, Operation] = {
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "integer_pow": _power,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x, **_: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "exp": lambda x, **_: np.exp(x),
    "exp2": lambda x, **_: np.exp2(x),
    "expm1": lambda x, **_: np.expm1(x),
    "log": lambda x, **_: np.log(x),
    "log1p": lambda x, **_: np.log1p(x),
    "tanh": lambda x, **_: np.tanh(x),
    "sin": lambda x, **_: np.sin(x),
    "cos": lambda x, **_: np.cos(x),
    "logistic": lambda x, **_: special.expit(x),
    "erf": special.erf,
    "floor": np.floor,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "is_finite": np.isfinite,
    "select_n": _select,
    "convert_element_type": _convert,
    "stop_gradient": _unchanged,
    "copy": _unchanged,
    "broadcast_in_dim": _unchanged,
    "reduce_precision": _unchanged,
}
"""The operations of JAX that work on each number by itself, and those that make an
array of one: shapes are left to numpy."""
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
}
"""Operations that call others, and the parameter that holds them."""


class Unsupported(Exception):  # noqa: N818 - the compiler can do it: no error
    """A function that is not made of elementwise operations alone."""


def interpreted(function: Callable[..., Any], inputs: int) -> Callable[..., list[Any]]:
    """`function` of so many numbers as a function of numpy arrays; a list comes back.

    Raises `Unsupported` if it uses an operation that is not known to be elementwise.
    """
    with jax.enable_x64(True):
        zeros = [jax.ShapeDtypeStruct((), jnp.float64)] * inputs
        try:
            traced = jax.make_jaxpr(function)(*zeros)
        except Exception as error:  # what does not work on single numbers is no formula
            raise Unsupported(str(error)) from None
    _check(traced)
    return lambda *arrays: _run(traced, arrays)


def _check(traced: ClosedJaxpr) -> None:
    for equation in traced.jaxpr.eqns:
        name = equation.primitive.name
        if name in CALLS or _is_repetition(equation):
            _check(_inner(equation))
        elif name not in OPERATIONS:
            raise Unsupported(name)
        elif any(v.aval.shape for v in equation.outvars):
            raise Unsupported(f"{name} makes an array of a number")


def _is_repetition(equation: Any) -> bool:
    """Whether an operation is a loop of known length that only carries numbers on."""
    if equation.primitive.name != "scan":
        return False
    carried = equation.params["num_consts"] + equation.params["num_carry"]
    return bool(len(equation.invars) == carried)


def _repeat(equation: Any, given: list[Any]) -> list[Any]:
    count = equation.params["num_consts"]
    constant, carried = given[:count], given[count:]
    for _ in range(equation.params["length"]):
        carried = _run(_inner(equation), [*constant, *carried])
    return carried


def _inner(equation: Any) -> ClosedJaxpr:
    name = "jaxpr" if _is_repetition(equation) else CALLS[equation.primitive.name]
    inner = equation.params[name]
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


def _run(traced: ClosedJaxpr, arrays: Sequence[Any]) -> list[Any]:
    jaxpr = traced.jaxpr
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    known |= dict(zip(jaxpr.invars, arrays, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, map(value, equation.invars)
        if name == "scan":
            results = _repeat(equation, list(given))
        elif name in CALLS:
            results = _run(_inner(equation), list(given))
        elif isinstance(OPERATIONS[name], np.ufunc):
            results = [OPERATIONS[name](*given)]
        else:
            results = [OPERATIONS[name](*given, **equation.params)]
        known |= dict(zip(equation.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


@lru_cache(maxsize=256)
def losses_of(
    predict: Predict, constants: tuple[str, ...], columns: tuple[str, ...]
) -> Callable[..., FloatArray] | None:
    """The formula of a law: `(constants…, columns…) -> losses` in numpy.

    None where it is no formula of single numbers.
    """
    try:
        run = interpreted(
            _of_numbers(predict, constants, columns), len(constants) + len(columns)
        )
    except Unsupported:
        return None
    return lambda *arrays: run(*arrays)[0]


@lru_cache(maxsize=256)
def slopes_of(
    predict: Predict, constants: tuple[str, ...], columns: tuple[str, ...]
) -> Callable[..., list[FloatArray]] | None:
    """As `losses_of`, followed by the derivatives by each constant."""
    of_numbers = _of_numbers(predict, constants, columns)
    both = jax.value_and_grad(of_numbers, argnums=tuple(range(len(constants))))

    def flat(*numbers: Any) -> tuple[Any, ...]:
        value, slopes = both(*numbers)
        return (value, *slopes)

    try:
        return interpreted(flat, len(constants) + len(columns))
    except Unsupported:
        return None


def _of_numbers(
    predict: Predict, constants: tuple[str, ...], columns: tuple[str, ...]
) -> Callable[..., Any]:
    def of_numbers(*numbers: Any) -> Any:
        p = dict(zip(constants, numbers[: len(constants)], strict=True))
        return predict(p, dict(zip(columns, numbers[len(constants) :], strict=True)))

    return of_numbers
