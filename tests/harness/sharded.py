"""Trains small runs on 8 simulated devices in several layouts; prints what comes out.

    python -m tests.harness.sharded

A process of its own, since the number of devices is fixed once jax has looked for any.
"""

import dataclasses
import json
import re
import sys

import jax
import numpy as np

from harness import (
    SGD,
    WSD,
    Adafactor,
    AdamW,
    AdEMAMix,
    Lion,
    Muon,
    ScheduleFreeAdamW,
    Transformer,
)
from harness.data.dataset import load
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import cohort_key
from harness.training import device, loop
from harness.training.batches import ProgramShape
from harness.training.program import compile_cohort
from harness.training.sharding import choose
from harness.training.snapshot import Snapshot
from tests.harness.keepers import Forgetful
from tests.harness.strategies import mlp_run, planned, text_run

DEVICES = 8
# Large enough for its matrices to be spread.
WIDE = text_run(model=Transformer(width=64, depth=1, heads=2), batch=16, steps=12)
EXPERTS = dataclasses.replace(
    WIDE, model=Transformer(width=32, depth=1, heads=2, experts=4, top_k=2)
)
LAYOUTS = {
    "one device": TrainOptions(),
    "batch": TrainOptions(devices=8, shard=False),
    "state": TrainOptions(devices=8, shard=True),
    "spread and accumulated": TrainOptions(devices=4, accumulate=2, shard=True),
    "rematerialised": TrainOptions(remat=True),
}


OPTIMIZERS = [
    SGD(lr=0.1, momentum=0.9, nesterov=True),
    Lion(lr=1e-3, weight_decay=0.1),
    AdEMAMix(lr=3e-3),
    ScheduleFreeAdamW(lr=3e-3),
    Adafactor(lr=3e-2, factored_from=16),
    Muon(lr=3e-3, weight_decay=0.1),
]
"""With AdamW, which the layouts above are trained with, all that ship."""

PROGRAMS = {}


class Memory(Forgetful):
    """Keeps the state of one chunk's end on the host, and may start from it."""

    def __init__(self, kept=None):
        self.kept = kept

    def newest(self, segment, until, like):
        """A copy of what was kept."""
        if self.kept is None:
            return None
        histories = [history.branch() for history in self.kept.histories]
        return dataclasses.replace(self.kept, histories=histories)

    def due(self):
        """Always."""
        return True

    def keep(self, progress, snapshot, trunk):
        """Copies the snapshot, like a checkpoint."""
        state = jax.tree.map(lambda leaf: np.array(leaf, copy=True), snapshot.state)
        histories = [history.branch() for history in snapshot.histories]
        if self.kept is None:
            self.kept = Snapshot(state=state, step=snapshot.step, histories=histories)


def trained(runs, options, keeper=None):
    """Losses of each run, and the program they were trained by."""
    trunks = [planned(run).cohorts[0].trunks[0] for run in runs]
    firsts = [trunk.runs[0].run for trunk in trunks]
    key = ProgramShape.of(firsts), cohort_key(firsts[0]), options
    if key not in PROGRAMS:
        dataset = load(firsts[0].data, 0)
        PROGRAMS[key] = compile_cohort(firsts, dataset, options)
    program = PROGRAMS[key]
    (finished,) = loop.train_trunks(trunks, program, keeper or Forgetful())
    histories = [result.history for result in finished.results]
    return [[*h.losses, h.evaluations[-1].loss] for h in histories], program


def parts_of(program, run):
    """Largest share of an array that one device holds, over the large arrays."""
    state = program.start([run])
    large = [leaf for leaf in jax.tree.leaves(state) if leaf.size >= 4096]
    return max(leaf.addressable_shards[0].data.size / leaf.size for leaf in large)


def exchanges(program):
    """Names of the operations between devices in the training program."""
    names = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    return sorted(set(re.findall(rf"\b({names})\(", program.train_chunk.as_text())))


def main():
    """Prints losses by sharding, and facts about the programs."""
    device.simulate(DEVICES)
    told = {"losses": {}, "devices": {}, "share": {}, "exchanges": {}, "memory": {}}
    for name, options in LAYOUTS.items():
        told["losses"][name], program = trained([WIDE], options)
        told["devices"][name] = program.sharding.devices
        told["share"][name] = parts_of(program, WIDE)
        told["exchanges"][name] = exchanges(program)
        told["memory"][name] = program.memory
    for optimizer in OPTIMIZERS:
        run = dataclasses.replace(WIDE, optimizer=optimizer, steps=20)
        for layout in ("one device", "state"):
            name = f"{optimizer.name}, {layout}"
            told["losses"][name], program = trained([run], LAYOUTS[layout])
            told["share"][name] = parts_of(program, run)
    for options in (TrainOptions(devices=6), TrainOptions(devices=3, accumulate=4)):
        told["devices"][f"{options.devices} wanted"] = choose(options, WIDE, 1).devices
    for name in ("one device", "rematerialised"):
        told["losses"][f"experts, {name}"], _ = trained([EXPERTS], LAYOUTS[name])
    for count, orders in ((8, 1), (6, 2)):
        rates = [
            mlp_run(
                optimizer=AdamW(lr=0.01 * (k + 1)),
                schedule=WSD(),
                steps=30,
                seed_init=k,
                seed_order=k % orders,
            )
            for k in range(count)
        ]
        one, _ = trained(rates, TrainOptions())
        spread, program = trained(rates, TrainOptions(devices=4))
        told["losses"][f"population of {count}"] = one
        told["losses"][f"population of {count}, spread"] = spread
        told["devices"][f"population of {count}"] = program.sharding.devices
        told["exchanges"][f"population of {count}"] = exchanges(program)
    kept = Memory()
    told["losses"]["kept"], _ = trained([WIDE], LAYOUTS["state"], kept)
    told["losses"]["resumed"], _ = trained([WIDE], LAYOUTS["state"], Memory(kept.kept))
    told["resumed at"] = kept.kept.step
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
