"""The way to each bucket: its address, its connections and its signer. Kept per hub, so that a request needs one look-up."""

from __future__ import annotations

from typing import Final, Protocol

from s3po.credentials.keys import Keys
from s3po.endpoints.addressing import Place
from s3po.errors import ConfigurationError
from s3po.http import HTTPClient, Origin, Pool
from s3po.s3.sigv4 import Signer

__all__ = ['PlaceFinder', 'Route', 'Routes']

# How many routes are kept before all are dropped.
MAX_ROUTES: Final = 10_000


class PlaceFinder(Protocol):
    """Finds the place of a bucket; see endpoints.resolver.Places."""

    def find(self, bucket: str) -> Place:
        """The place of a bucket."""
        ...

    def relearn(self, bucket: str, region: str) -> Place:
        """The place of a bucket that is now known to be in that region; remembered."""
        ...


class Route:
    """The way to one bucket.

    Attributes:
        place: Address, region and service.
        path: The path in front of the key, escaped.
        host_header: The value of the header Host.
        pool: The connections.
        is_signed: Whether requests are signed, if there are keys.
        signs_bodies: Whether the data of uploads are part of the signature.
        guards_bodies: Whether the data of uploads are protected on the way, by TLS or by the signature.
    """

    __slots__ = ('_keys', '_signer', 'guards_bodies', 'host_header', 'is_signed', 'path', 'place', 'pool', 'signs_bodies')

    def __init__(self, place: Place, pool: Pool, payload_signing: str) -> None:
        """
        Args:
            place: Address, region and service.
            pool: The connections.
            payload_signing: 'signed', 'unsigned', or 'auto': signed where TLS does not protect it.
        """
        is_secure = place.scheme == 'https'
        self.place = place
        self.path = place.path
        self.host_header = place.host_header
        self.pool = pool
        self.is_signed = place.auth != 'none'
        self.signs_bodies = self.is_signed and (payload_signing == 'signed' or (payload_signing == 'auto' and not is_secure))
        self.guards_bodies = is_secure or self.signs_bodies
        self._keys: Keys | None = None
        self._signer: Signer | None = None

    def __repr__(self) -> str:
        return f'<Route to {self.endpoint}{self.path}>'

    @property
    def endpoint(self) -> str:
        """Scheme and host, for messages and URLs."""
        return f'{self.place.scheme}://{self.host_header}'

    def signer(self, keys: Keys) -> Signer:
        """The signer for these keys; the same one as long as the keys are the same object.

        Raises:
            ConfigurationError: The keys cannot stand in a header.
        """
        if keys is self._keys and self._signer is not None:
            return self._signer
        if not f'{keys.access_key_id}{keys.session_token}'.isprintable():
            # They may come from a file whose last line has an end.
            raise ConfigurationError('access_key_id and session_token must not have line ends or other control characters')
        place = self.place
        signer = Signer(keys.access_key_id, keys.secret_access_key, keys.session_token, place.region, place.service)
        self._keys, self._signer = keys, signer
        return signer


class Routes:
    """The routes of one hub, by bucket."""

    def __init__(self, places: PlaceFinder, client: HTTPClient, *, payload_signing: str = 'auto') -> None:
        """
        Args:
            places: Finds the places of buckets.
            client: Makes the connections.
            payload_signing: See Route.
        """
        self._places = places
        self._client = client
        self._payload_signing = payload_signing
        self._kept: dict[str, Route] = {}

    def __repr__(self) -> str:
        return f'<Routes to {len(self._kept)} buckets over {self._client!r}>'

    def find(self, bucket: str) -> Route:
        """The route to a bucket."""
        return self._kept.get(bucket) or self._keep(bucket, self._places.find(bucket))

    def move(self, bucket: str, region: str) -> Route:
        """The route to a bucket that is in this region, as a store's refusal says; the known route if it cannot be."""
        place, known = self._places.relearn(bucket, region), self.find(bucket)
        return known if place == known.place else self._keep(bucket, place)

    def close(self) -> None:
        """Drop all routes and close the idle connections."""
        self._kept.clear()
        self._client.close()

    def _keep(self, bucket: str, place: Place) -> Route:
        if len(self._kept) >= MAX_ROUTES:
            self._kept.clear()
        pool = self._client.pool(Origin(place.scheme, place.host, place.port, place.proxy))
        route = self._kept[bucket] = Route(place, pool, self._payload_signing)
        return route
