"""Peak FLOP/s of devices, by the name that jax gives them; no device is needed."""

from __future__ import annotations

from harness.errors import SpecError

PEAK_FLOPS = {
    # Dense bfloat16 tensor-core rates from the vendors' data sheets, FLOP/s.
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200 480GB": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}
"""bfloat16 peak by `device_kind`. A device that is not here has no MFU."""


def peak_of(name: str) -> float:
    """The peak of the first device whose name holds this one, such as "h100".

    Raises:
        SpecError: there is none, with the names that are known.
    """
    for kind, peak in PEAK_FLOPS.items():
        if name.lower().replace(" ", "") in kind.lower().replace(" ", ""):
            return peak
    raise SpecError(
        f"the peak of {name!r} is not known; known are " + ", ".join(PEAK_FLOPS)
    )
