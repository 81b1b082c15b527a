"""The time limit of a call in worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

import gevent

from s3po.errors import DeadlineExceeded
from s3po.jobs import Call

__all__ = ['TimeLimit']

T = TypeVar('T')

# A worker ends a call at its timeout_s. If it does not, the parent ends it so much later.
LATE_S: Final = 0.1


class TimeLimit:
    """The time limit of a call, for all its attempts together."""

    def __init__(self, call: Call, timeout_s: float) -> None:
        """
        Args:
            call: The call.
            timeout_s: Its own limit.
        """
        self._left_s = timeout_s + LATE_S
        self._late = DeadlineExceeded(f'{call}: not done within its timeout_s of {timeout_s} s')

    def hold(self, ask: Callable[[], T]) -> T:
        """The result of a function, which may take the rest of the time.

        Raises:
            DeadlineExceeded: It took longer.
        """
        began = time.monotonic()
        with gevent.Timeout(self._left_s, self._late):
            answer = ask()
        self._left_s = max(0.0, self._left_s - (time.monotonic() - began))
        return answer
