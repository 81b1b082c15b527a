"""The governor: a semaphore whose width is that of the widest demand, and what limits requests further."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent

from s3po.errors import ConfigurationError
from s3po.governor.places import Places
from s3po.governor.slots import AttemptOutcome, LimitedSlot, Slot
from s3po.governor.throttling import Throttle
from s3po.governor.tokens import Pace, RetryBudget, Tokens
from s3po.runtime import leave_child, process, watched

__all__ = ['Governor', 'RequestLoad']

# How many refusing buckets are limited before all are forgotten.
MAX_THROTTLES = 1000
SHOWN_THROTTLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLoad:
    """The requests of a connection at one moment.

    Attributes:
        width: How many requests may be in flight at once: to the bucket that is limited most, if any is.
        in_flight: How many are.
        throttled: How many the store has refused because of their rate, so far.
    """

    width: int = 0
    in_flight: int = 0
    throttled: int = 0


class Governor(Places):
    """Limits the requests in flight. Belongs to one native thread.

    Attributes:
        slot: `with governor.slot(bucket) as slot:` around one attempt waits for a free slot. In a forked child it raises
            ConfigurationError: the transfer is the parent's.
        throttled: The number of requests that the store refused because of their rate.
        throttles: The further limits of buckets whose store refused requests, by name.
        looked_at: When `throttles` was searched for idle buckets.
        requests: Limits the requests per second; None for no limit.
        bandwidth: Limits the bytes per second, for the HTTP client; None for no limit.
        urgent: The greenlets that send requests during pauses too; see hurried().
        budget: Limits the retries.
        throttle_timeout_s: TransferConfig.throttle_timeout_s.
        process_mark: The process that created the governor.
    """

    def __init__(
        self,
        narrowest: int,
        *,
        fixed: int | None = None,
        requests: Tokens | None = None,
        bandwidth: Tokens | None = None,
        throttle_timeout_s: float = 0.0,
    ) -> None:
        """
        Args:
            narrowest: The width without any demand.
            fixed: A width that demands do not change; None for none.
            requests: Limits the requests per second; None for no limit.
            bandwidth: Limits the bytes per second; None for no limit.
            throttle_timeout_s: TransferConfig.throttle_timeout_s.
        """
        super().__init__(fixed or narrowest)
        self._narrowest = narrowest
        self._fixed = self._whole = fixed
        self._demands: Counter[int] = Counter()
        self._hub = gevent.get_hub()
        self.throttled = 0
        self.throttles: dict[str, Throttle] = {}
        self.looked_at = 0.0
        self.urgent = set[object]()
        self.requests = None if requests is None else Pace(requests)
        self.bandwidth = None if bandwidth is None else Pace(bandwidth)
        self.throttle_timeout_s = throttle_timeout_s
        self.budget = RetryBudget(self.width)
        self.process_mark = process.mark
        self.slot: Callable[[str], Slot]
        self._choose_slots()
        watched(self)

    def __repr__(self) -> str:
        throttles = [(bucket, throttle) for bucket, throttle in self.throttles.copy().items() if not throttle.is_idle()]
        limited = ''.join(f' {bucket or "s3"}={throttle.places.width}' for bucket, throttle in throttles[:SHOWN_THROTTLES])
        refused = f' throttled={self.throttled}{limited}' if self.throttled or limited else ''
        return f'<Governor width={self.width} free={self.free.counter}{refused}>'

    def load(self) -> RequestLoad:
        """The present figures. Any thread may call it."""
        throttles = self.throttles.copy().values()
        width = min((throttle.places.width for throttle in throttles if not throttle.is_idle()), default=self.width)
        return RequestLoad(width=min(width, self.width), in_flight=self.occupied, throttled=self.throttled)

    def demand(self, width: int) -> None:
        """Make the width at least this, until release_demand(width)."""
        self._demands[width] += 1
        self._fit()

    def release_demand(self, width: int) -> None:
        """Undo one demand(width)."""
        self._demands[width] -= 1
        self._demands += Counter()
        self._fit()

    def share(self, fraction: float) -> None:
        """Use only a fraction of the fixed width and of the rates, which are shared by several processes.

        Args:
            fraction: Above 0 and at most 1, of what the governor was made with.
        """
        if self._whole is not None:
            self._fixed = max(1, round(self._whole * fraction))
            self._fit()
        for pace in (self.requests, self.bandwidth):
            if pace is not None:
                pace.tokens.share(fraction)

    # --- what the store says

    def refused(self, slot: Slot) -> None:
        """Decrease the width of a bucket, because a request was refused or timed out. Call it before its slot is released."""
        if slot.outcome is AttemptOutcome.THROTTLED:
            self.throttled += 1
        throttle = self.throttles.get(slot.bucket)
        if throttle is None:
            self._limited(slot.bucket)
        else:
            throttle.refused(slot.began_at)

    def pause(self, bucket: str, seconds: float) -> None:
        """Begin no request to a bucket for some seconds, because its store has requested that."""
        self._limited(bucket).pause(seconds)

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Send the requests of the calling greenlet during pauses too, in a `with` block.

        For aborts: a program that ends during a pause would leave its uploads, whose parts are stored and billed.
        """
        current = gevent.getcurrent()
        self.urgent.add(current)
        try:
            yield
        finally:
            self.urgent.discard(current)

    def forget(self, bucket: str, throttle: Throttle) -> None:
        """Limit a bucket no further."""
        if self.throttles.get(bucket) is throttle:
            del self.throttles[bucket]
            self._choose_slots()

    def forget_idle(self, now: float) -> None:
        """Limit the buckets no further that are not used any more: until then, requests to others cost more.

        Args:
            now: The time, for `looked_at`.
        """
        self.looked_at = now
        for bucket, throttle in list(self.throttles.items()):
            if throttle.is_idle():
                self.forget(bucket, throttle)

    def _limited(self, bucket: str) -> Throttle:
        throttle = self.throttles.get(bucket)
        if throttle is None:
            if len(self.throttles) >= MAX_THROTTLES:
                self.throttles.clear()
            throttle = self.throttles[bucket] = Throttle(self.occupied)
            self._choose_slots()
        return throttle

    def _choose_slots(self) -> None:
        """Use slots without further limits while there are none: they cost less."""
        is_limited = self.throttles or self.requests is not None
        # A partial instead of a method, to save a call per request.
        self.slot = functools.partial(LimitedSlot if is_limited else Slot, self)

    # --- loans

    @contextlib.contextmanager
    def lent(self, bucket: str, *, is_last: bool = False) -> Iterator[None]:
        """Release the caller's slot in a `with` block that may wait for other requests of the same connection.

        Such as a read of a source that is an S3Reader: if all slots were occupied by uploads that wait for their readers, the
        readers would wait for a slot for ever. At the end of the block a slot is acquired again; after an exception none is,
        and the end of the attempt releases none.

        Args:
            bucket: The bucket of the slot.
            is_last: Whether the attempt sends and receives nothing after the block, so that it needs no slot any more.
        """
        throttle = self.throttles.get(bucket)
        # The bucket's place is acquired before the governor's, as LimitedSlot does; another order could end in a deadlock.
        place = contextlib.nullcontext() if throttle is None else throttle.places.place_lent(is_last=is_last)
        with self.place_lent(is_last=is_last), place:
            yield
            if self.is_parents:
                self.refuse()

    # --- processes

    @property
    def is_parents(self) -> bool:
        """Whether this process is a forked child of the one that made the governor."""
        return self.process_mark is not process.mark

    def is_busy(self, hub: object) -> bool:
        """Whether requests are in flight in that hub's thread."""
        return hub is self._hub and self.occupied > 0

    def refuse(self) -> None:
        """Stop a forked child from continuing: raise in the greenlet that forked, stop the copies of all others."""
        if gevent.getcurrent() is not process.origin:
            leave_child()
        raise ConfigurationError('a forked child cannot go on with a transfer of its parent')

    def _fit(self) -> None:
        self.resize(self._fixed or max(self._narrowest, *self._demands, 0))
        self.budget.fit(self.width)
