"""These tests run on the CPU and draw without a display."""

from __future__ import annotations

import os

import matplotlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
matplotlib.use("Agg")
