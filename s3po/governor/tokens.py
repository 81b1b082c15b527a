"""Token buckets: limits of requests and bytes per second, and the budget of retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import gevent

from s3po.governor.turns import Turns

__all__ = ['Pace', 'RetryBudget', 'Tokens']

# The longest sleep of a waiting greenlet: it then looks again, because the rate may have changed, or tokens were added.
LOOK_S: Final = 0.1
SHORTEST_SLEEP_S: Final = 0.001
# As many tokens as come in this time are kept while they are not needed.
BURST_S: Final = 0.1

# The budget of retries, for each place of the governor's width.
KEPT_RETRIES: Final = 0.5
RETRIES_PER_S: Final = 0.1
# A narrow connection has at least as many.
LEAST_KEPT_RETRIES: Final = 20.0
LEAST_RETRIES_PER_S: Final = 1.0
# Second and later retries of a request need so much of a full budget: the first ones of other requests come first. Otherwise,
# in an outage, some requests would soon have used up all their retries, and others none.
LATER_RETRIES: Final = 0.5
# What a successful retry adds: its own token, and that of one more.
EARNED_RETRIES: Final = 2.0


class Tokens:
    """A number that grows with time, up to a limit. Taking more than there are makes it negative.

    All threads of a process may share it. Their additions are not locked: one that is lost now and then does not matter.

    Attributes:
        per_s: The rate at which it grows.
        most: Its limit.
    """

    def __init__(self, per_s: float, most: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            per_s: The rate at which it grows.
            most: Its limit; None for what comes in BURST_S.
            clock: Returns the time in seconds.
        """
        self.per_s = self._whole_per_s = per_s
        self.most = per_s * BURST_S if most is None else most
        self._clock = clock
        self._left = self.most
        self._seen_at = clock()

    def __repr__(self) -> str:
        return f'<Tokens left={self.left():.1f} per_s={self.per_s:g}>'

    def left(self) -> float:
        """The number of tokens now."""
        now = self._clock()
        seconds, self._seen_at = now - self._seen_at, now
        self._left = min(self._left + seconds * self.per_s, self.most)
        return self._left

    def take(self, number: float) -> None:
        """Remove some tokens."""
        self._left -= number

    def add(self, number: float) -> None:
        """Add some tokens, up to the limit."""
        self._left = min(self._left + number, self.most)

    def share(self, fraction: float) -> None:
        """Grow at a fraction of the first rate, which is above 0 and at most 1."""
        self.change(self._whole_per_s * fraction)

    def change(self, per_s: float, most: float | None = None) -> None:
        """Change the rate and the limit."""
        self.left()
        self.per_s = per_s
        self.most = per_s * BURST_S if most is None else most


class Pace:
    """Makes the greenlets of one thread wait for tokens, in order of arrival.

    Attributes:
        tokens: What they wait for.
        least: How many tokens there must be before one goes on.
    """

    def __init__(self, tokens: Tokens, *, least: float = 0.0, sleep: Callable[[float], None] = gevent.sleep) -> None:
        """
        Args:
            tokens: What they wait for.
            least: How many tokens there must be before one goes on.
            sleep: Waits for some seconds.
        """
        self.tokens = tokens
        self.least = least
        self._sleep = sleep
        # Otherwise, during an outage, greenlets that come back could use up their retries before others.
        self._turns = Turns()

    def __repr__(self) -> str:
        return f'<Pace {self.tokens!r}>'

    def take(self, number: float) -> None:
        """Wait until there are tokens, and take some, perhaps more than there are."""
        if self._turns.queue or self.tokens.left() < self.least:
            self._wait()
        self.tokens.take(number)

    def wait(self) -> None:
        """Wait until there are tokens."""
        if self._turns.queue or self.tokens.left() < self.least:
            self._wait()

    def charge(self, number: float) -> None:
        """Take some tokens without waiting; the next wait is longer."""
        self.tokens.take(number)

    def _wait(self) -> None:
        """Wait until the caller is the first, and there are tokens."""
        with self._turns.taken():
            while (missing := self.least - self.tokens.left()) > 0:
                self._sleep(min(max(missing / self.tokens.per_s, SHORTEST_SLEEP_S), LOOK_S))


class RetryBudget:
    """Limits the retries of a connection, so that they do not multiply the load on a store that fails.

    A retry takes one token; one that succeeds adds two. So the budget is used up only if most retries fail. While it is empty,
    a few retries per second probe whether the store has recovered; all others wait.
    """

    def __init__(
        self,
        width: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        """
        Args:
            width: That of the governor.
            clock: Returns the time in seconds.
            sleep: Waits for some seconds.
        """
        self._tokens = Tokens(*_budget(width), clock=clock)
        self._first = Pace(self._tokens, least=1.0, sleep=sleep)
        self._later = Pace(self._tokens, least=self._tokens.most * LATER_RETRIES, sleep=sleep)

    def __repr__(self) -> str:
        return f'<RetryBudget left={self._tokens.left():.1f} per_s={self._tokens.per_s:g}>'

    def fit(self, width: int) -> None:
        """Follow the governor's width."""
        grown = _budget(width)[1] - self._tokens.most
        self._tokens.change(*_budget(width))
        if grown > 0:
            self._tokens.add(grown)
        self._later.least = self._tokens.most * LATER_RETRIES

    def take(self, *, is_first: bool) -> None:
        """Take the token of a retry; waits while there is none.

        Args:
            is_first: Whether it is the first retry of its request.
        """
        (self._first if is_first else self._later).take(1.0)

    def earn(self) -> None:
        """Note that a retry has succeeded."""
        self._tokens.add(EARNED_RETRIES)


def _budget(width: int) -> tuple[float, float]:
    return max(LEAST_RETRIES_PER_S, width * RETRIES_PER_S), max(LEAST_KEPT_RETRIES, width * KEPT_RETRIES)
