"""FLOPs of a function, counted from the matrix products of its jaxpr."""

import math

import jax
from jax.interpreters.partial_eval import dce_jaxpr


def matmul_flops(function, *args) -> int:
    """2·m·n·k over every product and convolution, inner jaxprs included.

    The body of a scan counts once per trip; a convolution costs its whole kernel at
    every output pixel. Do not give it the gradient of a strided convolution: that is
    written with zeros between the pixels, which would be counted. What no result needs
    is not counted: the compiler removes it.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    needed, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _count(needed)


def _count(jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        assert name not in ("while", "cond"), "how often a branch runs is not known"
        if name == "dot_general":
            total += _dot_general(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        # A custom derivative is an outer function and a rule; the rule is not run.
        inner = [params["call_jaxpr"]] if name == "custom_vjp_call" else params.values()
        trips = params["length"] if name == "scan" else 1
        for value in inner:
            for found in jax.tree.leaves(value, is_leaf=_is_jaxpr):
                if _is_jaxpr(found):
                    total += trips * _count(getattr(found, "jaxpr", found))
    return total


def _is_jaxpr(value) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def _dot_general(equation) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    k = math.prod(left[axis] for axis in contracted)
    return 2 * k * math.prod(equation.outvars[0].aval.shape)


def _convolution(equation) -> int:
    kernel = equation.invars[1].aval.shape
    out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    per_pixel = math.prod(kernel) // out_features
    return 2 * per_pixel * math.prod(equation.outvars[0].aval.shape)
