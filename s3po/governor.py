"""Limits how many requests of a connection are in flight.

One limit covers all requests of a connection in one thread: objects of a batch, parts of an object, calls without a batch. A
slot is occupied during an attempt, never during the wait between two attempts. The width follows the open batches and the
configuration. Every slot records its bucket, outcome and seconds, so that the width can follow throttling later.
"""

from __future__ import annotations

import contextlib
import enum
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final, Self

import gevent
import gevent.lock

from s3po.errors import ConfigurationError, Throttled
from s3po.runtime import leave_child, process, watched

__all__ = ['AttemptOutcome', 'Governor', 'Slot']


class AttemptOutcome(enum.Enum):
    """The outcome of an attempt."""

    SUCCEEDED = 'succeeded'
    THROTTLED = 'throttled'
    FAILED = 'failed'


# A global, because looking up a member of an enum costs more.
SUCCEEDED: Final = AttemptOutcome.SUCCEEDED


class Slot:
    """The place of one attempt among the requests in flight; see Governor.slot.

    Attributes:
        bucket: The bucket of the request.
        is_kept: Whether the slot stays occupied after the `with` block, until end().
        outcome: The outcome of the attempt; None before its end.
        seconds: Its duration, without the wait for the slot; 0.0 before its end.
    """

    __slots__ = ('_began_at', '_governor', 'bucket', 'is_kept', 'outcome', 'seconds')

    def __init__(self, governor: Governor, bucket: str) -> None:
        self._governor = governor
        self._began_at = 0.0
        self.bucket = bucket
        self.is_kept = False
        self.outcome: AttemptOutcome | None = None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        governor = self._governor
        if governor.process_mark is not process.mark:
            governor.refuse()
        governor.free.acquire()
        if governor.process_mark is not process.mark:
            governor.refuse()
        self._began_at = monotonic()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self.is_kept or self.outcome is not None:
            return
        governor = self._governor
        self.seconds = monotonic() - self._began_at
        if error is None:
            self.outcome = SUCCEEDED
        elif isinstance(error, Throttled):
            self.outcome = AttemptOutcome.THROTTLED
            governor.throttled += 1
        else:
            self.outcome = AttemptOutcome.FAILED
        if governor.surplus:
            governor.surplus -= 1
        else:
            governor.free.release()

    def end(self, error: BaseException | None = None) -> None:
        """Release a slot that was kept. May be called twice.

        Args:
            error: The error of the attempt; None if it succeeded.
        """
        self.is_kept = False
        self.__exit__(None, error, None)


class Governor:
    """A semaphore whose width is that of the widest demand. Belongs to one native thread.

    Attributes:
        slot: `with governor.slot(bucket) as slot:` around one attempt waits for a free slot. In a forked child it raises
            ConfigurationError: the transfer is the parent's.
        width: How many requests may be in flight at once.
        throttled: The number of requests that the store refused because of their rate.
        free: The free slots.
        surplus: The number of slots to drop when they are released, because the width shrank while they were occupied.
        process_mark: The process that created the governor.
    """

    def __init__(self, narrowest: int, *, fixed: int | None = None) -> None:
        """
        narrowest: The width without any demand.
        fixed: A width that demands do not change; None for none.
        """
        self._narrowest = narrowest
        self._fixed = fixed
        self._demands: Counter[int] = Counter()
        self.width = fixed or narrowest
        self._hub = gevent.get_hub()
        # A partial instead of a method, to save a call per request.
        self.slot: Callable[[str], Slot] = functools.partial(Slot, self)
        self.throttled = 0
        self.free = gevent.lock.Semaphore(self.width)
        self.surplus = 0
        self.process_mark = process.mark
        watched(self)

    def __repr__(self) -> str:
        return f'<Governor width={self.width} free={self.free.counter}>'

    def demand(self, width: int) -> None:
        """Make the width at least this, until release_demand(width)."""
        self._demands[width] += 1
        self._fit()

    def release_demand(self, width: int) -> None:
        """Undo one demand(width)."""
        self._demands[width] -= 1
        self._demands += Counter()
        self._fit()

    @property
    def is_parents(self) -> bool:
        """Whether this process is a forked child of the one that made the governor."""
        return self.process_mark is not process.mark

    def is_busy(self, hub: object) -> bool:
        """Whether requests are in flight in that hub's thread."""
        return hub is self._hub and bool(self.free.counter < self.width + self.surplus)

    @contextlib.contextmanager
    def lent(self, bucket: str) -> Iterator[None]:
        """Release the caller's slot in a `with` block that may wait for other requests of the same connection.

        Such as a read of a source that is an S3Reader: if all slots were occupied by uploads that wait for their readers, the
        readers would wait for a slot for ever. At the end of the block a slot is acquired again; after an exception none is,
        and the end of the attempt releases none.

        Args:
            bucket: The bucket of the slot.
        """
        self.free.release()
        try:
            yield
            if self.is_parents:
                self.refuse()
            self.free.acquire()
        except BaseException:
            self.surplus += 1
            raise

    def refuse(self) -> None:
        """Stop a forked child from continuing: raise in the greenlet that forked, stop the copies of all others."""
        if gevent.getcurrent() is not process.origin:
            leave_child()
        raise ConfigurationError('a forked child cannot go on with a transfer of its parent')

    def _fit(self) -> None:
        width = self._fixed or max(self._narrowest, *self._demands, 0)
        change, self.width = width - self.width, width
        while change > 0:
            change -= 1
            if self.surplus:
                self.surplus -= 1
            else:
                self.free.release()
        while change < 0:
            change += 1
            if not self.free.acquire(blocking=False):
                self.surplus += 1
