"""Resolves buckets: host, path, region and signature of each. Sends no request.

If keys, region and endpoint are given, and nothing else changes addresses, `addressing` resolves the bucket and botocore is not
even imported. Otherwise a boto3 client prepares a HeadObject, which is stopped just before it is signed. At that moment
everything that decides is applied (regions, ARNs, accelerate, dual-stack, FIPS, the caller's event handlers), and credentials
are not fetched yet; for a directory bucket that would take a request.
"""

from __future__ import annotations

import contextvars
import functools
import math
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from s3po.config import __version__
from s3po.endpoints import addressing
from s3po.endpoints.addressing import CustomEndpoint, Place
from s3po.endpoints.settings import ClientSettings
from s3po.http import Timeouts, TLSOptions

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['SIGNER', 'HttpSettings', 'NotServable', 'Place', 'Places']

# How many buckets are kept before all are dropped. botocore takes about a millisecond to resolve one again.
MAX_PLACES: Final = 10_000

# The key of the prepared HeadObject: the end of its path, which is cut off.
_KEY: Final = 'k'
# A name for botocore's own signer. The boto transport uses it if botocore's usual one (s3v4) is awscrt's.
SIGNER: Final = 's3po-s3v4'
# Names of Signature Version 4.
_VERSION_4: Final = ('v4', 's3v4', SIGNER)

# The region that this greenlet resolves a bucket for ('' for the client's own); None in all other requests.
_asked_region: contextvars.ContextVar[str | None] = contextvars.ContextVar('s3po_asked_region', default=None)


class NotServable(Exception):
    """Requests for this bucket must be made by botocore.

    Attributes:
        reason: Why, for a log: 'it is signed with version 4a'.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How connections are made and requests are sent, for all buckets.

    Attributes:
        timeouts: How long to wait.
        tls: Which certificates to trust and to show.
        payload_signing: Whether bodies are part of the signature, as the caller's client_config or the configuration file has
            it; None if neither does.
        user_agent_extra: The end of the header User-Agent that the caller wants; '' for nothing.
    """

    timeouts: Timeouts
    tls: TLSOptions
    payload_signing: bool | None = None
    user_agent_extra: str = ''


class Places:
    """The places of a connection's buckets. Any greenlet and any native thread may use it.

    Environment and configuration files are read once, when the first bucket is resolved.
    """

    def __init__(self, settings: ClientSettings, client: Callable[[], S3Client]) -> None:
        """
        Args:
            settings: What clients are made from.
            client: Returns a client that is made from them, for buckets that only botocore can resolve.
        """
        self._settings = settings
        self._client = client
        self._places: dict[str, Place] = {}
        self._refused: dict[str, str] = {}
        self._http: HttpSettings | None = None
        self._proxies: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f'<Places: {len(self._places)} known, {len(self._refused)} not servable>'

    def find(self, bucket: str) -> Place:
        """The place of a bucket, or of the access point of an ARN. Blocks only to make the first client.

        Raises:
            NotServable: Its requests must be made by botocore.
            ConfigurationError: It cannot be addressed: the name is invalid, or the configuration contradicts itself.
            CredentialsError: The client could not be made without credentials.
        """
        place = self._places.get(bucket)
        return self._look_up(bucket) if place is None else place

    def relearn(self, bucket: str, region: str) -> Place:
        """The place of a bucket after a refusal that names another region; remembered from now on.

        As botocore's redirects: on AWS the host becomes that region's, at a custom endpoint only the signature changes, and
        access points stay in the region of their ARN. A request is worth sending again, once, if the place differs from the
        one that it was sent to.

        Args:
            bucket: The bucket.
            region: The region in the refusal; ignored if it is no valid region name.

        Raises:
            NotServable: As find().
            ConfigurationError: As find().
        """
        place = self.find(bucket)
        if place.region == region or bucket.startswith('arn:') or not addressing.is_region(region):
            return place
        moved = replace(place, region=region) if self._plain_place(bucket) else self._ask(self._client(), bucket, region)
        self._places[bucket] = moved
        return moved

    @property
    def http(self) -> HttpSettings:
        """How connections are made and requests are sent."""
        if self._http is None:
            settings = self._settings
            if self._endpoint is None:
                self._http = _http_settings_of(self._client(), settings.timeouts.min_bytes_per_s)
            else:
                assert settings.endpoint_url is not None
                verify = addressing.default_verify() if settings.verify is True else settings.verify
                settings.warn_of_risks(settings.endpoint_url, verify)
                self._http = HttpSettings(timeouts=settings.timeouts, tls=TLSOptions(verify=verify))
        return self._http

    @functools.cached_property
    def _endpoint(self) -> CustomEndpoint | None:
        """The endpoint, if addresses need no botocore; else None."""
        settings = self._settings
        given = (settings.client, settings.session, settings.profile, settings.client_config)
        if settings.endpoint_url is None or settings.region is None or any(each is not None for each in given):
            return None
        if settings.access_key_id is None and not settings.anonymous:
            return None
        if addressing.has_overrides():
            return None
        return CustomEndpoint.parse(settings.endpoint_url)

    def _look_up(self, bucket: str) -> Place:
        if bucket in self._refused:
            raise NotServable(self._refused[bucket])
        try:
            place = self._plain_place(bucket)
            if place is None:
                # Greenlets that begin together wait here for the first client; only the first of them resolves the bucket.
                client = self._client()
                place = self._places.get(bucket) or self._ask(client, bucket, '')
        except NotServable as error:
            _remember(self._refused, bucket, error.reason)
            raise
        _remember(self._places, bucket, place)
        return place

    def _plain_place(self, bucket: str) -> Place | None:
        """The place of a bucket, if that needs no botocore; else None."""
        settings = self._settings
        if self._endpoint is None:
            return None
        assert settings.endpoint_url is not None
        assert settings.region is not None
        is_virtual = settings.addressing_style == 'virtual'
        place = self._endpoint.place(bucket, settings.region, is_virtual=is_virtual, is_signed=not settings.anonymous)
        if place is None:
            return None
        if self._proxies is None:
            self._proxies = addressing.proxies_for(settings.endpoint_url)
        return _through_proxy(place, self._proxies)

    def _ask(self, client: S3Client, bucket: str, region: str) -> Place:
        if self._proxies is None:
            config: Any = client.meta.config
            # As botocore: once, for the endpoint and not for the bucket's host.
            self._proxies = addressing.proxies_for(client.meta.endpoint_url) if config.proxies is None else config.proxies
        return _through_proxy(_ask(client, bucket, region), self._proxies)


