"""FLOPs of a function, counted from the matrix products of its jaxpr."""

import math

import jax


def matmul_flops(function, *args) -> int:
    """2·m·n·k over every `dot_general`, inner jaxprs included."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_general(equation)
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=_is_jaxpr):
                if _is_jaxpr(inner):
                    assert equation.primitive.name not in ("scan", "while"), (
                        "a loop body would be counted once, not once per trip"
                    )
                    total += _count(getattr(inner, "jaxpr", inner))
    return total


def _is_jaxpr(value) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def _dot_general(equation) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    k = math.prod(left[axis] for axis in contracted)
    return 2 * k * math.prod(equation.outvars[0].aval.shape)
