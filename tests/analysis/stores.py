"""A made-up results store whose runs follow a known law."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

LAW = {"E": 0.9, "A": 20.0, "B": 120.0, "alpha": 0.32, "beta": 0.38}
DOC = "Does <b>a</b> toy law come back?\n\nCost: none. Promised: alpha near 0.32."


def loss_of(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Loss (nats) of `LAW`."""
    a, b = LAW["A"] * n ** -LAW["alpha"], LAW["B"] * d ** -LAW["beta"]
    return np.asarray(LAW["E"] + a + b)


def runs_frame(
    budgets: int = 6, sizes: int = 6, noise: float = 0.004, seed: int = 0
) -> pd.DataFrame:
    """One row per run of an isoFLOP sweep, the last one diverged."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, c in enumerate(np.geomspace(1e12, 3e14, budgets)):
        best = 0.12 * (c / 6) ** 0.5
        for j, n in enumerate(best * np.geomspace(0.2, 5, sizes)):
            rows.append(_run(i, j, c, n, noise, rng))
    rows[-1] |= {"status": "diverged", "loss": np.nan, "best_loss": np.nan}
    return pd.DataFrame(rows)


def _run(
    i: int, j: int, c: float, n: float, noise: float, rng: np.random.Generator
) -> dict:
    d = c / (6 * n) * (0.9 + 0.02 * j)
    loss = float(loss_of(n, d) * np.exp(noise * rng.standard_normal()))
    width = 8 * (j + 2)
    return {
        "run_id": f"{i:08x}{j:08x}",
        "sweep": "toy",
        "family": "transformer",
        "status": "done",
        "model.width": width,
        "model.depth": j + 1,
        "optimizer.lr": 3e-3,
        "batch": 16,
        "steps": int(d // 2048) + 1,
        "tokens": int(d),
        "n_embed": 256 * width,
        "n_head": 256 * width,
        "n_body": int(n) - int(0.2 * n),
        "n_matmul": int(n),
        "n_total": int(n) + 256 * width,
        "n_nonembed": int(n) - int(0.2 * n),
        "flops_train": c,
        "flops_6nd_matmul": 6 * n * d,
        "loss": loss,
        "loss_se": 0.004,
        "best_loss": loss,
        "bits_per_byte": loss / np.log(2),
        "annealed": True,
        "grid.compute": c,
        "grid.size": f"w{width}",
        "seconds": 3.2,
    }


def metrics_frame(run: pd.Series, points: int = 30) -> pd.DataFrame:
    """Long rows of one run: training and evaluation loss."""
    share = np.geomspace(0.02, 1, points)
    tokens = (share * run["tokens"]).astype(int)
    loss = loss_of(run["n_matmul"], np.maximum(tokens, 1)) * 1.02
    frames = []
    for split, metric, value in (
        ("train", "loss", loss * 1.01),
        ("eval", "loss", loss),
        ("eval", "loss_se", np.full(points, 0.004)),
    ):
        frames.append(
            pd.DataFrame(
                {
                    "run_id": run["run_id"],
                    "step": tokens // 2048,
                    "tokens": tokens,
                    "flops": share * run["flops_train"],
                    "wall_s": share * run["seconds"],
                    "split": split,
                    "metric": metric,
                    "value": value,
                    "annealed": share == 1,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def write_store(folder: Path, **size: float) -> Path:
    """Write the tables and the question of a toy sweep; returns the folder."""
    runs = runs_frame(**size)
    (folder / "metrics").mkdir(parents=True)
    (folder / "_store.json").write_text('{"format": 2}')
    (folder / "sweep.json").write_text(json.dumps({"doc": DOC}))
    runs.to_parquet(folder / "runs.parquet")
    for _, run in runs.iterrows():
        metrics_frame(run).to_parquet(folder / "metrics" / f"{run['run_id']}.parquet")
    return folder
