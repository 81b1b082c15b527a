"""Which transport a call gets, and how many requests may be in flight.

Everything that is bound to an event loop (connections, slots, locks) is kept per process and hub, so that one Connection can be
used by several native threads, and after a fork, without any of them touching what is another's.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

import gevent.lock

from s3po.config import TransferConfig
from s3po.errors import ConfigurationError
from s3po.governor import Governor
from s3po.runtime import PerHub
from s3po.transport import Transport
from s3po.transport.settings import ClientSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from s3po.transport.boto import BotoTransport

__all__ = ['Wiring']


class Wiring:
    """What stands behind a connection: made when it is first needed."""

    def __init__(self, settings: ClientSettings, config: TransferConfig, given: Transport | None) -> None:
        """
        Args:
            settings: What clients are made from.
            config: How many requests there may be.
            given: A transport of the caller's, used whatever else is set; None for our own.
        """
        self._settings = settings
        self._given = given
        self._lanes = PerHub(functools.partial(_Lane, config))

    def transport(self) -> Transport:
        """What to send requests with, now: while one of moto's mocks is active, something that only moto answers."""
        lane = self._lanes.get()
        if is_mocked():
            return self._mocked(lane)
        if self._given is not None:
            return self._given
        return lane.own or self._own(lane)

    def client(self) -> S3Client:
        """The boto3 client, now."""
        lane = self._lanes.get()
        if is_mocked():
            return self._mocked(lane).client
        return (lane.own or self._own(lane)).client

    def governor(self) -> Governor:
        """The bound over the requests of this thread."""
        return self._lanes.get().governor

    def close(self) -> None:
        """Close the kept connections of this thread."""
        lane = self._lanes.get()
        for transport in (lane.own, lane.mocked, self._given):
            if transport is not None:
                transport.close()
        lane.own = lane.mocked = None

    def _own(self, lane: _Lane) -> BotoTransport:
        from s3po.transport.boto import BotoTransport
        from s3po.transport.session import build_client

        # Making a client may ask the network for credentials; other greenlets wait here for that, not on a lock of botocore's.
        with lane.lock:
            if lane.own is None:
                lane.own = BotoTransport(build_client(self._settings))
            return lane.own

    def _mocked(self, lane: _Lane) -> BotoTransport:
        from s3po.transport.boto import BotoTransport
        from s3po.transport.session import build_mocked_client, find_region

        with lane.lock:
            if lane.mocked is None:
                lane.mocked = BotoTransport(build_mocked_client(find_region(self._settings)))
            return lane.mocked


class _Lane:
    """What belongs to one hub."""

    def __init__(self, config: TransferConfig) -> None:
        self.lock = gevent.lock.RLock()
        self.governor = Governor(config.max_concurrency, fixed=config.max_requests)
        self.own: BotoTransport | None = None
        self.mocked: BotoTransport | None = None


def is_mocked() -> bool:
    """Whether one of moto's mocks is active. Where boto3 was never imported, none can be."""
    models = sys.modules.get('moto.core.models')
    return models is not None and bool(models.botocore_stubber.enabled)


def check_kind(argument: str, value: object, kind: type) -> None:
    """Refuse what is not of the one class that an argument takes; None is always taken.

    Raises:
        ConfigurationError: It is of another class.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f'{argument} must be an s3po.{kind.__name__}, not {type(value).__name__}')


def transport_of(given: object) -> Transport | None:
    """What the argument `transport` means: None for our own.

    Raises:
        ConfigurationError: It is neither a known name nor a transport.
    """
    if given in ('auto', 'boto'):
        return None
    if isinstance(given, str) or not hasattr(given, 'put_object'):
        raise ConfigurationError(f"transport must be 'auto', 'boto' or an object with the methods of Transport, not {given!r}")
    return given  # type: ignore[return-value]  # checked as far as it can be: one of its methods is there
