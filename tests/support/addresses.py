"""The addresses of buckets according to s3po and to botocore, in a form that can be compared."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Final

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from s3po.endpoints.boto_client import build_client
from s3po.endpoints.resolver import Place, Places
from s3po.endpoints.settings import ClientSettings
from s3po.errors import ConfigurationError
from tests.support.prepared import PreparedRequest, prepare

__all__ = [
    'CUSTOM',
    'ENDPOINTS',
    'KEYS',
    'PLAIN',
    'STYLES',
    'asking_places',
    'by_botocore',
    'by_places',
    'forget_environment',
    'no_client',
    'places',
    'plain_places',
    'sent',
    'told',
]

KEYS: Final[Any] = {'access_key_id': 'key', 'secret_access_key': 'secret'}
CUSTOM: Final[Any] = {'endpoint_url': 'http://127.0.0.1:9000', 'region': 'us-east-1', **KEYS}

ENDPOINTS: Final = [
    None,
    'http://127.0.0.1:9000',
    'http://localhost:9000',
    'http://[::1]:9000',
    'http://S3.Example.com:80',
    'https://s3.example.com',
    'https://s3.example.com:443/',
    'https://s3.example.com:8443/base/path',
]
STYLES: Final = ['auto', 'path', 'virtual']
PLAIN: Final = ['bucket', 'my.dotted.bucket', 'UPPER_case', 'ab', 'a..b', '1.2.3.4', '-bucket', 'b' * 64, 'bucket-s3']


def forget_environment(monkeypatch: pytest.MonkeyPatch, home: pathlib.Path) -> None:
    """Remove the user's settings that affect addresses, in addition to those that conftest removes."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy') or name == 'REQUESTS_CA_BUNDLE':
            monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', os.fspath(home))


def no_client() -> Any:
    """Replaces a client that must not be needed."""
    pytest.fail('botocore was asked')


def places(**given: Any) -> Places:
    """Places with a client that is made when it is needed."""
    settings = ClientSettings(**given)
    made: list[Any] = []

    def client() -> Any:
        if not made:
            made.append(build_client(settings))
        return made[0]

    return Places(settings, client)


def plain_places(**given: Any) -> Places:
    """Places that never use a client."""
    return Places(ClientSettings(**given), no_client)


def asking_places(**given: Any) -> Places:
    """Places that always use a client."""
    return places(**{'client_config': Config(), **given})


def told(place: Place, key: str = 'key') -> tuple[str, object]:
    """The URL of an object, and the scope of the request's signature."""
    assert place.auth in ('v4', 'none')
    scope = (place.region, place.service) if place.auth == 'v4' else None
    return f'{place.scheme}://{place.host_header}{place.path}{key}', scope


def sent(request: PreparedRequest) -> tuple[str, object]:
    """The same for a request of botocore's, with the host in lower case and without the default port of the scheme."""
    scheme, _, rest = request.url.partition('://')
    host, slash, path = rest.partition('/')
    host = host.lower().removesuffix(':80' if scheme == 'http' else ':443')
    return f'{scheme}://{host}{slash}{path}'.replace(' ', '%20'), request.scope


def by_botocore(buckets: list[str], client: Any) -> dict[str, object]:
    """URL and scope of a request of this botocore client for each bucket; 'refused' if it raises an error."""
    found: dict[str, object] = {}
    for bucket in buckets:
        try:
            found[bucket] = sent(prepare(client, lambda bucket=bucket: client.get_object(Bucket=bucket, Key='key')))
        except BotoCoreError:
            found[bucket] = 'refused'
    return found


def by_places(found: Places, buckets: list[str]) -> dict[str, object]:
    """The same for the addresses of Places."""
    answers: dict[str, object] = {}
    for bucket in buckets:
        try:
            answers[bucket] = told(found.find(bucket))
        except ConfigurationError:
            answers[bucket] = 'refused'
    return answers
