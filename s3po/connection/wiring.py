"""Selects the transport of each call, and keeps the governor of its requests.

Everything that is bound to an event loop (connections, slots, locks) is kept per process and hub. So several native threads and
forked children can use one Connection.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import urllib.parse
from typing import TYPE_CHECKING, Final

import gevent.lock

from s3po import checksum
from s3po.config import LEAST_MEMORY_BYTES, TransferConfig
from s3po.credentials.keys import Keys
from s3po.endpoints.resolver import NotServable, Places
from s3po.endpoints.routes import Routes
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import FixedKeys, KeySource, fixed_keys, key_source
from s3po.errors import ConfigurationError
from s3po.governor import Governor, RequestLoad, Tokens
from s3po.http import HTTPClient
from s3po.memory import MemoryBudget
from s3po.runtime import PerHub
from s3po.s3 import Transport
from s3po.transport.wire import Requester, WireTransport

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from s3po.endpoints.boto_keys import BotoKeys
    from s3po.transport.boto import BotoTransport

__all__ = ['IncomingCopies', 'Wiring']

log = logging.getLogger(__name__)

KINDS: Final = ('auto', 'wire', 'boto')
# How many buckets' transports are kept before all are dropped.
MAX_BUCKETS: Final = 10_000
# The module of moto that knows whether a mock is active.
MOTO: Final = 'moto.core.models'


class Wiring:
    """Creates and keeps the transports and governors of a connection, each when it is first needed."""

    def __init__(self, settings: ClientSettings, config: TransferConfig, kind: str | Transport) -> None:
        """
        Args:
            settings: The settings of clients.
            config: Its `max_concurrency` and `max_requests` limit the governors, its `max_memory` the memory.
            kind: 'auto', 'wire', 'boto', or the caller's transport, which is used for all buckets.
        """
        self._settings = settings
        self._kind = kind if isinstance(kind, str) else 'given'
        self._given = None if isinstance(kind, str) else kind
        self._hubs = PerHub(
            functools.partial(_HubState, config, _rate(config.requests_per_s), _rate(config.bandwidth_bytes_per_s)),
            _HubState.close,
        )
        self._places = Places(settings, self._own_client)
        self._keys: FixedKeys | BotoKeys | None = fixed_keys(settings)
        # The buckets whose reason for boto3 was logged.
        self._logged: set[str] = set()

    def resolve(self, bucket: str) -> tuple[Transport, Governor]:
        """The transport for a bucket ('' for requests about all), and the governor of this thread. Called once per call.

        While a mock of moto is active, the transport is one for moto only.

        Raises:
            ConfigurationError: transport='wire', and it cannot serve the bucket.
        """
        state = self._hubs.get()
        if MOTO in sys.modules and is_mocked():
            return self._mocked(state), state.governor
        if self._given is not None:
            return self._given, state.governor
        return state.by_bucket.get(bucket) or self._choose(state, bucket), state.governor

    def presigner(self, bucket: str) -> BotoTransport | WireTransport:
        """The transport that makes a bucket's presigned URLs: that of its requests, or boto3 if that has no URLs.

        Raises:
            ConfigurationError: As for resolve().
        """
        state = self._hubs.get()
        if is_mocked():
            return self._mocked(state)
        if hasattr(self._given, 'presigned_url'):
            return self._given  # type: ignore[return-value]  # only the method that is used was checked
        return state.by_bucket.get(bucket) or self._choose(state, bucket)

    def requester(self, bucket: str) -> Requester:
        """Sends requests of the caller's own to a bucket.

        Raises:
            ConfigurationError: The bucket is not served by s3po's HTTP client, but by boto3, a mock or the caller's transport.
        """
        transport, _ = self.resolve(bucket)
        state = self._hubs.get()
        if state.requester is None or transport is not state.wire:
            raise ConfigurationError("this request needs s3po's HTTP client: neither a mock, nor transport='boto' can send it")
        return state.requester

    def signing(self) -> tuple[Keys | None, str]:
        """The current keys, None if requests are not signed; and the region, which is us-east-1 if none is set."""
        from s3po.endpoints.boto_client import find_region

        return self._key_source().current, find_region(self._settings) or 'us-east-1'

    def client(self) -> S3Client:
        """The boto3 client of this thread, or of the caller's transport; while a mock of moto is active, one for moto only."""
        if is_mocked():
            return self._mocked(self._hubs.get()).client
        return getattr(self._given, 'client', None) or self._own_client()

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the store, as far as it is known without a boto3 client: from the arguments or the environment."""
        settings = self._settings
        if settings.endpoint_url is not None or self._given is not None:
            return settings.endpoint_url
        if settings.client is not None:
            return _unless_aws(settings.client.meta.endpoint_url)
        return os.environ.get('AWS_ENDPOINT_URL_S3') or os.environ.get('AWS_ENDPOINT_URL')

    def find_endpoint(self) -> str | None:
        """The URL of the store; None for AWS, and for a transport of the caller's. May make a boto3 client, sends nothing."""
        if self._settings.endpoint_url is not None or self._given is not None or is_mocked():
            return self._settings.endpoint_url
        return _unless_aws(self._own_client().meta.endpoint_url)

    def key_source(self) -> KeySource:
        """The source of the keys. May make a boto3 client, and send requests for keys."""
        return self._key_source()

    def renew_credentials(self) -> None:
        """Read the keys again from their source, because the store rejects them. May send requests.

        Keys that can be refreshed are refreshed before the next request. Keys that were given as arguments stay as they are.

        Raises:
            CredentialsError: They cannot be read.
        """
        if is_mocked() or self._given is not None:
            return
        from s3po.endpoints.boto_client import find_credentials, keys_of_client

        settings = self._settings = self._settings.read_again()
        fixed = fixed_keys(settings)
        boto = self._hubs.get().boto
        for source in (self._keys, None if boto is None else keys_of_client(boto.client)):
            if isinstance(source, FixedKeys):
                source.renew(source.current if fixed is None else fixed.current)
            elif source is not None:
                source.renew(functools.partial(find_credentials, settings))

    def governor(self) -> Governor:
        """The governor of this thread's requests."""
        return self._hubs.get().governor

    def incoming(self) -> IncomingCopies:
        """The copies from other connections of this thread."""
        return self._hubs.get().incoming

    def memory(self) -> MemoryBudget:
        """The memory of this thread's transfers."""
        return self._hubs.get().memory

    def use_share(self, fraction: float) -> None:
        """Use only a fraction of the limits of requests, rates and memory, in this thread."""
        state = self._hubs.get()
        state.governor.share(fraction)
        state.memory.resize(max(LEAST_MEMORY_BYTES, round(state.whole_memory_bytes * fraction)))

    def loads(self) -> list[RequestLoad]:
        """The requests of each thread that has used the connection."""
        return [state.governor.load() for state in self._hubs.values()]

    def close(self) -> None:
        """Close the kept connections of this thread."""
        state = self._hubs.get()
        for transport in (state.boto, state.wire, state.mocked, self._given):
            if transport is not None:
                transport.close()
        state.boto = state.mocked = None
        state.by_bucket.clear()

    def _choose(self, state: _HubState, bucket: str) -> BotoTransport | WireTransport:
        """Choose the transport of a bucket, and keep the choice."""
        chosen: BotoTransport | WireTransport | None = None
        # Requests about all buckets go through boto3.
        if bucket and self._kind in ('auto', 'wire'):
            try:
                self._places.find(bucket)
                chosen = self._wire(state)
            except NotServable as error:
                self._leave_to_boto(bucket, error)
        if len(state.by_bucket) >= MAX_BUCKETS:
            state.by_bucket.clear()
        state.by_bucket[bucket] = chosen = chosen or self._boto(state)
        return chosen

    def _leave_to_boto(self, bucket: str, error: NotServable) -> None:
        if self._kind == 'wire':
            raise ConfigurationError(f"transport='wire' cannot serve bucket {bucket}: {error.reason}; use 'auto'") from error
        if bucket not in self._logged:
            self._logged.add(bucket)
            log.debug('requests for bucket %s go through boto3: %s', bucket, error.reason)

    def _own_client(self) -> S3Client:
        state = self._hubs.get()
        return (state.boto or self._boto(state)).client

    def _boto(self, state: _HubState) -> BotoTransport:
        from s3po.endpoints.boto_client import build_client
        from s3po.transport.boto import BotoTransport

        # Making a client may send requests for credentials. Other greenlets wait here, not on a lock of botocore.
        with state.lock:
            if state.boto is None:
                state.boto = BotoTransport(build_client(self._settings), state.governor.bandwidth)
            return state.boto

    def _wire(self, state: _HubState) -> WireTransport:
        settings = self._settings
        with state.lock:
            if state.wire is None:
                http = self._places.http
                signing = settings.payload_signing
                if signing == 'auto' and http.payload_signing is not None:
                    signing = 'signed' if http.payload_signing else 'unsigned'
                routes = Routes(
                    self._places, HTTPClient(http.timeouts, http.tls, pace=state.governor.bandwidth), payload_signing=signing
                )
                state.requester = Requester(routes, self._key_source(), user_agent=http.user_agent_extra)
                state.wire = WireTransport(state.requester)
            return state.wire

    def _key_source(self) -> FixedKeys | BotoKeys:
        if self._keys is None:
            self._keys = key_source(self._settings, self._own_client)
        return self._keys

    def _mocked(self, state: _HubState) -> BotoTransport:
        from s3po.endpoints.boto_client import build_mocked_client, find_region
        from s3po.transport.boto import BotoTransport

        with state.lock:
            if state.mocked is None:
                state.mocked = BotoTransport(build_mocked_client(find_region(self._settings)), state.governor.bandwidth)
            return state.mocked


