"""Which shapes NVIDIA's kernels take.

cuDNN's fused attention (flash attention, Dao et al. 2022) never writes the T × T scores
to memory, which is what bounds the plain form; `make bench-accelerator` measures what a
training step reaches.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from harness.families.layers.plain import are_plain

LARGEST_HEAD = 128
"""Greatest head size that the kernel takes on every device that has it."""
FIRST_CAPABILITY = 8.0
"""Least compute capability of a device that has the kernel (Ampere)."""


def has_fused_attention(q_BTHK: jax.Array) -> bool:
    """Whether cuDNN's attention takes queries of this shape and type on this device."""
    T, K = q_BTHK.shape[1], q_BTHK.shape[3]
    return (
        q_BTHK.dtype in (jnp.bfloat16, jnp.float16)
        and T % 2 == 0
        and K % 8 == 0
        and K <= LARGEST_HEAD
        and not are_plain()
        and _is_nvidia()
    )


def _is_nvidia() -> bool:
    if jax.default_backend() != "gpu":
        return False
    capability = getattr(jax.devices()[0], "compute_capability", "")
    try:
        return float(capability) >= FIRST_CAPABILITY
    # Other makers' devices name theirs otherwise, such as "gfx942".
    except ValueError:
        return False
