"""Stores with many small runs, and processes that publish into them, pack and read.

python -m tests.harness.store.packers STORE publish FIRST COUNT
python -m tests.harness.store.packers STORE pack|read UNTIL
"""

import dataclasses
import hashlib
import random
import sys
import time

from harness import AdamW
from harness.store import Store, add_metrics, add_record, open_store
from harness.store.files import LocalFiles
from harness.store.packing.pack import pack
from tests.harness.strategies import mlp_run


@dataclasses.dataclass(frozen=True)
class Made:
    """The record and the long rows of a run, as a worker would publish them."""

    run_id: str
    record: dict
    rows: list


def made(seed):
    """A finished run with a real spec; its numbers are functions of its id."""
    run = dataclasses.replace(mlp_run(optimizer=AdamW(lr=1e-2)), seed_init=seed)
    run_id = run.run_id
    digits = int(run_id[:8], 16)
    rows = [
        {
            "run_id": run_id,
            "step": step,
            "tokens": 10 * step,
            "flops": 1e3 * step,
            "wall_s": 0.5,
            "split": split,
            "metric": "loss",
            "value": digits / step,
            "annealed": step == 4,
        }
        for step in (1, 2, 4)
        for split in ("train", "eval")
    ]
    record = {
        "run_id": run_id,
        "status": "diverged" if digits % 5 == 0 else "done",
        "spec": run.to_dict(),
        "row": {"run_id": run_id, "status": "done", "loss": digits / 4},
    }
    return Made(run_id, record, rows)


def publish(store, run):
    """Publishes a run as a worker does."""
    stamp = add_metrics(store, run.run_id, run.rows)
    return add_record(store, run.record | {"metrics": stamp})


def check(store, run_ids):
    """Fails unless a reader finds just these runs, each once and as it was made."""
    assert store.finished() == set(run_ids)
    for run_id in store.packs.in_order(run_ids):
        assert store.is_finished(run_id)
        assert_right(store, run_id)


def assert_right(store, run_id):
    digits = int(run_id[:8], 16)
    assert store.record(run_id)["row"]["loss"] == digits / 4
    rows = store.metrics(run_id)
    assert rows["run_id"].to_pylist() == [run_id] * 6
    assert rows["value"].to_pylist()[-1] == digits / 4


class CutOffError(BaseException):
    """The end of a process: no handler of errors sees it."""


class CutOffFiles(LocalFiles):
    """Ends before or after the n-th operation that changes the store."""

    def __init__(self, root, n, when):
        super().__init__(root)
        self.left, self.when = n, when

    def publish(self, name, content, *, durable=True):
        self._change(lambda: super(CutOffFiles, self).publish(name, content))

    def publish_once(self, name, content):
        change = super().publish_once
        return self._change(lambda: change(name, content))

    def remove(self, name):
        self._change(lambda: super(CutOffFiles, self).remove(name))

    def _change(self, operation):
        self.left -= 1
        if not self.left and self.when == "before":
            raise CutOffError
        told = operation()
        if not self.left:
            raise CutOffError
        return told


def cut_off(folder, n, when, act):
    """Does something that ends at its n-th change; whether it came so far."""
    try:
        act(Store(CutOffFiles(folder, n, when)))
    except CutOffError:
        return True
    return False


def main(where, role, *numbers):
    store = open_store(where)
    if role == "publish":
        first, count = map(int, numbers)
        for seed in range(first, first + count):
            assert publish(store, made(seed))
            time.sleep(0.004)
        return
    until, seen, looks = int(numbers[0]), set(), 0
    while len(seen) < until:
        if role == "pack":
            pack(store)
            seen = store.finished()
            time.sleep(random.random() / 50)
            continue
        finished = store.finished()
        # What was finished stays so, however it is packed meanwhile.
        assert seen <= finished, sorted(seen - finished)
        for run_id in random.sample(sorted(finished), min(20, len(finished))):
            assert store.is_finished(run_id)
            assert_right(store, run_id)
        seen, looks = finished, looks + 1
    print(role, looks, hashlib.sha256(",".join(sorted(seen)).encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