class _HubState:
    """The transports and the governor of one hub."""

    def __init__(self, config: TransferConfig, requests: Tokens | None, bandwidth: Tokens | None) -> None:
        self.lock = gevent.lock.RLock()
        if config.checksum != 'none':
            checksum.load()
        self.governor = Governor(
            config.max_concurrency,
            fixed=config.max_requests,
            requests=requests,
            bandwidth=bandwidth,
            throttle_timeout_s=config.throttle_timeout_s,
        )
        self.incoming = IncomingCopies(self.governor)
        self.memory = MemoryBudget(config.max_memory)
        self.whole_memory_bytes = config.max_memory
        self.boto: BotoTransport | None = None
        self.wire: WireTransport | None = None
        self.requester: Requester | None = None
        self.mocked: BotoTransport | None = None
        # The transport of each bucket, while no mock is active.
        self.by_bucket: dict[str, BotoTransport | WireTransport] = {}

    def close(self) -> None:
        """Close the transports: the garbage collector closes their sockets too late, after the event loop has gone."""
        for transport in (self.boto, self.wire, self.mocked):
            if transport is not None:
                transport.close()


def _unless_aws(url: str) -> str | None:
    return None if (urllib.parse.urlsplit(url).hostname or '').endswith('.amazonaws.com') else url


