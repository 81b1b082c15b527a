"""The time limit of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

from s3po.checks import is_seconds
from s3po.errors import ConfigurationError, DeadlineExceeded

__all__ = ['check_timeout', 'within']

T = TypeVar('T')


def within(timeout_s: float, function: Callable[[], T], doing: str, *, told_s: float | None = None) -> T:
    """Call a function with a time limit.

    Args:
        timeout_s: The limit.
        function: The function.
        doing: The operation, for the message.
        told_s: The limit in the message; None for timeout_s.

    Raises:
        DeadlineExceeded: The limit was reached. The function has cleaned up.
    """
    check_timeout(timeout_s)
    timeout = gevent.Timeout.start_new(timeout_s)
    try:
        return function()
    except gevent.Timeout as fired:
        if fired is not timeout:
            raise
        told_s = timeout_s if told_s is None else told_s
        raise DeadlineExceeded(f'{doing}: not done within its timeout_s of {told_s} s') from None
    finally:
        timeout.close()


def check_timeout(timeout_s: object) -> None:
    """Reject a value that is not a time limit."""
    if not is_seconds(timeout_s):
        raise ConfigurationError(f'timeout_s must be a number of seconds above 0, or None, not {timeout_s!r}')
