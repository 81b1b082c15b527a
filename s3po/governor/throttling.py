"""The width of one bucket whose store refuses requests: additive increase, multiplicative decrease.

A store allows some number of requests in flight. The number is not known, and changes. Each refusal (SlowDown, 503, 429) and
each time-out makes the width 0.7 times what it was, at most once per round trip: only a request that began after the last
decrease says something about the present width. If all places are occupied, each success adds to the width: one place per round
trip, or 5 % of a width above 20. So the width goes back and forth between 0.7 times the store's limit and the limit.
(Simulated in tests/unit/test_throttling.py: with 0.7 the throughput is 0.85 of the best one, with one half 0.74.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import gevent

from s3po.governor.places import Places

__all__ = ['CALM_S', 'Throttle']

DECREASE: Final = 0.7
# The least increase per success. A width of hundreds would otherwise take hundreds of round trips to recover.
LEAST_INCREASE: Final = 0.05
# A bucket of which no request was refused for so long, while it had its full width or was not used, is not limited further.
CALM_S: Final = 60.0


class Throttle:
    """Limits the requests to one bucket. Exists from a refusal until the bucket has been calm for CALM_S.

    Attributes:
        places: Those of its requests in flight.
        width: Its exact width; that of `places` is rounded down.
    """

    def __init__(
        self,
        in_flight: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        """
        Args:
            in_flight: How many requests were in flight when one was refused.
            clock: Returns the time in seconds.
            sleep: Waits for some seconds.
        """
        self._clock = clock
        self._sleep = sleep
        self._decreased_at = clock()
        self._paused_until = 0.0
        self.width = max(1.0, in_flight * DECREASE)
        self.places = Places(int(self.width))

    def __repr__(self) -> str:
        return f'<Throttle width={self.width:.1f} occupied={self.places.occupied}>'

    def is_idle(self) -> bool:
        """Whether no request is in flight, and none was refused for CALM_S."""
        return not self.places.occupied and self._clock() - max(self._decreased_at, self._paused_until) > CALM_S

    def enter(self, *, is_urgent: bool = False) -> None:
        """Wait for a place, and for the end of a pause.

        Args:
            is_urgent: Whether the request is sent during a pause too.
        """
        if is_urgent:
            self.places.free.acquire()
            return
        with self.places.turns.taken():
            while True:
                while (left_s := self._paused_until - self._clock()) > 0:
                    self._sleep(left_s)
                self.places.free.acquire()
                if self._clock() >= self._paused_until:
                    return
                # A pause began meanwhile; urgent requests may use the place.
                self.places.release()

    def pause(self, seconds: float) -> None:
        """Begin no request for some seconds."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def refused(self, began_at: float) -> None:
        """Decrease the width, after a refusal or a time-out. Call it while the request occupies its place.

        Args:
            began_at: When the request began.
        """
        if began_at > self._decreased_at:
            self._decreased_at = self._clock()
            # The width may be more than what is used.
            self._set(max(1.0, min(self.width, self.places.occupied) * DECREASE))

    def succeeded(self, began_at: float, ceiling: int) -> bool:
        """Increase the width, after a success. Call it while the request occupies its place.

        Args:
            began_at: When the request began.
            ceiling: The largest width.

        Returns:
            True if the bucket is calm, so that it needs no Throttle any more.
        """
        if self.width >= ceiling:
            return began_at - self._decreased_at > CALM_S
        # The success of a request among fewer than allowed proves nothing.
        if began_at > self._decreased_at and self.places.occupied >= self.places.width:
            self._set(min(self.width + max(1 / self.width, LEAST_INCREASE), ceiling))
        return False

    def _set(self, width: float) -> None:
        self.width = width
        if int(width) != self.places.width:
            self.places.resize(int(width))