def _rate(per_s: float | None) -> Tokens | None:
    return None if per_s is None else Tokens(per_s)


class IncomingCopies:
    """Widens a governor while copies from other connections run: their batches widen those connections only.

    Use it in a `with` around each copy. The width is raised when it is too small, and lowered when no copy runs.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._running = self._demanded = 0

    def __enter__(self) -> None:
        self._running += 1
        if self._running > max(self._demanded, self._governor.width):
            before, self._demanded = self._demanded, self._running
            self._governor.demand(self._demanded)
            if before:
                self._governor.release_demand(before)

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running and self._demanded:
            before, self._demanded = self._demanded, 0
            self._governor.release_demand(before)


def is_mocked() -> bool:
    """Whether a mock of moto is active. Does not import boto3 or moto."""
    models = sys.modules.get(MOTO)
    return models is not None and bool(models.botocore_stubber.enabled)


def check_kind(argument: str, value: object, kind: type) -> None:
    """Check that an argument is None or of its class.

    Raises:
        ConfigurationError: It is of another class.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f'{argument} must be an s3po.{kind.__name__}, not {type(value).__name__}')


def kind_of(given: object) -> str | Transport:
    """The checked argument `transport`: the name of a kind, or a transport.

    Raises:
        ConfigurationError: It is neither a known name nor a transport.
    """
    if isinstance(given, str) and given in KINDS:
        return given
    if isinstance(given, str) or not hasattr(given, 'put_object'):
        raise ConfigurationError(
            f"transport must be 'auto', 'wire', 'boto' or an object with the methods of Transport, not {given!r}"
        )
    return given  # type: ignore[return-value]  # only one of its methods was checked
