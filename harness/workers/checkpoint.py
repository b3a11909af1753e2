"""Checkpoints of an unfinished trunk: saved in the background, restored to the bit.

A checkpoint is a snapshot (parameters, optimiser, every loss and evaluation so far) at
a chunk's end; these ends depend on the spec alone, the clock decides which are kept.
Before each one, the metric rows up to its step are published. A checkpoint
counts once its manifest is there, which is published last and holds the checksum of
every file; one that does not agree with its manifest is passed over for the one before.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from harness.data.files import Array
from harness.errors import StoreError, UnreachableError
from harness.specs.canonical import JsonObject
from harness.store import Store, schema
from harness.sweeps.plan import PlannedRun
from harness.training.history import History
from harness.training.snapshot import TRUNK, Snapshot
from harness.training.step import State
from harness.workers.kept_trunks import newest_trunks
from harness.workers.snapshot_files import checkpointer, checksums, save

MANIFEST = re.compile(r"(trunk|[0-9a-f]{16})-(\d{9})\.json")
PublishRows = Callable[[str, int, Sequence[History], Sequence[PlannedRun]], None]
"""Publishes the rows of a segment, up to a step, from the histories of its runs."""
LISTING_S = 10.0
"""Most seconds that a listing may be behind what was written."""
KEPT = 2
"""Checkpoints of a segment that stay; older ones are removed after each new one."""


class Checkpoints:
    """The checkpoints of one trunk, or of several that are trained side by side.

    They lie with the first of these, and are written by the holder of the leases. A
    checkpoint of other trunks than these is passed over.
    """

    def __init__(
        self,
        store: Store,
        trunk_ids: Sequence[str],
        *,
        publish_rows: PublishRows,
        check: Callable[[], None],
        warn: Callable[[str], None],
        every_s: float,
    ) -> None:
        self.store = store
        self._trunk_ids = list(trunk_ids)
        self._folder = f"work/{trunk_ids[0]}"
        self._publish_rows, self._check = publish_rows, check
        self._warn = warn
        self._every_s = every_s
        self._last_save = time.monotonic()
        # Of a holder before, which died or lost its lease while it wrote.
        store.files.clear(f"{self._folder}/ckpt")
        self._background = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None
        self._kept = self._manifests()

    @property
    def progress(self) -> str:
        """The newest step kept of each segment; new with each new checkpoint."""
        steps = [
            f"{segment} {max(steps)}" for segment, steps in sorted(self._kept.items())
        ]
        return ", ".join(steps) or "none"

    def due(self) -> bool:
        """Whether it is time for the next one, and the one before is written.

        Where every chunk shall be kept (0 seconds), training waits for the writing.
        """
        if not self._every_s:
            return True
        idle = self._pending is None or self._pending.done()
        return idle and time.monotonic() - self._last_save >= self._every_s

    def save(
        self,
        runs: Sequence[PlannedRun],
        segment: str,
        snapshot: Snapshot,
        trunk: Snapshot | None = None,
    ) -> None:
        """Copies a snapshot of these runs and writes it in the background.

        `trunk` is the shared snapshot that later branches start at, if there are any.
        """
        self.wait()
        self._last_save = time.monotonic()
        # It must not be lost with ours.
        if trunk and trunk.step not in self._kept.get(TRUNK, ()):
            self._submit(TRUNK, trunk, runs)
        self._submit(segment, snapshot, runs)

    def wait(self) -> None:
        """Waits until the last one is written; raises what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def look(self) -> None:
        """Raises what went wrong in the background, if it has ended."""
        if self._pending and self._pending.done():
            self.wait()

    def close(self) -> None:
        """Ends the background thread; what it is writing is finished first."""
        self._background.shutdown(wait=True)

    def newest(self, segment: str, until: int, like: State) -> Snapshot | None:
        """The newest sound snapshot of a segment at a step of at most `until`."""
        steps = [step for step in self._kept.get(segment, ()) if step <= until]
        for step in sorted(steps, reverse=True):
            try:
                return self._restore(f"{self._folder}/ckpt/{segment}-{step:09d}", like)
            # Nothing is wrong with it: the store cannot be reached.
            except UnreachableError:
                raise
            # Whatever is wrong with it, the one before may be sound.
            except Exception as error:
                self._warn(f"checkpoint {segment} {step} is passed over: {error}")
        return None

    def newest_kept(self, until: int, like: State) -> Snapshot | None:
        """The end of the trunks that a finished sweep has kept for longer runs."""
        try:
            return newest_trunks(self.store, self._trunk_ids, until, like)
        except UnreachableError:
            raise
        # Training can begin anew without it.
        except (StoreError, OSError) as error:
            self._warn(f"the kept end of a trunk is passed over: {error}")
            return None

    def drop(self, segment: str) -> None:
        """Removes the checkpoints of a finished branch."""
        if segment in self._kept:
            self.wait()
            for step in self._kept.pop(segment):
                self._remove(segment, step)

    def _submit(
        self, segment: str, snapshot: Snapshot, runs: Sequence[PlannedRun]
    ) -> None:
        # Copies: the next chunk overwrites the state, and goes on with the histories.
        leaves = [np.array(leaf, copy=True) for leaf in jax.tree.leaves(snapshot.state)]
        histories = [history.branch() for history in snapshot.histories]
        self.wait()
        self._pending = self._background.submit(
            self._write, segment, snapshot.step, leaves, histories, runs
        )

    def _write(
        self,
        segment: str,
        step: int,
        leaves: list[Array],
        histories: list[History],
        runs: Sequence[PlannedRun],
    ) -> None:
        self._check()
        self._publish_rows(segment, step, histories, runs)
        name = f"{self._folder}/ckpt/{segment}-{step:09d}"
        scratch = self.store.files.scratch(name)
        try:
            files = save(scratch, leaves, histories)
            ids = [planned.trunk_id for planned in runs]
            manifest = {"segment": segment, "step": step, "trunks": ids, "files": files}
            self._check()
            self.store.files.put_folder(scratch, name)
        except BaseException:
            # Nothing stays of one whose lease was lost while it was written.
            shutil.rmtree(scratch, ignore_errors=True)
            self._drop_empty_folders()
            raise
        self.store.files.publish(f"{name}.json", schema.with_checksum(manifest))
        self._await_listing(f"{segment}-{step:09d}.json")
        steps = self._kept.setdefault(segment, set())
        steps.add(step)
        for old in sorted(steps)[:-KEPT]:
            steps.discard(old)
            self._remove(segment, old)

    def _await_listing(self, base: str) -> None:
        """Waits until a new manifest is listed: who goes on must not overlook it."""
        folder = f"{self._folder}/ckpt"
        listed = self.store.files.faults.wait_for(
            lambda: base in self.store.files.names(folder), LISTING_S
        )
        if not listed:
            self._warn(f"{folder}/{base} is not listed after {LISTING_S:.0f} s")

    def _drop_empty_folders(self) -> None:
        """Removes what a worker that woke up too late made for a finished trunk."""
        if (root := self.store.folder) is not None:
            for folder in (f"{self._folder}/ckpt", f"{self._folder}/parts"):
                with contextlib.suppress(OSError):
                    (root / folder).rmdir()
            with contextlib.suppress(OSError):
                (root / self._folder).rmdir()

    def _manifest(self, name: str) -> JsonObject:
        """The manifest of a checkpoint. Raises `StoreError` if any bit is another."""
        manifest = self.store.json(f"{name}.json")
        plain = {key: value for key, value in manifest.items() if key != "seal"}
        if self.store.files.read(f"{name}.json") != schema.with_checksum(plain):
            raise StoreError("its manifest is not as it was written")
        place = f"{manifest.get('segment')}-{manifest.get('step'):09d}"
        if place != name.rpartition("/")[2]:
            raise StoreError(f"its manifest is that of {place}")
        if manifest.get("trunks") != self._trunk_ids:
            raise StoreError("it is of other trunks")
        return manifest

    def _restore(self, name: str, like: State) -> Snapshot:
        manifest = self._manifest(name)
        with self.store.files.get_folder(name) as folder:
            if checksums(folder) != manifest.get("files"):
                raise StoreError("its files do not agree with its manifest")
            saved = checkpointer().restore((folder / "state").absolute())
            histories_json = json.loads((folder / "histories.json").read_text())
        leaves = [jnp.array(saved[key]) for key in sorted(saved)]
        state = jax.tree.unflatten(jax.tree.structure(like), leaves)
        same = jax.tree.map(
            lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, like
        )
        if not all(jax.tree.leaves(same)):
            raise StoreError("its arrays are not of this model's shapes")
        histories = [History.from_json(values) for values in histories_json]
        step = int(name.rpartition("-")[2])
        return Snapshot(state=state, step=step, histories=histories)

    def _manifests(self) -> dict[str, set[int]]:
        steps: dict[str, set[int]] = {}
        for name in self.store.files.names(f"{self._folder}/ckpt"):
            if match := MANIFEST.fullmatch(name):
                steps.setdefault(match[1], set()).add(int(match[2]))
        return steps

    def _remove(self, segment: str, step: int) -> None:
        name = f"{self._folder}/ckpt/{segment}-{step:09d}"
        # The manifest first: what is left of a half removed one does not count.
        self.store.files.remove(f"{name}.json")
        self.store.files.remove(name)
