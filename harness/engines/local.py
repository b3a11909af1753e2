"""Worker processes on this machine: one per device, or per group of CPU cores.

A worker that dies takes nothing with it: another is started in its place, later and
later while they make no progress, and the store knows what it was doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from harness.engines.accelerators import Accelerators, accelerators, has_tpu
from harness.engines.base import DONE, MISTAKE, STOPPED, UNREACHABLE, Slot
from harness.errors import SpecError

GPU_MEMORY = 0.9
"""Share of a GPU's memory that its workers reserve together."""
MEMORY_VARIABLES = (
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)
"""How a user says what memory jax takes; jax refuses two of them that disagree."""
QUICK_DEATHS = 5
"""Deaths of a worker, each soon after its start, after which none follows it."""
SOON_S = 30.0
LONGEST_PAUSE_S = 60.0
GRACE_S = 60.0
"""Seconds that workers have to checkpoint and let go when asked to stop."""
QUIET = {"JAX_TRACEBACK_FILTERING": "quiet_remove_frames"}
"""Without it jax ends every traceback with a remark, where the error itself belongs."""


def slots(workers: int | None, trunks: int, devices: int = 1) -> list[Slot]:
    """Places for `workers` workers, by default one per GPU, else one per CPU core.

    With several `devices` each worker has so many GPUs, and what is left over of them
    is not used; without any, one worker simulates them on all cores. A host of TPU
    chips has one worker, which takes them all.

    Workers of one core each train more together than one worker with all cores. How
    many threads a worker has can change the last bits of its numbers, so it does not
    depend on how much is left to do: of workers that would find nothing, fewer are
    started, not larger ones.
    """
    if workers is not None and workers < 1:
        raise SpecError(f"--workers is {workers}; it must be at least 1")
    if gpus := accelerators():
        return _gpu_slots(gpus, workers, devices)[:trunks]
    if has_tpu():
        if (workers or 1) > 1:
            raise SpecError(
                f"--workers is {workers}; one process takes all TPU chips of a host"
            )
        return [Slot()][:trunks]
    cores = _cores()
    default = len(cores) if devices == 1 else 1
    return _core_slots(cores, workers or default)[:trunks]


def _core_slots(cores: Sequence[int], count: int) -> list[Slot]:
    if count > len(cores):
        return [Slot(cores=(cores[k % len(cores)],)) for k in range(count)]
    return [Slot(cores=tuple(cores[k::count])) for k in range(count)]


def _gpu_slots(gpus: Accelerators, workers: int | None, devices: int) -> list[Slot]:
    names = gpus.names
    if devices > 1 and gpus.alone:
        raise SpecError(f"--devices is {devices}; a process sees only one MIG instance")
    if devices > len(names):
        raise SpecError(f"--devices is {devices}; there are {len(names)} GPUs")
    groups = list(zip(*[iter(names)] * devices, strict=False))
    count = workers or len(groups)
    each = -(-count // len(groups))
    share = {}
    # One worker is left to jax's own default; several must share, unless the user says
    # how.
    if each > 1 and not any(name in os.environ for name in MEMORY_VARIABLES):
        share = {MEMORY_VARIABLES[0]: f"{GPU_MEMORY / each:.3f}"}
    return [
        Slot(environment={gpus.variable: ",".join(groups[k % len(groups)])} | share)
        for k in range(count)
    ]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LocalEngine:
    """Runs a command once per slot, and keeps it running until it ends by itself.

    After any exit code but those of `engines.base` another worker is started. A worker
    knows the process that started it, and ends when that is gone.
    """

    def __init__(self) -> None:
        self.workers: list[_Worker] = []

    def slots(self, workers: int | None, trunks: int, devices: int) -> list[Slot]:
        """Places for workers on this machine."""
        return slots(workers, trunks, devices)

    def start(self, command: Sequence[str], slots: Sequence[Slot], logs: Path) -> None:
        """Prepares a worker for each slot; `poll` starts them."""
        logs.mkdir(parents=True, exist_ok=True)
        command = [*command, "--parent", str(os.getpid())]
        self.workers = [
            _Worker([*command, "--slot", str(index)], slot, logs / f"local-{index}.log")
            for index, slot in enumerate(slots)
        ]

    @property
    def error(self) -> str | None:
        """The last line of a worker that ended with a mistake of the user's."""
        return next((w.last_line() for w in self.workers if w.code == MISTAKE), None)

    def news(self) -> list[str]:
        """A line for each thing that happened to the workers since the last call."""
        return [line for worker in self.workers for line in worker.take_news()]

    def poll(self) -> bool:
        """Starts what must be started; returns whether any worker runs or will run."""
        if self.error:
            self.stop()
        # Each one is looked at, whatever the others say.
        running = [worker.poll() for worker in self.workers]
        return any(running)

    def stop(self) -> None:
        """Asks all workers to checkpoint and let go, and waits until they have."""
        for worker in self.workers:
            worker.ask_to_stop()
        end = time.monotonic() + GRACE_S
        for worker in self.workers:
            worker.wait(max(0.1, end - time.monotonic()))


class _Worker:
    def __init__(self, command: Sequence[str], slot: Slot, log: Path) -> None:
        self.command, self.slot, self.log = command, slot, log
        self.code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next_start = 0.0
        self._deaths = 0
        self._ended = False
        self._news: list[str] = []

    def poll(self) -> bool:
        if self._ended:
            return False
        if self._process is None:
            if time.monotonic() >= self._next_start:
                self._start()
            return True
        self.code = self._process.poll()
        if self.code is not None:
            self._process = None
            self._after_death(self.code)
        return not self._ended

    def _start(self) -> None:
        environment = {**QUIET, **os.environ, **self.slot.environment}
        command = [*self.command]
        if self.slot.cores and hasattr(os, "sched_setaffinity"):
            command += ["--cores", ",".join(map(str, self.slot.cores))]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                # A Ctrl-C at the terminal is for the launcher, which passes it on.
                start_new_session=True,
            )
        self._started = time.monotonic()

    def _after_death(self, code: int) -> None:
        if code in (DONE, MISTAKE, STOPPED):
            self._ended = True
            return
        quick = self._age() < SOON_S and code != UNREACHABLE
        self._deaths = self._deaths + 1 if quick else 1
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if last := self.last_line():
            reason += f": {last}"
        line = f"a worker ended ({reason}), see {self.log}"
        if self._deaths >= QUICK_DEATHS:
            self._ended = True
            self._news.append(f"{line}; {self._deaths} times in a row: no more of it")
            return
        pause = min(LONGEST_PAUSE_S, 2.0 ** (self._deaths - 1))
        self._next_start = time.monotonic() + pause
        self._news.append(f"{line}; another starts in {pause:.0f} s")

    def _age(self) -> float:
        return time.monotonic() - self._started

    def take_news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    def last_line(self) -> str:
        """The last line of its log, "" if there is none."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return lines[-1].removeprefix("error: ") if lines else ""
        return ""

    def ask_to_stop(self) -> None:
        self._ended = True
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> None:
        if self._process is None:
            return
        try:
            self.code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.code = self._process.wait()
