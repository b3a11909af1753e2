"""Made-up measurements with known constants."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.tables.table import Table, table_from_frame

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}


def chinchilla_loss(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Hoffmann et al. 2022, eq. 10, with `TRUTH`."""
    t = TRUTH
    return np.asarray(t["E"] + t["A"] * n ** -t["alpha"] + t["B"] * d ** -t["beta"])


def grid(sizes: int = 8, budgets: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A full grid of sizes (1e7 … 1e10) by tokens (1e9 … 3e11), flattened."""
    n, d = np.meshgrid(np.geomspace(1e7, 1e10, sizes), np.geomspace(1e9, 3e11, budgets))
    return n.ravel(), d.ravel()


def frame(noise: float = 0.0, seed: int = 0, **size: int) -> pd.DataFrame:
    """Columns n, d, c = 6nd and loss with log-normal noise."""
    n, d = grid(**size)
    rng = np.random.default_rng(seed)
    loss = chinchilla_loss(n, d) * np.exp(noise * rng.standard_normal(len(n)))
    return pd.DataFrame({"n": n, "d": d, "c": 6 * n * d, "loss": loss})


def table(noise: float = 0.0, seed: int = 0, **size: int) -> Table:
    """The same as a table."""
    return table_from_frame(
        frame(noise, seed, **size), n="n", d="d", c="c", loss="loss"
    )
