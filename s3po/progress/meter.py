"""Counts what has been transferred, and calls a function with it, at most ten times a second.

Transfers only add numbers. A greenlet of the meter calls the function, so that a slow one does not delay transfers. The
greenlet ends when nothing happens any more, and begins again with the next byte, so that nothing is left of a meter that is not
closed.

Invariant: the function cannot harm a transfer. It runs in a greenlet of its own, its errors are logged once, and at the end it
is waited for only shortly.
"""

from __future__ import annotations

import collections
import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final, Self

import gevent
import gevent.event

from s3po.errors import ConfigurationError
from s3po.jobs.options import ProgressOption
from s3po.model import ProgressEvent
from s3po.observer import Activity, Observer, Progress
from s3po.progress.displays import display
from s3po.runtime import Task, process, spawn

__all__ = ['Meter', 'Reading', 'Tally', 'check_progress', 'is_wanted', 'metered']

log = logging.getLogger(__name__)

# The time between two events.
EVERY_S: Final = 0.1
# Events without any change, for the rate and the remaining time, and the end of the greenlet after the last change.
UNCHANGED_EVERY_S: Final = 1.0
# The rate is that of the last seconds.
RATE_S: Final = 5.0
# How long close() waits for the function.
CLOSE_S: Final = 0.2


def check_progress(progress: object) -> None:
    """Check an argument `progress`.

    Raises:
        ConfigurationError: It is neither a function nor True, False or None.
    """
    if inspect.iscoroutinefunction(progress) or inspect.iscoroutinefunction(getattr(progress, '__call__', None)):  # noqa: B004
        raise ConfigurationError(
            f'progress must be a plain function, not a coroutine function, which nothing would await: {progress!r}'
        )
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ConfigurationError(
            f'progress must be True, or a function that takes a ProgressEvent, not {progress!r}; leave it out for no progress'
        )


def is_wanted(progress: ProgressOption) -> bool:
    """Whether there is progress to show. A function may be an object that is false, as a subclass of list is."""
    return progress is not None and progress is not False


@contextlib.contextmanager
def metered(progress: ProgressOption, width: Callable[[], int], size_bytes: int | None = None) -> Iterator[Tally]:
    """The tally of one transfer, which is the body of the `with` block.

    Args:
        progress: True or a function.
        width: Returns how many requests may be in flight.
        size_bytes: The size of the transfer; None if it is not known yet.
    """
    meter = Meter(progress, width)
    tally = meter.add(size_bytes)
    try:
        with tally:
            yield tally
    except BaseException:
        tally.end(has_failed=True)
        raise
    else:
        tally.end(has_failed=False)
    finally:
        meter.close()


