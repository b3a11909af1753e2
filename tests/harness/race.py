"""One of many processes that race for the trunks of a store; prints what it got.

python -m tests.harness.race STORE COUNT SEED
"""

import random
import sys

from harness.store import open_store
from harness.store.leases import Leases


def main(where: str, count: int, seed: int) -> None:
    leases = Leases(open_store(where))
    ids = [f"{k:016x}" for k in range(count)]
    random.Random(seed).shuffle(ids)
    print("ready", flush=True)
    sys.stdin.readline()
    got = [trunk_id for trunk_id in ids if leases.claim(trunk_id)]
    print(" ".join(got), flush=True)
    # The leases of a process that has ended are free: stay until all have tried.
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
