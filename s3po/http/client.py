"""All pools of one hub."""

from __future__ import annotations

import functools
import ssl
import weakref
from collections.abc import Iterable
from dataclasses import dataclass

from s3po.errors import ConfigurationError
from s3po.governor import Pace
from s3po.http.connecting import Origin, OriginOpener, TLSOptions, make_context
from s3po.http.outbox import Outbox
from s3po.http.pool import Pool
from s3po.http.watchdog import SPEED_WINDOW_S, Watchdog
from s3po.runtime import give_up_idle, patiently

__all__ = ['HTTPClient', 'Timeouts']


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for the network. math.inf means without a limit.

    Attributes:
        connect_timeout_s: How long opening a connection may take.
        read_timeout_s: How long the other side may neither send nor accept any bytes; also how long a head may take from its
        first byte to its last.
        min_bytes_per_s: A body that is slower is given up; 0 for no limit.
    """

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    min_bytes_per_s: float = 0.0


class HTTPClient:
    """Makes pools, which share a watchdog and a TLS context. Belongs to one hub."""

    def __init__(
        self,
        timeouts: Timeouts,
        tls: TLSOptions,
        *,
        speed_window_s: float = SPEED_WINDOW_S,
        pace: Pace | None = None,
    ) -> None:
        """
        Args:
            timeouts: How long to wait.
            tls: Which certificates to trust and to show.
            speed_window_s: Over how much waiting for the network the speed of a body is measured.
            pace: Limits the bytes per second, in both directions together; None for no limit.
        """
        self._pace = pace
        self._connect_timeout_s = timeouts.connect_timeout_s
        self._pools: dict[Origin, Pool] = {}
        # The same pools, weakly, for the watchdog, which must not keep them alive.
        self._open_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self._outbox = Outbox()
        self._watchdog = Watchdog(
            timeouts.read_timeout_s,
            timeouts.min_bytes_per_s,
            speed_window_s=speed_window_s,
            on_round=functools.partial(_close_idle, self._open_pools),
        )
        self._context = functools.cache(functools.partial(_context, tls))
        give_up_idle(self)

    def __repr__(self) -> str:
        return f'<HTTPClient {list(self._pools.values())}>'

    def pool(self, origin: Origin) -> Pool:
        """The connections to an origin."""
        pool = self._pools.get(origin)
        if pool is None:
            opener = OriginOpener(
                origin,
                connect_timeout_s=self._connect_timeout_s,
                context=self._context,
                on_open=self._watchdog.watch,
                pace=self._pace,
            )
            pool = self._pools[origin] = Pool(opener, self._outbox)
            self._open_pools.add(pool)
        return pool

    def close(self) -> None:
        """Close the idle connections."""
        for pool in self._pools.values():
            pool.close()
        # Now, because a native thread that ends never runs its timers again.
        self._watchdog.rest_if_unused()


def _close_idle(pools: Iterable[Pool]) -> None:
    for pool in pools:
        pool.close_idle()


def _context(options: TLSOptions) -> ssl.SSLContext:
    try:
        return patiently(make_context, options)
    except OSError as error:
        # ssl.SSLError is an OSError.
        raise ConfigurationError(f'verify, or a client certificate: {error}') from error
