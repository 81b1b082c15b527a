"""The interface for observing work: progress bars, metrics and journals implement it.

A batch reports its jobs, and a transfer its requests. Without an observer nothing is called.

Invariant: an observer cannot make a transfer fail. Errors of its methods are logged.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVarTuple

__all__ = ['Activity', 'Observer', 'Progress', 'combined', 'report']

log = logging.getLogger(__name__)

Ts = TypeVarTuple('Ts')


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The subject of an event: one job of a batch, or one request with all its attempts.

    Attributes:
        operation: 'upload', 'download' and so on for a job; S3's name ('UploadPart') for a request.
        bucket: The bucket.
        key: The key; '' for a request about the bucket.
        part_number: The part; None for a request about the whole object, and for a job.
    """

    operation: str
    bucket: str
    key: str
    part_number: int | None = None


class Observer(Protocol):
    """Receives events. Its methods run in the greenlet that does the work, so they must return quickly and must not block.

    Each activity has one began() and one ended(); a job that is cancelled before it begins has ended() only.
    """

    def began(self, activity: Activity) -> None:
        """A job or a request begins."""
        ...

    def sized(self, activity: Activity, size_bytes: int) -> None:
        """The size of the object, or of the range, is known: before an upload, or after the head of a response."""
        ...

    def moved(self, activity: Activity, size_bytes: int) -> None:
        """Bytes of an object were sent or received; a negative number takes back bytes that must be transferred again.

        After a successful transfer, the numbers of all its requests add up to the size of the object.
        """
        ...

    def retried(self, activity: Activity, error: Exception) -> None:
        """A request is sent again, after the wait, because its last attempt failed with `error`."""
        ...

    def throttled(self, activity: Activity) -> None:
        """The store refused one attempt at a request because of the rate of requests."""
        ...

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        """A job or a request has ended: with success (None), or with an error."""
        ...


def report(event: Callable[[*Ts], None], *arguments: *Ts) -> None:
    """Call a method of an observer, and log its errors."""
    try:
        event(*arguments)
    except Exception:
        log.exception('an observer failed')


class Progress(Observer):
    """An observer that calls a function with the numbers of bytes that were transferred."""

    def __init__(self, moved: Callable[[int], object], *, is_confirmed: bool = False) -> None:
        """
        Args:
            moved: Called with each number; a negative one takes back bytes that must be transferred again.
            is_confirmed: Count the bytes of a request when it has succeeded. No number is negative then.
        """
        self._moved = moved
        self._is_confirmed = is_confirmed
        self._open = collections.Counter[Activity]()

    def began(self, activity: Activity) -> None:
        pass

    def sized(self, activity: Activity, size_bytes: int) -> None:
        pass

    def moved(self, activity: Activity, size_bytes: int) -> None:
        if self._is_confirmed:
            self._open[activity] += size_bytes
        else:
            self._moved(size_bytes)

    def retried(self, activity: Activity, error: Exception) -> None:
        pass

    def throttled(self, activity: Activity) -> None:
        pass

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        if (size_bytes := self._open.pop(activity, 0)) and error is None:
            self._moved(size_bytes)


class _Both:
    """Reports each event to two observers."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._observers = first, second

    def began(self, activity: Activity) -> None:
        for each in self._observers:
            report(each.began, activity)

    def sized(self, activity: Activity, size_bytes: int) -> None:
        for each in self._observers:
            report(each.sized, activity, size_bytes)

    def moved(self, activity: Activity, size_bytes: int) -> None:
        for each in self._observers:
            report(each.moved, activity, size_bytes)

    def retried(self, activity: Activity, error: Exception) -> None:
        for each in self._observers:
            report(each.retried, activity, error)

    def throttled(self, activity: Activity) -> None:
        for each in self._observers:
            report(each.throttled, activity)

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        for each in self._observers:
            report(each.ended, activity, error)


def combined(first: Observer | None, second: Observer | None) -> Observer | None:
    """An observer that reports to both; None if there is neither."""
    return _Both(first, second) if first is not None and second is not None else second if first is None else first
