"""What to do about a call that blocks an event loop, as far as its stack tells."""

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
    'It waits natively, for a lock that another greenlet holds or for a device: use gevent.lock in place of '
    f"threading's locks, or {_ELSE}."
)

# By the package of the innermost frames. The first hit counts: each calls those below it.
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

# Under load, a thread that computes may get no more than this part of the time. One that waits computes nothing.
_COMPUTING: Final = 0.05


class CpuClock:
    """Tells, in any thread, how long the thread that made it has computed."""

    __slots__ = ('_clock',)

    def __init__(self) -> None:
        clock_of: Any = getattr(time, 'pthread_getcpuclockid', None)
        # Asked for in the thread itself: of one that has ended it must not be asked for.
        self._clock = None if clock_of is None else clock_of(monkey.get_original('_thread', 'get_ident')())

    def seconds(self) -> float:
        """Return the seconds up to now; 0.0 where the system does not tell."""
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)


def remedy(frame: types.FrameType, cpu_s: float, blocked_s: float) -> str:
    """Say what a blocked thread does, and what to do about it.

    Args:
        frame: Its innermost frame.
        cpu_s: How long it has computed meanwhile.
        blocked_s: For how long it has been blocked.
    """
    if cpu_s >= _COMPUTING * blocked_s:
        return _COMPUTES
    packages = (str(each.f_globals.get('__name__')).partition('.')[0] for each, _ in traceback.walk_stack(frame))
    innermost = set(itertools.takewhile(_BY_PACKAGE.__contains__, packages))
    return next((text for package, text in _BY_PACKAGE.items() if package in innermost), _WAITS)
