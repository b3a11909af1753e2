"""StableHLO: a model as a program that any XLA runs, without this package.

`jax.export.deserialize(bytes).call(inputs)` is all that it takes to use one. jax keeps
its format readable for six months at least, in later versions.
"""

from __future__ import annotations

import jax
from jax import export

from harness.export.plain import Exported, for_any_batch, function_of
from harness.export.trained import Trained

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""The program is lowered for each of them."""


def stablehlo(trained: Trained) -> Exported[bytes]:
    """The serialised program, its weights inside: inputs (B, …) to float32 outputs."""
    function = function_of(trained)

    def convert(inputs: jax.ShapeDtypeStruct) -> bytes:
        # Traced anew: jit remembers a function by what it is, not by its context.
        exported = export.export(jax.jit(lambda x: function(x)), platforms=PLATFORMS)
        return bytes(exported(inputs).serialize())

    return for_any_batch(trained, convert)
