"""Where buckets are, and how they are spoken to there: what a transport of our own has to know, and botocore would tell.

What may live here: questions to botocore about one bucket, and their answers, kept. Where keys, region and an endpoint are
given and nothing else has a say, botocore is not even imported (`addressing` tells the answer). Nothing here sends a request.

How botocore is asked: its client is made to prepare a HeadObject, and is stopped when the request is about to be signed. By
then all that decides (regions, ARNs, accelerate, dual-stack, FIPS, the caller's event handlers) has had its say, and
credentials have not yet been asked for; for a directory bucket that would take a request of its own.
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
from s3po.endpoints.addressing import (
    DEFAULT_PORTS,
    CustomEndpoint,
    Place,
    default_verify,
    has_overrides,
    host_header,
    is_region,
    proxies_for,
)
from s3po.endpoints.settings import ClientSettings
from s3po.http import Timeouts, TLSOptions

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ['SIGNER', 'HttpSettings', 'NotServable', 'Place', 'Places']

# How many buckets are remembered before all are forgotten, which costs one question to botocore each, about a millisecond.
MAX_PLACES: Final = 10_000

# The key that is asked for; it ends the path, and is cut off.
_KEY: Final = 'k'
# botocore's name for its own signer, which the boto transport uses where botocore's usual one (s3v4) is awscrt's.
SIGNER: Final = 's3po-s3v4'
# The signatures that are the same as version 4's.
_VERSION_4: Final = ('v4', 's3v4', SIGNER)

# The region that this greenlet asks about, while it asks ('' for the client's own); None for everybody else's requests.
_asked_region: contextvars.ContextVar[str | None] = contextvars.ContextVar('s3po_asked_region', default=None)


class NotServable(Exception):
    """Requests for a bucket cannot be made without botocore; what must go through it says why.

    Attributes:
        reason: Why, for a log: 'it is signed with version 4a'.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How connections are made and requests are sent, to whatever bucket.

    Attributes:
        timeouts: How long to wait.
        tls: Which certificates to trust and to show.
        payload_signing: Whether bodies are part of the signature, where the caller's client_config or the configuration file
            says so; None where neither does.
        user_agent_extra: What the caller wants at the end of the header User-Agent; '' for nothing.
    """

    timeouts: Timeouts
    tls: TLSOptions
    payload_signing: bool | None = None
    user_agent_extra: str = ''


class Places:
    """Where the buckets of a connection are. May be used by any greenlet and any native thread.

    Environment and configuration files are looked at when the first question is asked, and then no more.
    """

    def __init__(self, settings: ClientSettings, client: Callable[[], S3Client]) -> None:
        """
        Args:
            settings: What clients are made from.
            client: Gives a client that is made from them, for the questions that only botocore answers.
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
        """Where a bucket (or the access point of an ARN) is. Blocks only to make the first client.

        Raises:
            NotServable: Its requests must be made by botocore.
            ConfigurationError: It cannot be addressed: the name is of no use, or the configuration contradicts itself.
            CredentialsError: The client could not be made without credentials.
        """
        place = self._places.get(bucket)
        return self._look_up(bucket) if place is None else place

    def relearn(self, bucket: str, region: str) -> Place:
        """Where a bucket is that the store says to be in another region; remembered from now on.

        As botocore's redirects: on AWS the host becomes that region's; at an endpoint of one's own only the signature changes;
        access points stay where their ARN says. The request is worth a second try, once, where the place differs from the one
        that it was sent to.

        Args:
            bucket: The bucket.
            region: What the store said, as it said it; ignored where that cannot be a region.

        Raises:
            NotServable: As find().
            ConfigurationError: As find().
        """
        place = self.find(bucket)
        if place.region == region or bucket.startswith('arn:') or not is_region(region):
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
                verify = default_verify() if settings.verify is True else settings.verify
                settings.warn_of_risks(settings.endpoint_url, verify)
                self._http = HttpSettings(timeouts=settings.timeouts, tls=TLSOptions(verify=verify))
        return self._http

    @functools.cached_property
    def _endpoint(self) -> CustomEndpoint | None:
        """The endpoint, where addresses can be told without botocore."""
        settings = self._settings
        given = (settings.client, settings.session, settings.profile, settings.client_config)
        if settings.endpoint_url is None or settings.region is None or any(each is not None for each in given):
            return None
        if settings.access_key_id is None and not settings.anonymous:
            return None
        if has_overrides():
            return None
        return CustomEndpoint.parse(settings.endpoint_url)

    def _look_up(self, bucket: str) -> Place:
        if bucket in self._refused:
            raise NotServable(self._refused[bucket])
        try:
            place = self._plain_place(bucket)
            if place is None:
                # All that begin together wait here for the first client, and only the first of them has to ask it.
                client = self._client()
                place = self._places.get(bucket) or self._ask(client, bucket, '')
        except NotServable as error:
            _remember(self._refused, bucket, error.reason)
            raise
        _remember(self._places, bucket, place)
        return place

    def _plain_place(self, bucket: str) -> Place | None:
        """Where a bucket is, where that can be told without botocore."""
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
            self._proxies = proxies_for(settings.endpoint_url)
        return _through_proxy(place, self._proxies)

    def _ask(self, client: S3Client, bucket: str, region: str) -> Place:
        if self._proxies is None:
            config: Any = client.meta.config
            # As botocore does, which asks once, for the endpoint and not for the bucket's host.
            self._proxies = proxies_for(client.meta.endpoint_url) if config.proxies is None else config.proxies
        return _through_proxy(_ask(client, bucket, region), self._proxies)


