"""The compiled program that a worker trains with, and the next, compiled meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax

from harness.data.dataset import load
from harness.specs.run import DataSpec, RunSpec
from harness.sweeps.options import TrainOptions
from harness.sweeps.plan import Cohort, Trunk
from harness.training import device
from harness.training.batches import ProgramShape
from harness.training.program import Program, compile_cohort
from harness.workers.forecast import Timing
from harness.workers.probe import probe

DATASETS = 2
"""Data sets that stay in the host's memory: the present one, and one used before."""

Key = tuple[Cohort, ProgramShape]
"""A cohort, and what its program depends on of the runs that it trains at once."""


class Present(NamedTuple):
    """The program that was asked for last."""

    cohort: Cohort
    run: RunSpec
    """Its data are those on the device."""
    program: Program


class Programs:
    """One compiled program with its data on the device, exchanged when others are due.

    `compiling` is called whenever training has to wait for a compilation.
    """

    def __init__(
        self, options: TrainOptions, compiling: Callable[[RunSpec], None]
    ) -> None:
        self._options, self._compiling = options, compiling
        self._present: Present | None = None
        self._next = BackgroundCompiler()
        self._load = functools.lru_cache(maxsize=DATASETS)(load)

    def get(self, cohort: Cohort, trunks: Sequence[Trunk]) -> tuple[Program, float]:
        """The cohort's program for these trunks, on their data, and compile seconds.

        Trunks of a cohort may differ in the subset and the seed of their data. The
        seconds are 0 where the program was there already.
        """
        runs = first_runs(trunks)
        dataset = self._load(*_data(runs[0]))
        program, seconds = self._find(cohort, ProgramShape.of(runs)), 0.0
        if program is None:
            program = self._compile(cohort, runs)
            seconds = program.compile_s
        if program.dataset is not dataset:
            program = program.with_data(dataset, runs[0])
        self._present = Present(cohort, runs[0], program)
        return program, seconds

    def begin(self, cohort: Cohort, trunks: Sequence[Trunk]) -> None:
        """Starts to compile what is likely to be asked for next, in a thread.

        Only for the data that is in use: others would take memory that the present
        runs may need.
        """
        runs, present = first_runs(trunks), self._present
        if present is None or _data(runs[0]) != _data(present.run):
            return
        program, dataset = present.program, present.program.dataset
        if dataset.fits_device:
            self._next.start(
                (cohort, ProgramShape.of(runs)),
                lambda: compile_cohort(runs, dataset, self._options, program),
            )

    def probe(self, trunks: Sequence[Trunk]) -> list[Timing]:
        """Times the first trunk alone, and all of them side by side."""
        runs = first_runs(trunks)
        self._present = None
        self._next.forget()
        self._compiling(runs[0])
        dataset = self._load(*_data(runs[0]))
        return probe(runs, dataset, self._options)

    def close(self) -> None:
        """Starts no more compilations."""
        self._next.close()

    def _find(self, cohort: Cohort, shape: ProgramShape) -> Program | None:
        if self._present is None or self._present.cohort is not cohort:
            return None
        program = self._present.program
        return program if program.shape == shape else None

    def _compile(self, cohort: Cohort, runs: Sequence[RunSpec]) -> Program:
        # The old program and its data go before others come.
        self._present = None
        self._compiling(runs[0])
        if ready := self._next.take((cohort, ProgramShape.of(runs))):
            return ready
        self._next.forget()
        dataset = self._load(*_data(runs[0]))
        return compile_cohort(runs, dataset, self._options)


def first_runs(trunks: Sequence[Trunk]) -> list[RunSpec]:
    """The shortest run of each trunk; a program does not depend on lengths."""
    return [trunk.runs[0].run for trunk in trunks]


def _data(run: RunSpec) -> tuple[DataSpec, int]:
    return run.data, run.seed_data


class BackgroundCompiler:
    """One program that is compiled, or being compiled, before it is asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._begun: tuple[Key, Future[Program]] | None = None

    def start(self, key: Key, compile_it: Callable[[], Program]) -> None:
        """Starts, unless another is still being compiled, or this one was."""
        if self._begun and (self._is(key) or not self._begun[1].done()):
            return
        self._begun = key, self._thread.submit(compile_it)

    def take(self, key: Key) -> Program | None:
        """The program, waited for if it is on its way; None if it was not begun, or
        could not be made: whoever compiles it then will see the error."""
        if self._begun is None or not self._is(key):
            return None
        program = self._begun[1]
        self.forget()
        return None if program.exception() else program.result()

    def forget(self) -> None:
        """Lets go of the program, and with it of data that only it still holds."""
        self._begun = None

    def close(self) -> None:
        """Starts no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _is(self, key: Key) -> bool:
        # Cohorts are told apart as objects: to compare thousands of runs would be slow.
        known = self._begun and self._begun[0]
        return bool(known and known[0] is key[0] and known[1] == key[1])


def should_compile_ahead() -> bool:
    """Whether compiling does not take the time of training: an accelerator trains, or
    this process has a second core."""
    return jax.default_backend() != "cpu" or device.cores() > 1
