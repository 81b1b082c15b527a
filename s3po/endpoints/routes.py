"""The way to each bucket: its address, its connections and its signer. Kept per hub, so that a request needs one look-up."""

from __future__ import annotations

from typing import Final

from s3po.credentials.keys import Keys
from s3po.endpoints.addressing import Place
from s3po.endpoints.resolver import Places
from s3po.errors import ConfigurationError
from s3po.http import HTTPClient, Origin, Pool
from s3po.s3.sigv4 import Signer

__all__ = ['Route', 'Routes']

# How many routes are kept before all are dropped.
MAX_ROUTES: Final = 10_000


class Route:
    """The way to one bucket.

    Attributes:
        place: Address, region and service.
        path: The path in front of the key, escaped.
        host_header: The value of the header Host.
        pool: The connections.
        is_signed: Whether requests are signed, if there are keys.
        keys: The keys of the signer.
        signer: The signer; None before sign_with().
        signs_bodies: Whether the data of uploads are part of the signature.
        guards_bodies: Whether the data of uploads are protected on the way, by TLS or by the signature.
    """

    __slots__ = ('guards_bodies', 'host_header', 'is_signed', 'keys', 'path', 'place', 'pool', 'signer', 'signs_bodies')

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
        self.keys: Keys | None = None
        self.signer: Signer | None = None

    def __repr__(self) -> str:
        return f'<Route to {self.endpoint}{self.path}>'

    @property
    def endpoint(self) -> str:
        """Scheme and host, for messages and URLs."""
        return f'{self.place.scheme}://{self.host_header}'

    def sign_with(self, keys: Keys) -> Signer:
        """The signer for these keys; the same one for as long as the source returns the same object.

        Raises:
            ConfigurationError: The keys contain characters that a header cannot.
        """
        if keys is self.keys and self.signer is not None:
            return self.signer
        if not f'{keys.access_key_id}{keys.session_token}'.isprintable():
            # They may have been read from a file together with the end of its line.
            raise ConfigurationError('access_key_id and session_token must not have line ends or other control characters')
        place = self.place
        signer = Signer(keys.access_key_id, keys.secret_access_key, keys.session_token, place.region, place.service)
        self.keys, self.signer = keys, signer
        return signer


class Routes(dict[str, Route]):
    """The routes of one hub, by bucket. It resolves a missing bucket, and costs no Python call for the others."""

    def __init__(self, places: Places, client: HTTPClient, *, payload_signing: str = 'auto') -> None:
        """
        Args:
            places: Finds the places of buckets.
            client: Makes the connections.
            payload_signing: See Route.
        """
        self._places = places
        self._client = client
        self._payload_signing = payload_signing

    def __repr__(self) -> str:
        return f'<Routes to {len(self)} buckets over {self._client!r}>'

    def __missing__(self, bucket: str) -> Route:
        return self._keep(bucket, self._places.find(bucket))

    def move(self, bucket: str, region: str) -> Route:
        """The route to a bucket in the region that the store's refusal names; the known route if the region cannot be used."""
        place, known = self._places.relearn(bucket, region), self[bucket]
        return known if place == known.place else self._keep(bucket, place)

    def close(self) -> None:
        """Drop all routes and close the idle connections."""
        self.clear()
        self._client.close()

    def _keep(self, bucket: str, place: Place) -> Route:
        if len(self) >= MAX_ROUTES:
            self.clear()
        pool = self._client.pool(Origin(place.scheme, place.host, place.port, place.proxy))
        route = self[bucket] = Route(place, pool, self._payload_signing)
        return route
