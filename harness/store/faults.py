"""Faults of disks and object stores: which pass by themselves, and how long to wait.

Every operation on the files of a store goes through `Faults.call`. A transient fault is
met by trying again, later and later, for a bounded time; it is counted, and workers
publish the count with their heartbeats. Any other is one line that names the file.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from harness.errors import HarnessError, StoreError, UnreachableError

T = TypeVar("T")

TRANSIENT = frozenset(
    getattr(errno, name)
    for name in [
        "ESTALE",
        "EIO",
        "EAGAIN",
        "EINTR",
        "ETIMEDOUT",
        "EBUSY",
        "ENOTCONN",
        "ECONNRESET",
        "ECONNREFUSED",
        "ECONNABORTED",
        "EPIPE",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "EREMOTEIO",
        "ENFILE",
    ]
    if hasattr(errno, name)
)
"""Numbers of the faults of network file systems and connections that pass."""
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
}
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
TRANSIENT_CODES = frozenset(
    [
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "OperationAborted",
        "ConditionalRequestConflict",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequests",
    ]
)
"""HTTP status and S3 error codes of a storage that is busy or down for a while."""
TRANSIENT_TYPES = frozenset(
    [
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.EndpointConnectionError",
        "botocore.parsers.ResponseParserError",
        "botocore.exceptions.IncompleteReadError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ServerTimeoutError",
    ]
)
"""Errors of connections that are none of the operating system's, by name: the libraries
that raise them are imported only where they are used."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""The first wait after a fault, and the longest; each is twice the one before."""
PATIENCE_S = 30.0
"""Seconds for which a command tries."""
WORKER_PATIENCE_S = 180.0
"""Seconds for which a worker tries: it has more to lose, and nobody waits for it."""
CLAIM_PAUSES_S = (0.1, 0.5, 2.0)
"""The waits before a claim that came back empty is read again."""
LOOK_S = 0.2
"""Seconds between two looks, while one waits, at whether the process shall stop."""


class Faults:
    """The faults that a process has met at one store, and its patience with them."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self.stopping: Callable[[], bool] = lambda: False
        """Whether the process was asked to stop: then nothing is waited for."""
        self.count = 0
        """Transient faults so far."""
        self._failing_since: float | None = None
        """When an outage began that no operation has yet come through."""

    def call(
        self,
        verb: str,
        where: object,
        operation: Callable[[], T],
        also: Collection[int] = (),
    ) -> T:
        """The result of an operation, tried again while its faults are transient.

        Args:
            verb: "read", "list", "write" or "remove", for the message.
            where: The path or address, for the message.
            operation: It must come to the same if it is called once more after it has
                succeeded without knowing it.
            also: Further error numbers that are transient here.

        Raises:
            FileNotFoundError: There is no such file to read.
            UnreachableError: The fault did not pass.
            StoreError: The fault is none that passes.
        """
        since, pauses = 0.0, _pauses()
        while True:
            try:
                result = operation()
            except HarnessError:
                raise
            # botocore's errors have no common base with the operating system's.
            except Exception as error:
                if verb == "read" and isinstance(error, FileNotFoundError):
                    self._failing_since = None
                    raise
                message = f"cannot {verb} {where}: {reason(error)}"
                if not (is_transient(error) or _number(error) in also):
                    raise StoreError(message) from error
                self.count += 1
                since = since or time.monotonic()
                self._wait(next(pauses), since, message, error)
            else:
                self._failing_since = None
                return result

    def until(self, accepted: Callable[[T], bool], operation: Callable[[], T]) -> T:
        """The result of an operation, asked for again a few times until it is good.

        What network file systems give of a file that another host has just written may
        be empty for a moment. The last result is returned whatever it is.
        """
        for pause in CLAIM_PAUSES_S:
            if accepted(result := operation()):
                return result
            self.count += 1
            self._sleep(pause)
        return operation()

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits until the condition holds; returns whether it does within the time."""
        end, pauses = time.monotonic() + seconds, _pauses()
        while not condition():
            if time.monotonic() >= end or self.stopping():
                return False
            self.count += 1
            self._sleep(min(next(pauses), 0.5))
        return True

    def _wait(self, pause: float, since: float, message: str, error: Exception) -> None:
        """Waits; raises if this fault, or the whole outage, has lasted too long."""
        self._failing_since = min(self._failing_since or since, since)
        spent = time.monotonic() - self._failing_since
        if spent + pause > self.patience_s or not self._sleep(pause):
            raise UnreachableError(f"{message} (for {spent:.0f} s)") from error

    def _sleep(self, seconds: float) -> bool:
        """Sleeps; False if the process shall stop meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.stopping():
                return False
            time.sleep(min(left, LOOK_S))
        return True


def is_transient(error: BaseException) -> bool:
    """Whether a fault may pass by itself."""
    if (response := _response(error)) is not None:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = response.get("Error", {}).get("Code")
        return status in TRANSIENT_STATUS or code in TRANSIENT_CODES
    if (number := _number(error)) is not None:
        return number in TRANSIENT
    names = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    return isinstance(error, TimeoutError | ConnectionError) or bool(
        names & TRANSIENT_TYPES
    )


def error_code(error: BaseException) -> str | None:
    """The code that an object store gave with an error, if it is one of its."""
    code = (_response(error) or {}).get("Error", {}).get("Code")
    return None if code is None else str(code)


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full, whoever raises it."""
    full = _number(error) in FULL or "No space left on device" in str(error)
    return full or (error.__cause__ is not None and is_full(error.__cause__))


def reason(error: BaseException) -> str:
    """The reason that an error gives, in one line."""
    if (number := _number(error)) in FULL:
        return FULL[number]
    if is_full(error):
        return FULL[errno.ENOSPC]
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _response(error: BaseException | None) -> dict[str, dict[str, object]] | None:
    """The answer of an object store, of the error itself or of the one it came from."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response
        error = error.__cause__
    return None


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_S)