def _remember(known: dict[str, Any], bucket: str, value: object) -> None:
    if len(known) >= MAX_PLACES:
        known.clear()
    known[bucket] = value


def _through_proxy(place: Place, proxies: Mapping[str, str]) -> Place:
    """A place with the proxy for it, if any.

    Raises:
        NotServable: It is not reached with CONNECT over plain HTTP.
    """
    proxy = proxies.get(place.scheme)
    if not proxy:
        return place
    if place.scheme == 'http':
        raise NotServable('it is reached over http, through a proxy')
    if proxy.startswith('//') or '://' not in proxy:
        proxy = 'http://' + proxy.removeprefix('//')
    if not proxy.startswith('http://'):
        raise NotServable(f'the proxy is spoken to by {proxy.partition("://")[0]}')
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
    """Stops the request that is asked with, and carries what has become of it."""

    def __init__(self, request: Any, signature: object, region: str, service: str) -> None:
        super().__init__()
        self.request = request
        self.signature = signature
        self.region = region
        self.service = service


def _ask(client: Any, bucket: str, region: str) -> Place:
    """Where botocore would send requests for a bucket: in a region, or with '' in the client's own."""
    from s3po.endpoints.boto_errors import translated

    # Registered last, so that what the caller's handlers change is seen; with ids, so once for each client.
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
    raise NotServable('a handler of the client answers in the place of the store')


def _set_region(builtins: dict[str, Any], **_: Any) -> None:
    """On botocore's `before-endpoint-resolution`: what its own redirects do, for our question only."""
    region = _asked_region.get()
    if region:
        builtins['AWS::Region'] = region


def _stop(request: Any, signing_name: str, region_name: str, signature_version: object, **_: Any) -> None:
    """On botocore's `before-sign`: stop our question; let every other request pass."""
    if _asked_region.get() is None:
        return
    signing = request.context.get('signing', {})
    region, service = signing.get('region') or region_name, signing.get('signing_name') or signing_name
    raise _Prepared(request, signature_version, region, service)


def _place_of(prepared: _Prepared) -> Place:
    from botocore import UNSIGNED

    parts = urllib.parse.urlsplit(prepared.request.url)
    if parts.hostname is None or parts.netloc.find('[') > 0:
        raise NotServable(f'{parts.netloc!r} is no host')
    is_signed = prepared.signature is not UNSIGNED
    if is_signed:
        _check_signature(prepared)
    port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    return Place(
        scheme=parts.scheme,
        # RFC 6874: the zone of an IPv6 address stands escaped in a URL.
        host=urllib.parse.unquote(parts.hostname),
        port=port,
        host_header=host_header(parts.scheme, parts.hostname, port),
        # The path of an endpoint is put in as it was given, except where a bucket follows it.
        path=urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~").removesuffix(_KEY),
        region=prepared.region,
        service=prepared.service,
        auth='v4' if is_signed else 'none',
    )


def _check_signature(prepared: _Prepared) -> None:
    """Refuse what is signed in another way.

    Where none of the endpoint's schemes is the one that the client was made with, botocore signs as it always does, and the
    store refuses that (multi-region access points, directory buckets). So the schemes count too.

    Raises:
        NotServable: It is.
    """
    schemes = [scheme['name'] for scheme in prepared.request.context.get('endpoint_properties', {}).get('authSchemes', ())]
    if prepared.signature not in _VERSION_4:
        raise NotServable(f'it is signed with {prepared.signature}')
    if schemes and 'sigv4' not in schemes:
        raise NotServable(f'it is signed with {" or ".join(schemes)}')
