"""Presigned URLs equal boto3's: they have the same parameters, and so the same signature."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.errors import ConfigurationError

ENDPOINTS = ['http://127.0.0.1:9000', 'https://s3.example.com/base']
Made = Callable[..., s3po.Connection]


def taken_apart(url: str) -> tuple[str, dict[str, str]]:
    """The URL before the query, and the query."""
    parts = urllib.parse.urlsplit(url)
    return f'{parts.scheme}://{parts.netloc}{parts.path}', dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))


@pytest.mark.parametrize('endpoint_url', ENDPOINTS)
@pytest.mark.parametrize('token', [None, 'a/token+with=signs'])
@pytest.mark.parametrize(
    ('method', 'key', 'options'),
    [
        ('GET', 'a key/with + and % and ü//..', {}),
        ('GET', 'key', {'version_id': 'v/1+', 'extra': {'ResponseContentType': 'text/plain; charset=utf-8'}}),
        ('PUT', 'key', {'expires_s': 604_800, 'extra': {'ContentType': 'text/plain', 'Metadata': {'Colour': 'red  blue'}}}),
        ('HEAD', 'key', {'extra': {'RequestPayer': 'requester'}}),
        ('DELETE', 'key', {'expires_s': 1}),
    ],
)
def test_as_boto(connect: Made, endpoint_url: str, token: str | None, method: str, key: str, options: dict[str, Any]) -> None:
    """Both transports make the same URL within the same second."""
    keys = {'access_key_id': 'key', 'secret_access_key': 'secret', 'session_token': token, 'region': 'eu-central-1'}
    wire, boto = (connect(endpoint_url, transport=kind, **keys) for kind in ('wire', 'boto'))
    for _ in range(5):
        ours = taken_apart(wire.presign(method, 'bucket', key, **options))
        theirs = taken_apart(boto.presign(method, 'bucket', key, **options))
        if ours[1]['X-Amz-Date'] == theirs[1]['X-Amz-Date']:
            break

    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0]


def test_of_aws(connect: Made) -> None:
    """The URL has the host of the bucket's region; boto3's global host may not resolve a new bucket for some time."""
    url = connect(region='eu-central-1').presign('GET', 'bucket', 'key')

    assert url.startswith('https://bucket.s3.eu-central-1.amazonaws.com/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&')


def test_without_keys(connect: Made) -> None:
    """An anonymous connection cannot presign URLs."""
    with pytest.raises(ConfigurationError, match=r'presign\(\) needs credentials'):
        connect(ENDPOINTS[0], anonymous=True).presign('GET', 'bucket', 'key')
