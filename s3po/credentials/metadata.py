"""Temporary keys from the metadata service of a machine or container."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final, Self

import gevent
import gevent.lock

from s3po.credentials.base import Credentials, Packed
from s3po.credentials.keys import Keys
from s3po.credentials.services import ask_service
from s3po.errors import CredentialsError
from s3po.runtime import PerHub, under_way
from s3po.runtime.hubs import is_own_hub

__all__ = ['Done', 'MetadataCredentials']

log = logging.getLogger(__name__)

# How long before their end keys are replaced: before botocore would, which begins a quarter of an hour ahead.
AHEAD_S: Final = 20 * 60
# The wait after the service returned the same keys again, or none.
AGAIN_S: Final = 60
# How long other greenlets get the error of a failed request, instead of sending a request each.
SHARED_S: Final = 1.0


class Done:
    """The result of start() and stop(): awaiting it returns at once."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class MetadataCredentials(Credentials):
    """Keys from EC2's metadata service, or from the service that a container's environment names.

    A Connection gets them when it needs them, and again before they expire, without start(). start() gets them at once, so that
    errors appear early, and starts a greenlet that replaces the keys ahead of time. After a fork only the parent has that
    greenlet; the child may call start() itself.

    Connections, greenlets and native threads may share it.
    """

    __slots__ = ('_failure', '_keys', '_locks', '_refresher')

    def __init__(self, region: str | None = None) -> None:
        """
        Args:
            region: The region of the keys; None if it is found elsewhere.
        """
        super().__init__(region)
        self._keys: Keys | None = None
        self._failure: tuple[float, str] | None = None
        self._locks = PerHub(gevent.lock.RLock)
        self._refresher: _Refresher | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def __reduce__(self) -> tuple[Any, ...]:  # type: ignore[override]  # no keys travel
        return MetadataCredentials, (self.region,)

    @property
    def can_refresh(self) -> bool:
        """True: the service returns new keys when they are needed."""
        return True

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        return 'no request was sent to the metadata service; call start()'

    def start(self) -> Done:
        """Get keys now, and replace them ahead of time from now on. Does nothing if this is already running.

        Blocks for at most two seconds.

        Returns:
            An awaitable that returns at once.

        Raises:
            CredentialsError: The service returned no keys; nothing was started.
        """
        with self._locks.get():
            if self._refresher is None or not self._refresher.is_running:
                self._failure = None
                self.issue(self._keys)
                self._refresher = _Refresher(self)
        return Done()

    def stop(self) -> Done:
        """Stop the replacement of keys and drop them. Does nothing if start() was not called.

        Returns:
            An awaitable that returns at once.
        """
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            refresher.stop()
            with self._locks.get():
                self._keys = None
        return Done()

    def keys(self) -> Keys | None:
        keys = self._keys
        return keys if keys is not None and keys.seconds_left() > 0 else None

    def issue(self, known: Keys | None) -> Keys:
        with self._locks.get():
            keys = self.keys()
            # Other greenlets wait for the lock, and then use the keys that this one got.
            return self._ask() if keys is None or keys == known else keys

    def _ask(self) -> Keys:
        if self._failure is not None and time.monotonic() - self._failure[0] < SHARED_S:
            raise CredentialsError(self._failure[1])
        try:
            self._keys = ask_service()
        except CredentialsError as error:
            self._failure = time.monotonic(), str(error)
            raise
        self._failure = None
        return self._keys

    def packed(self) -> Packed:
        """No keys: they are fetched where the pickle is loaded."""
        return Packed(MetadataCredentials, region=self.region)


class _Refresher:
    """The greenlet that replaces keys ahead of time. It keeps neither the credentials nor the event loop alive."""

    def __init__(self, owner: MetadataCredentials) -> None:
        self._owner = weakref.ref(owner)
        self._process = os.getpid()
        self._is_stopped = False
        self._hub = gevent.get_hub()
        self._greenlet = gevent.spawn(self._run, pause_s(owner.keys()))

    @property
    def is_running(self) -> bool:
        """Whether it runs in this process. A forked child has none, or a copy that ends on its own."""
        return self._process == os.getpid() and not self._is_stopped and not self._greenlet.dead

    def stop(self) -> None:
        """Stop it; from another native thread, before its next request."""
        self._is_stopped = True
        if self._process == os.getpid() and is_own_hub(self._hub):
            self._greenlet.kill(block=False)

    def _run(self, pause: float) -> None:
        while True:
            gevent.sleep(pause, ref=False)
            owner = self._owner()
            if owner is None or not self.is_running:
                return
            pause = _refreshed(owner)
            del owner


def pause_s(keys: Keys | None) -> float:
    """The wait before these keys are replaced, in seconds."""
    left = 0.0 if keys is None else keys.seconds_left()
    return max(left - AHEAD_S, min(AGAIN_S, left / 2), 1.0)


def _refreshed(owner: MetadataCredentials) -> float:
    """Replace the keys. Returns the wait before the next replacement, in seconds."""
    try:
        with under_way():
            return pause_s(owner.issue(owner.keys()))
    except CredentialsError as error:
        pause = min(pause_s(owner.keys()), AGAIN_S)
        log.warning('the keys could not be replaced ahead of time; retrying in %.0f s: %s', pause, error)
        return pause