class Meter:
    """Counts jobs and bytes for one function. Belongs to one native thread.

    Attributes:
        bytes_done: The bytes that were transferred.
        in_flight: The jobs whose transfer is running.
    """

    def __init__(self, progress: ProgressOption, width: Callable[[], int]) -> None:
        """
        Args:
            progress: True for a display, or the function.
            width: Returns how many requests may be in flight.

        Raises:
            ConfigurationError: `progress` is neither.
        """
        check_progress(progress)
        self._show: Callable[[ProgressEvent], object] = progress if callable(progress) else display()
        self._width = width
        self.bytes_done = self.in_flight = 0
        self._jobs_done = self._jobs_total = self._failed = 0
        # The sum of the known sizes, and the number of jobs without one.
        self._known_bytes = self._unknown = 0
        self._began_at: float | None = None
        self._samples: collections.deque[tuple[float, int, int]] = collections.deque()
        self._is_closing = gevent.event.Event()
        self._is_closed = self._has_ended = self._has_failed = False
        self._ticker: Task | None = None
        self._process = process.mark

    def add(self, size_bytes: int | None) -> Tally:
        """Count one more job.

        Args:
            size_bytes: Its size; None if it is not known yet.
        """
        if self._began_at is None:
            self._began_at = monotonic()
            self._samples.append((self._began_at, 0, 0))
        self._jobs_total += 1
        tally = Tally(self)
        self.count_size(None, size_bytes, is_new=True)
        tally.size_bytes = size_bytes
        self.change()
        return tally

    def change(self) -> None:
        """Start the greenlet that calls the function, if there is none."""
        ticker = self._ticker
        if (ticker is None or ticker.dead) and not self._is_closed:
            self._ticker = spawn(self._tick)

    def count_size(self, before: int | None, now: int | None, *, is_new: bool = False) -> None:
        """Change the size of a job from one number to another. None: it is not known."""
        if not is_new:
            self._unknown -= before is None
            self._known_bytes -= before or 0
        self._unknown += now is None
        self._known_bytes += now or 0

    def count_end(self, *, has_failed: bool) -> None:
        """Count the end of a job."""
        self._jobs_done += 1
        self._failed += has_failed
        self.change()

    def close(self) -> None:
        """Call the function with the last event. Further calls do nothing, also in a forked child."""
        if self._is_closed or self._process is not process.mark:
            return
        self._is_closed = True
        ticker = self._ticker
        if ticker is None or ticker.dead or ticker.hub is not gevent.get_hub():
            ticker = spawn(self._end)
        else:
            self._is_closing.set()
        if ticker is not gevent.getcurrent():
            ticker.join(CLOSE_S)

    def _tick(self) -> None:
        shown: tuple[int, ...] = ()
        shown_at = changed_at = monotonic()
        # Nothing was transferred since the last sample: the rate is not that of the time without this greenlet.
        self._samples.append((shown_at, *self._samples[-1][1:]))
        while not self._is_closing.wait(EVERY_S):
            now, numbers = monotonic(), self._numbers()
            if numbers != shown:
                changed_at = now
            elif now - shown_at < UNCHANGED_EVERY_S:
                continue
            elif not self.in_flight and now - changed_at >= UNCHANGED_EVERY_S:
                return
            shown, shown_at = numbers, now
            self.call()
        self._end()

    def _end(self) -> None:
        self.call(is_last=True)

    def _numbers(self) -> tuple[int, ...]:
        jobs = self._jobs_done, self._jobs_total, self._failed, self.in_flight
        return *jobs, self.bytes_done, self._known_bytes, self._unknown

    def call(self, *, is_last: bool = False) -> None:
        """Call the function with the present numbers; not after the last event, as the greenlet of another thread would."""
        if self._has_ended:
            return
        self._has_ended = is_last
        # The monitor reads its name in this variable.
        function = self._show
        try:
            function(self._event(is_last=is_last))
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            # A gevent.Timeout or asyncio.CancelledError is none of the transfer's.
            if not self._has_failed:
                self._has_failed = True
                log.exception('the progress function failed; the transfer continues, and further errors are not logged')

    def _event(self, *, is_last: bool) -> ProgressEvent:
        now = monotonic()
        seconds = 0.0 if self._began_at is None else now - self._began_at
        bytes_per_s, jobs_per_s = self._rates(now, seconds, is_last=is_last)
        bytes_total = None if self._unknown else self._known_bytes
        return ProgressEvent(
            jobs_done=self._jobs_done,
            jobs_total=self._jobs_total,
            bytes_done=self.bytes_done,
            bytes_total=bytes_total,
            failed=self._failed,
            in_flight=self.in_flight,
            width=self._width(),
            seconds=seconds,
            bytes_per_s=bytes_per_s,
            jobs_per_s=jobs_per_s,
            eta_s=_eta_s(
                None if bytes_total is None else bytes_total - self.bytes_done,
                self._jobs_total - self._jobs_done,
                bytes_per_s,
                jobs_per_s,
            ),
            is_last=is_last,
        )

    def _rates(self, now: float, seconds: float, *, is_last: bool) -> tuple[float, float]:
        """Bytes and jobs per second."""
        if is_last:
            return (self.bytes_done / seconds, self._jobs_done / seconds) if seconds else (0.0, 0.0)
        samples = self._samples
        samples.append((now, self.bytes_done, self._jobs_done))
        while len(samples) > 2 and samples[1][0] <= now - RATE_S:
            samples.popleft()
        (began_at, *before), (later_at, *later) = samples[0], samples[1]
        since = max(began_at, now - RATE_S)
        if now <= since:
            return 0.0, 0.0
        # After a pause the first sample is older than RATE_S. In between, the numbers are taken to grow evenly.
        share = (since - began_at) / (later_at - began_at) if later_at > began_at else 0.0
        bytes_before, jobs_before = (early + share * (late - early) for early, late in zip(before, later, strict=True))
        # Bytes that are taken back could make it negative.
        return max(0.0, self.bytes_done - bytes_before) / (now - since), (self._jobs_done - jobs_before) / (now - since)


