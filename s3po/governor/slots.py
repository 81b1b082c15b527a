"""Slots: the places of attempts among the requests in flight."""

from __future__ import annotations

import enum
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

import gevent

from s3po.errors import ConnectTimeout, ReadTimeout, Throttled
from s3po.governor.throttling import CALM_S, Throttle
from s3po.runtime import process

if TYPE_CHECKING:
    from s3po.governor.governor import Governor

__all__ = ['AttemptOutcome', 'LimitedSlot', 'Slot']


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
        began_at: When the attempt began (monotonic); 0.0 before.
    """

    __slots__ = ('_governor', 'began_at', 'bucket', 'is_kept', 'outcome', 'seconds')

    def __init__(self, governor: Governor, bucket: str) -> None:
        self._governor = governor
        self.began_at = 0.0
        self.bucket = bucket
        self.is_kept = False
        self.outcome: AttemptOutcome | None = None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        governor = self._governor
        if governor.process_mark is not process.mark:
            governor.refuse()
        if governor.queue or not governor.free.acquire(blocking=False):
            governor.wait()
        if governor.process_mark is not process.mark:
            governor.refuse()
        self.began_at = monotonic()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self.is_kept or self.outcome is not None:
            return
        governor = self._governor
        self.seconds = monotonic() - self.began_at
        if error is None:
            self.outcome = SUCCEEDED
        else:
            self._failed(error)
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

    def _failed(self, error: BaseException) -> None:
        self.outcome = AttemptOutcome.THROTTLED if isinstance(error, Throttled) else AttemptOutcome.FAILED
        if isinstance(error, Throttled | ReadTimeout | ConnectTimeout):
            self._governor.refused(self)


class LimitedSlot(Slot):
    """A slot of a governor that limits the rate of all requests, or the requests in flight of some buckets."""

    __slots__ = ('_throttle',)

    def __init__(self, governor: Governor, bucket: str) -> None:
        super().__init__(governor, bucket)
        self._throttle: Throttle | None = None

    def __enter__(self) -> Self:
        governor = self._governor
        if governor.process_mark is not process.mark:
            governor.refuse()
        throttle = governor.throttles.get(self.bucket)
        if throttle is not None and throttle.is_idle():
            governor.forget(self.bucket, throttle)
            throttle = None
        # Before the governor's place: a bucket that has to wait does not hold up the others.
        if throttle is not None:
            throttle.enter(is_urgent=gevent.getcurrent() in governor.urgent)
        try:
            super().__enter__()
            try:
                if governor.requests is not None:
                    governor.requests.take(1.0)
                    self.began_at = monotonic()
            except BaseException:
                governor.release()
                raise
        except BaseException:
            if throttle is not None:
                throttle.places.release()
            raise
        self._throttle = throttle
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self.is_kept or self.outcome is not None:
            return
        super().__exit__(kind, error, traceback)
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            if self.outcome is SUCCEEDED and throttle.succeeded(self.began_at, self._governor.width):
                self._governor.forget(self.bucket, throttle)
            throttle.places.release()
        elif self.began_at - self._governor.looked_at > CALM_S:
            self._governor.forget_idle(self.began_at)
