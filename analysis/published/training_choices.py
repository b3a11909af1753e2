"""Batch size, routing, fine-tuning and mixtures: laws with columns of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.fitting.fit import fit_law
from analysis.fitting.options import FitOptions, Objective
from analysis.published.base import Outcome, at_most, equal, reproduction, shipped
from analysis.tables.table import table_from_frame

SQUARES = FitOptions(objective=Objective(loss="squares"))
OVERHEAD, FIRST_BATCH = 1.2, 256
"""A batch is critical where its steps are 20 % more than linear scaling from 256."""
CRITICAL = {"85M": 745.32, "151M": 955.16, "302M": 1393.73, "604M": 1888.52}
CRITICAL |= {"1.2B": 2533.41}
"""Size -> critical batch, sequences of 512 tokens (the notebook's fits)."""
ROUTERS = {
    "S-Base": (-0.0830, 0.00992, 1.1136),
    "RL-R": (-0.0827, 0.01123, 1.1070),
    "Hash": (-0.0874, 0.01264, 1.1595),
}
"""Router -> a, c and d of the law; E_max is hardly identified."""


@reproduction(
    "zhang2024",
    "Zhang et al. 2024 (2410.21676), critical batch of five sizes on C4",
    "Steps to a loss at nine batches, ln steps = ln(a + b/B) by least squares; the "
    "batch whose steps are 1.2 times linear scaling from 256, against size.",
)
def critical_batch() -> Outcome:
    """The five critical batches, and the law that joins them."""
    frame = pd.read_csv(shipped("critical-batch/steps_to_target.csv.gz"))
    checks, batches = [], {}
    for size, rows in frame.groupby("size", sort=False):
        table = table_from_frame(rows, batch="batch_sequences_of_512", loss="steps")
        p = fit_law(table, "steps_to_target", SQUARES).constants
        # a + b/B = 1.2 (a + b/256) 256/B, solved for B.
        linear = OVERHEAD * (FIRST_BATCH * p["a"] + p["b"])
        found = (linear - p["b"]) / p["a"]
        batches[rows["params_millions"].iloc[0]] = found
        expected = CRITICAL[str(size)]
        checks.append(equal(f"critical batch of {size}", expected, found, 1e-5))
    joined = pd.DataFrame({"x": batches.keys(), "y": batches.values()}, dtype=float)
    law = fit_law(table_from_frame(joined, x="x", loss="y"), "growing", SQUARES)
    checks += [
        equal("B* = k M^c: k, M in millions", 93.1968, law.constants["b"], 1e-5),
        equal("B* = k M^c: c", 0.46828, law.constants["c"], 1e-5),
    ]
    return Outcome(checks=tuple(checks))


@reproduction(
    "clark2022",
    "Clark et al. 2022 (2202.01169), routed language models of three routers",
    "Validation losses of the last step, dense models and one router with one expert "
    "per token in every other block; least squares of log10 L.",
)
def routing() -> Outcome:
    """a, c and d for each router; E_max is weakly identified and only told."""
    frame = pd.read_csv(shipped("routing/last_steps.csv.gz"))
    frame = frame[
        (frame["routing_frequency"] == 0.5) & (frame["k"] == 1) & (frame["seed"] == 42)
    ]
    checks, told = [], []
    for router, expected in ROUTERS.items():
        rows = frame[frame["router_type"].isin(["Dense", router])]
        table = table_from_frame(
            rows,
            n="dense_parameter_count",
            experts="num_experts",
            loss="loss_validation",
        )
        fit = fit_law(table, "routed", SQUARES)
        for name, value in zip("acd", expected, strict=True):
            found = fit.constants[name]
            checks.append(equal(f"{router}: {name}", value, found, 1e-3))
        told.append(f"{router} {fit.derived['E_max']:.0f}")
    note = f"E_max, which the rows hardly determine: {', '.join(told)}."
    return Outcome(checks=tuple(checks), notes=(note,))


@reproduction(
    "lin2024",
    "Lin et al. 2024 (2402.02314), fine-tuning of 30 models on two tasks",
    "The rectified law on the losses of each model at 14 numbers of examples, least "
    "squares of ln L; root mean square error against that of the authors' fit.",
)
def fine_tuning() -> Outcome:
    """No model is fitted worse than by its authors."""
    reference = pd.read_csv(shipped("finetuning/rmsd.csv.gz"))
    reference = reference.set_index(["dataset", "model"])["our_rmsd_under_log"]
    checks = []
    for task in ("flan", "gigaword"):
        frame = pd.read_csv(shipped(f"finetuning/{task}.csv.gz"))
        examples = [c for c in frame.columns if c.isdigit() and int(c) > 0]
        worst, first = 0.0, None
        for _, row in frame.iterrows():
            curve = pd.DataFrame(
                {
                    "d": [float(c) for c in examples],
                    "loss": row[examples].to_numpy(float),
                }
            )
            fit = fit_law(
                table_from_frame(curve, d="d", loss="loss"), "fine_tuned", SQUARES
            )
            theirs = reference[task.upper(), row["config name"]]
            worst = max(worst, fit.diagnostics.rms_residual / theirs)
            first = first or fit
        checks.append(equal(f"{task}: models", 30, len(frame), 0.0))
        checks.append(at_most(f"{task}: greatest error over theirs", 1.0, worst))
        if task == "flan" and first is not None:
            beta = first.constants["beta"]
            checks.append(equal("flan, LaMini-124M: beta", 0.455, beta, 2e-3))
    return Outcome(checks=tuple(checks))


@reproduction(
    "liu2024",
    "Liu et al. 2024 (2407.01492), RegMix on 512 proxies of 1M parameters",
    "A linear regression of the Pile-CC loss on 17 domain weights, ranked on 256 other "
    "proxies.",
)
def regmix() -> Outcome:
    """Spearman's correlation of predicted and true losses, in percent."""
    target = "metric/the_pile_pile_cc_val_loss"
    train, test = (
        pd.read_csv(shipped(f"regmix/{part}_pile_cc.csv.gz"))
        for part in ("train", "test")
    )
    weights = [c for c in train.columns if c.startswith("train_the_pile_")]
    design = np.column_stack([np.ones(len(train)), train[weights]])
    solution, *_ = np.linalg.lstsq(design, train[target].to_numpy(), rcond=None)
    predicted = np.column_stack([np.ones(len(test)), test[weights]]) @ solution
    ranks = pd.DataFrame({"predicted": predicted, "true": test[target]}).rank()
    rho = 100 * float(np.corrcoef(ranks["predicted"], ranks["true"])[0, 1])
    return Outcome(
        checks=(
            equal("proxies to fit", 512, len(train), 0.0),
            equal("Spearman's correlation (%)", 90.2, rho, 1e-3),
        )
    )
