"""Options of training and of workers; neither is part of what a run is.

Both objects are made once, by the command line or by a caller, and handed on unchanged
from there to the compiled program; a worker process gets them as one JSON text. Every
field that has a `help` is an option of the command line, under its own name without the
unit: a new flag is a field here, and its use.
"""

from __future__ import annotations

import dataclasses
import json

from harness.errors import SpecError, StoreError

CHECKPOINT_S = 30.0
"""Seconds of training between two checkpoints."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Seconds between beats, and without one until others may take over.

    A claim carries the terms of its holder, so workers need not agree on them.
    """

    beat_s: float = dataclasses.field(
        default=5.0, metadata={"help": "Seconds between this worker's signs of life."}
    )
    stale_s: float = dataclasses.field(
        default=90.0,
        metadata={"help": "Seconds of silence after which others may take over."},
    )

    def __post_init__(self) -> None:
        if not 0 < 3 * self.beat_s <= self.stale_s:
            raise StoreError(
                f"a lease of {self.stale_s:g} s needs a beat of at most a third of "
                f"that, not {self.beat_s:g} s"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """The layout of runs on devices; of their numbers this changes the rounding."""

    population: int | None = dataclasses.field(
        default=None,
        metadata={
            "help": "Runs of one shape trained side by side: at most so many, or auto "
            "for what a short trial says is fastest."
        },
    )
    """Most runs of one shape that are trained side by side; None for as many as a short
    trial says is fastest."""
    devices: int = dataclasses.field(
        default=1,
        metadata={
            "help": "Devices that a worker spreads each run, or population, over; on a "
            "CPU they are simulated."
        },
    )
    """Devices that a run, or a population of them, is spread over at most."""
    shard: bool | None = None
    """Whether the state is spread too; None for what its size asks for."""
    accumulate: int = dataclasses.field(
        default=1, metadata={"help": "Parts of a batch that are computed one by one."}
    )
    """Equal parts of a batch whose gradients are computed one after another. Dropout
    and augmentation are drawn for each part, and the balance of a mixture of experts
    is that of each part: with these, numbers change by more than rounding."""
    remat: bool = dataclasses.field(
        default=False,
        metadata={"help": "Less memory: backward passes compute blocks again."},
    )
    """Whether a backward pass computes the inside of each block again instead of
    keeping it."""

    def __post_init__(self) -> None:
        for name in ("population", "devices", "accumulate"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(f"{name} is {value}; it must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """The terms on which a worker shares a sweep with others, and how it trains."""

    terms: Terms = dataclasses.field(default_factory=Terms)
    checkpoint_s: float = dataclasses.field(
        default=CHECKPOINT_S,
        metadata={"help": "Seconds of training between checkpoints."},
    )
    """Seconds of training between two checkpoints: what a crash can cost at most."""
    pack_every: int = dataclasses.field(
        default=0,
        metadata={
            "help": "Pack the files of finished runs whenever so many are loose; 0 for "
            "never."
        },
    )
    """Finished runs with files of their own from which on a worker packs them."""
    poll_s: float = 5.0
    """Most seconds between two looks for work while others hold all that is left."""
    slot: int = 0
    """Workers started together have different slots, and begin at different cohorts."""
    peers: int = 1
    """Workers that share the sweep: none of them shall be left without runs."""
    compile_ahead: bool = True
    """Compile for the next cohort while one trains, where there is room for both."""
    train: TrainOptions = dataclasses.field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        if self.pack_every < 0:
            raise SpecError(f"pack_every is {self.pack_every}; it must be at least 0")

    def to_json(self) -> str:
        """The options as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerOptions:
        """The inverse of `to_json`."""
        values = json.loads(text)
        terms, train = Terms(**values.pop("terms")), TrainOptions(**values.pop("train"))
        return cls(**values, terms=terms, train=train)