def _remember(known: dict[str, Any], bucket: str, value: object) -> None:
    if len(known) >= MAX_PLACES:
        known.clear()
    known[bucket] = value


def _through_proxy(place: Place, proxies: Mapping[str, str]) -> Place:
    """The place with its proxy, if there is one.

    Raises:
        NotServable: The proxy is not used with CONNECT over plain HTTP.
    """
    proxy = proxies.get(place.scheme)
    if not proxy:
        return place
    if place.scheme == 'http':
        raise NotServable('it is reached over http, through a proxy')
    if proxy.startswith('//') or '://' not in proxy:
        proxy = 'http://' + proxy.removeprefix('//')
    if not proxy.startswith('http://'):
        raise NotServable(f'the proxy requires {proxy.partition("://")[0]}')
    return replace(place, proxy=proxy)


def _http_settings_of(client: S3Client, min_bytes_per_s: float) -> HttpSettings:
    from s3po.endpoints.boto_client import verify_of

    config: Any = client.meta.config
    signing = (config.s3 or {}).get('payload_signing_enabled')
    extra = config.user_agent_extra or ''
    return HttpSettings(
        timeouts=Timeouts(
            # A botocore Config may have None: for ever.
            connect_timeout_s=config.connect_timeout or math.inf,
            read_timeout_s=config.read_timeout or math.inf,
            min_bytes_per_s=min_bytes_per_s,
        ),
        tls=TLSOptions(verify=verify_of(client), client_cert=config.client_cert),
        payload_signing=None if signing is None else bool(signing),
        user_agent_extra='' if extra == f's3po/{__version__}' else extra,
    )


class _Prepared(Exception):
    """Stops the prepared HeadObject and carries its request and signature."""

    def __init__(self, request: Any, signature: object, region: str, service: str) -> None:
        super().__init__()
        self.request = request
        self.signature = signature
        self.region = region
        self.service = service


def _ask(client: Any, bucket: str, region: str) -> Place:
    """The place to which botocore would send requests for a bucket, in a region or ('') in the client's own."""
    from s3po.endpoints.boto_errors import translated

    # Registered last, after the caller's handlers; with ids, so once for each client.
    client.meta.events.register_last('before-endpoint-resolution.s3', _set_region, unique_id='s3po-places-region')
    client.meta.events.register_last('before-sign.s3.HeadObject', _stop, unique_id='s3po-places-stop')
    token = _asked_region.set(region)
    try:
        with translated(f'addressing bucket {bucket!r}'):
            client.head_object(Bucket=bucket, Key=_KEY)
    except _Prepared as prepared:
        return _place_of(prepared)
    finally:
        _asked_region.reset(token)
    raise NotServable('a handler of the client responds instead of the store')


def _set_region(builtins: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-endpoint-resolution`: set the region of a prepared HeadObject, as botocore's redirects do."""
    region = _asked_region.get()
    if region:
        builtins['AWS::Region'] = region


def _stop(request: Any, signing_name: str, region_name: str, signature_version: object, **_: Any) -> None:
    """On botocore's `before-sign`: stop a prepared HeadObject, but no other request."""
    if _asked_region.get() is None:
        return
    signing = request.context.get('signing', {})
    region, service = signing.get('region') or region_name, signing.get('signing_name') or signing_name
    raise _Prepared(request, signature_version, region, service)


def _place_of(prepared: _Prepared) -> Place:
    from botocore import UNSIGNED

    parts = urllib.parse.urlsplit(prepared.request.url)
    if parts.hostname is None or parts.netloc.find('[') > 0:
        raise NotServable(f'{parts.netloc!r} is not a host')
    is_signed = prepared.signature is not UNSIGNED
    if is_signed:
        _check_signature(prepared)
    port = addressing.DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return Place(
        scheme=parts.scheme,
        # RFC 6874: the zone of an IPv6 address is escaped in a URL.
        host=urllib.parse.unquote(parts.hostname),
        port=port,
        host_header=addressing.host_header(parts.scheme, parts.hostname, port),
        # botocore inserts the path of an endpoint unescaped, unless a bucket follows it.
        path=urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~").removesuffix(_KEY),
        region=prepared.region,
        service=prepared.service,
        auth='v4' if is_signed else 'none',
    )


def _check_signature(prepared: _Prepared) -> None:
    """Refuse another signature than version 4.

    If none of the endpoint's schemes is the client's, botocore signs with version 4 all the same, and the store refuses that
    (multi-region access points, directory buckets). So the schemes are checked too.

    Raises:
        NotServable: The bucket needs another signature.
    """
    schemes = [scheme['name'] for scheme in prepared.request.context.get('endpoint_properties', {}).get('authSchemes', ())]
    if prepared.signature not in _VERSION_4:
        raise NotServable(f'it is signed with {prepared.signature}')
    if schemes and 'sigv4' not in schemes:
        raise NotServable(f'it is signed with {" or ".join(schemes)}')
