"""TensorBoard: a folder of event files, one for each run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from harness.trackers.base import Row


class TensorBoard:
    """Event files in folders of the runs' ids; one that was cut off is made anew."""

    starts_over = True

    def __init__(self, target: str, sweep: str) -> None:
        self._folder = Path(target or f"tensorboard/{sweep}")
        self._writers: dict[str, EventFileWriter] = {}

    def begin(self, run_id: str, name: str, facts: Mapping[str, object]) -> None:
        """An empty folder with the run's facts as a text."""
        folder = self._folder / run_id
        shutil.rmtree(folder, ignore_errors=True)
        self._writers[run_id] = EventFileWriter(str(folder))
        text = f"{name}\n\n    " + json.dumps(facts, indent=1, default=str).replace(
            "\n", "\n    "
        )
        metadata = create_summary_metadata("facts", "")
        value = Summary.Value(
            tag="facts", metadata=metadata, tensor=make_tensor_proto([text.encode()])
        )
        self._write(run_id, Event(step=0, summary=Summary(value=[value])))

    def add(self, run_id: str, rows: Sequence[Row]) -> None:
        """A scalar for each metric and row, on the disk when this returns."""
        for row in rows:
            values = [
                Summary.Value(tag=tag, simple_value=value)
                for tag, value in row.values.items()
            ]
            event = Event(
                step=row.step, wall_time=row.seconds, summary=Summary(value=values)
            )
            self._write(run_id, event)
        self._writers[run_id].flush()

    def end(self, run_id: str, summary: Mapping[str, object]) -> None:
        """The final numbers beside the curves."""
        self._writers.pop(run_id).close()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, run_id: str, event: Event) -> None:
        self._writers[run_id].add_event(event)
