"""Keys that the store rejects are read again from their source."""

from __future__ import annotations

from typing import Any

import pytest

import s3po
from s3po.credentials import EnvironmentCredentials

SECRET = 'secret-that-must-not-travel'


def signing_id(conn: s3po.Connection) -> str | None:
    keys, _ = conn._wiring.signing()
    return None if keys is None else keys.access_key_id


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('AWS_SESSION_TOKEN', 'AWS_PROFILE', 'AWS_DEFAULT_PROFILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'first')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET)


@pytest.mark.parametrize('options', [{}, {'credentials': 'environment'}], ids=['as boto3', 'EnvironmentCredentials'])
def test_environment(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Keys of the environment: its new values are used."""
    given = {'credentials': EnvironmentCredentials()} if options else {}
    conn = s3po.Connection(region='us-east-1', **given)
    assert signing_id(conn) == 'first'
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'second')
    assert signing_id(conn) == 'first'

    conn.renew_credentials()

    assert signing_id(conn) == 'second'


def test_function() -> None:
    """Keys of a function: it is called again."""
    calls: list[int] = []

    def issue() -> dict[str, str]:
        calls.append(1)
        return {'access_key_id': f'key{len(calls)}', 'secret_access_key': SECRET}

    conn = s3po.Connection(region='us-east-1', credentials=issue)
    assert signing_id(conn) == 'key1'
    conn.renew_credentials()

    assert signing_id(conn) == 'key2'
    assert len(calls) == 2


def test_arguments() -> None:
    """Keys that were given as arguments have no source, and stay."""
    conn = s3po.Connection(region='us-east-1', access_key_id='key', secret_access_key=SECRET)
    assert signing_id(conn) == 'key'
    conn.renew_credentials()

    assert signing_id(conn) == 'key'


def test_before_the_first_request() -> None:
    """Without any keys yet, nothing is read."""
    conn = s3po.Connection(region='us-east-1')
    conn.renew_credentials()

    assert signing_id(conn) == 'first'
