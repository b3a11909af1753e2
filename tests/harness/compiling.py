"""Works on a small sweep of two cohorts, and tells what was compiled for it.

python -m tests.harness.compiling FOLDER      # prints JSON: names and how often
"""

import collections
import json
import logging
import sys

from harness import WSD, AdamW, Transformer
from harness.store import create_store
from harness.sweeps.options import WorkerOptions
from tests.harness.strategies import ALONE, planned, text_run


class Compilations(logging.Handler):
    """Counts the programs that were not in the persistent cache, by name."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.missed = collections.Counter()

    def emit(self, record):
        if "CACHE MISS" in str(record.msg):
            self.missed[record.args[0]] += 1


def main():
    """Trains two widths at two rates and two lengths."""
    from harness.workers.worker import work

    logger, seen = logging.getLogger("jax._src.compiler"), Compilations()
    logger.addHandler(seen)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    runs = [
        text_run(
            model=Transformer(width=width, depth=1, heads=2),
            steps=steps,
            optimizer=AdamW(lr=lr),
            schedule=WSD(),
        )
        for width in (8, 12)
        for lr in (1e-2, 2e-2)
        for steps in (11, 70)
    ]
    store = create_store(sys.argv[1])
    work(store, planned(*runs), options=WorkerOptions(train=ALONE))
    print(json.dumps({"missed": seen.missed}))


if __name__ == "__main__":
    main()