class Tally(Observer):
    """Counts one job of a meter: the observer of its requests, and a context manager around its transfer.

    Attributes:
        size_bytes: Its size; None if it is not known yet.
    """

    __slots__ = ('_bytes', '_has_ended', '_is_running', '_meter', 'size_bytes')

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.size_bytes: int | None = None
        self._bytes = 0
        self._is_running = self._has_ended = False

    def __enter__(self) -> Self:
        self._is_running = True
        self._meter.in_flight += 1
        self._meter.change()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._is_running:
            self._is_running = False
            self._meter.in_flight -= 1
        if error is not None:
            # If the job is repeated, it begins at 0.
            self.move(-self._bytes)

    def began(self, activity: Activity) -> None:
        pass

    # Events that arrive after the transfer do not count: of parts that were cancelled, or messages of a worker process.

    def sized(self, activity: Activity, size_bytes: int) -> None:
        if self._is_running:
            self.resize(size_bytes)

    def moved(self, activity: Activity, size_bytes: int) -> None:
        if self._is_running:
            self.move(size_bytes)

    def retried(self, activity: Activity, error: Exception) -> None:
        pass

    def throttled(self, activity: Activity) -> None:
        pass

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        pass

    def settle(self, size_bytes: int) -> None:
        """Set the bytes of a transfer that has succeeded. Not all transfers report them: copies inside a store do not."""
        self.move(size_bytes - self._bytes)
        self.resize(size_bytes)

    def end(self, *, has_failed: bool) -> None:
        """Count the end of the job. Further calls do nothing."""
        if self._has_ended:
            return
        if has_failed:
            # Its bytes will not come, so they are not left to be transferred.
            self.resize(self._bytes)
        self._has_ended = True
        self._meter.count_end(has_failed=has_failed)

    def move(self, size_bytes: int) -> None:
        """Count bytes; a negative number takes them back."""
        if size_bytes and not self._has_ended:
            self._bytes += size_bytes
            self._meter.bytes_done += size_bytes
            self._meter.change()

    def move_above(self, size_bytes: int) -> None:
        """Count bytes of a file, some of which may be fetched several times: its size is at least what was fetched."""
        self.move(size_bytes)
        if self.size_bytes is not None:
            self.resize(max(self.size_bytes, self._bytes))

    def resize(self, size_bytes: int) -> None:
        """Set the size of the job."""
        if not self._has_ended and size_bytes != self.size_bytes:
            self._meter.count_size(self.size_bytes, size_bytes)
            self.size_bytes = size_bytes


class Reading:
    """The progress of a file that is read: it counts the bytes that were fetched. A context manager around the opening.

    Attributes:
        observer: The observer of its requests.
    """

    def __init__(self, progress: ProgressOption, width: Callable[[], int]) -> None:
        """
        Args:
            progress: True or a function.
            width: Returns how many requests may be in flight.
        """
        self._meter = Meter(progress, width)
        self._tally = self._meter.add(None)
        # Not the tally: its size would be that of each range.
        self.observer = Progress(self._tally.move_above)
        self.resize = self._tally.resize

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self.close(has_failed=True)

    def close(self, *, has_failed: bool = False) -> None:
        """Call the function with the last event. Further calls do nothing."""
        self._tally.end(has_failed=has_failed)
        self._meter.close()


def _eta_s(left_bytes: int | None, left_jobs: int, bytes_per_s: float, jobs_per_s: float) -> float | None:
    """The remaining time: of the bytes, if their number is known, else of the jobs; None if it is not known."""
    if not left_jobs:
        return 0.0
    if left_bytes and left_bytes > 0:
        return left_bytes / bytes_per_s if bytes_per_s else None
    return left_jobs / jobs_per_s if jobs_per_s else None
