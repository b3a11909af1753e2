"""The files of one checkpoint in a folder of this machine, and their checksums."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from harness.data.files import Array
from harness.errors import StoreError
from harness.store.faults import is_full, reason
from harness.training.history import History

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


def save(
    scratch: Path, leaves: list[Array], histories: list[History]
) -> dict[str, str]:
    """Writes a snapshot into a folder; returns the checksum of each file.

    Raises `StoreError` if the disk is full, which is no error of the run.
    """
    try:
        checkpointer().save(scratch / "state", args=_save_args(leaves))
        histories_json = [history.to_json() for history in histories]
        (scratch / "histories.json").write_text(json.dumps(histories_json))
        return checksums(scratch)
    # The library that writes arrays has errors of its own.
    except Exception as error:
        if is_full(error):
            raise StoreError(f"cannot write {scratch}: {reason(error)}") from error
        raise


def checkpointer() -> ocp.Checkpointer:
    """What writes and reads the arrays."""
    # Imported late: most runs end before a first checkpoint is due.
    import orbax.checkpoint as ocp

    # It warns at each save of metadata that it is about to write.
    logging.getLogger("absl").setLevel(logging.ERROR)

    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.StandardCheckpointHandler())
    # The arrays are whole: other processes have no share in saving them.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix="alone",
    )
    return ocp.Checkpointer(
        ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        multiprocessing_options=alone,
    )


def _save_args(leaves: list[Array]) -> ocp.args.StandardSave:
    import orbax.checkpoint as ocp

    named = {f"leaf_{index:05d}": leaf for index, leaf in enumerate(leaves)}
    return ocp.args.StandardSave(named)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return found
