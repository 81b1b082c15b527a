"""Advice about a call that blocks an event loop, derived from its stack."""

import itertools
import time
import traceback
import types
from typing import Any, Final

from gevent import monkey

__all__ = ['CpuClock', 'remedy']

_POOL: Final = 'gevent.get_hub().threadpool.apply(function, args)'
_ELSE: Final = f'run it by {_POOL}; or start the program with S3PO_PATCH=all'

_COMPUTES: Final = f'It computes: call gevent.sleep(0) now and then, or run it by {_POOL}.'
_WAITS: Final = (
    'It waits natively, for a lock that another greenlet holds or for a device: use gevent.lock instead of '
    f"threading's locks, or {_ELSE}."
)

# By the package of the innermost frames, from callers to callees; the first match counts.
_BY_PACKAGE: Final = {
    's3transfer': f"It waits for boto3's transfer threads: use upload_file and download_file of s3po, or {_ELSE}.",
    'subprocess': f'It waits for a process: {_ELSE}.',
    'multiprocessing': f'It waits for a process: {_ELSE}.',
    'concurrent': f'It waits for a future of another thread: {_ELSE}.',
    'queue': f'It waits for a queue: use gevent.queue between greenlets, or {_ELSE}.',
    'asyncio': 'It is in asyncio, which runs no greenlets: open the batch and wait for it in one asyncio.to_thread().',
    'threading': f"It waits for another thread: use gevent's locks and events between greenlets, or {_ELSE}.",
    'selectors': _WAITS,
}

# Minimal share of CPU time of a thread that computes: under load it may get little. A thread that waits uses none.
_COMPUTING: Final = 0.05


class CpuClock:
    """Measures, in any thread, the CPU time of the thread that created it."""

    __slots__ = ('_clock',)

    def __init__(self) -> None:
        clock_of: Any = getattr(time, 'pthread_getcpuclockid', None)
        # Created in the thread itself: for a thread that has ended, the call is undefined.
        self._clock = None if clock_of is None else clock_of(monkey.get_original('_thread', 'get_ident')())

    def seconds(self) -> float:
        """Return the CPU seconds so far; 0.0 if the system has no such clock."""
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)


def remedy(frame: types.FrameType, cpu_s: float, blocked_s: float) -> str:
    """Describe what a blocked thread does, and what to do about it.

    Args:
        frame: Its innermost frame.
        cpu_s: Its CPU time during the block, in seconds.
        blocked_s: The duration of the block, in seconds.
    """
    if cpu_s >= _COMPUTING * blocked_s:
        return _COMPUTES
    packages = (str(each.f_globals.get('__name__')).partition('.')[0] for each, _ in traceback.walk_stack(frame))
    innermost = set(itertools.takewhile(_BY_PACKAGE.__contains__, packages))
    return next((text for package, text in _BY_PACKAGE.items() if package in innermost), _WAITS)
