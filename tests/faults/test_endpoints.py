"""Wrong endpoints: the error names the problem, the endpoint and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po.errors import AccessDenied, NotFound, TransferError
from s3po.transfer import attempts
from tests.conftest import BUCKET
from tests.support.scripted import Receive, ScriptedServer, Send
from tests.support.servers import Authority, Store

WEB_PAGE = "the response is a web page, not S3's; is endpoint_url the address of an S3 store's API"
PAGE = b'<!DOCTYPE html><html><head><title>Welcome</title></head></html>'

Connect = Callable[..., s3po.Connection]


@pytest.fixture(scope='module')
def tls_store(authority: Authority) -> Iterator[Store]:
    """The store over TLS."""
    with Store(authority) as server:
        yield server


def test_https_to_an_http_port(store: Store, connect: Connect) -> None:
    conn = connect(store.endpoint_url.replace('http:', 'https:'))

    with pytest.raises(
        TransferError, match=rf'127.0.0.1:{store.port}.*does not speak TLS: should endpoint_url begin with http:'
    ):
        conn.head(BUCKET, 'key', retries=0)


def test_http_to_a_tls_port(tls_store: Store, connect: Connect) -> None:
    conn = connect(tls_store.endpoint_url.replace('https:', 'http:'))

    with pytest.raises(
        TransferError, match=rf'127.0.0.1:{tls_store.port}.*if it speaks TLS, endpoint_url must begin with https:'
    ):
        conn.head(BUCKET, 'key', retries=0)


@pytest.mark.parametrize('operation', ['list', 'upload'])
def test_web_page_with_status_200(connect: Connect, operation: str) -> None:
    with web_server('200 OK') as server:
        conn = connect(f'http://127.0.0.1:{server.origin.port}')
        calls: dict[str, Callable[[], Any]] = {
            'list': lambda: list(conn.list(BUCKET, retries=0)),
            'upload': lambda: conn.upload(BUCKET, 'key', b'x', retries=0),
        }

        with pytest.raises(TransferError, match=WEB_PAGE):
            calls[operation]()


@pytest.mark.parametrize(('status', 'kind_of_error'), [('404 Not Found', NotFound), ('403 Forbidden', AccessDenied)])
def test_web_page_that_refuses(connect: Connect, status: str, kind_of_error: type[Exception]) -> None:
    with web_server(status) as server:
        conn = connect(f'http://127.0.0.1:{server.origin.port}')

        with pytest.raises(kind_of_error, match=rf'{WEB_PAGE}.*endpoint http://127.0.0.1:{server.origin.port}'):
            conn.download(BUCKET, 'key')


def test_refusal_names_the_endpoint(conn: s3po.Connection, store: Store) -> None:
    with pytest.raises(NotFound, match=rf'endpoint http://127.0.0.1:{store.port}\)'):
        conn.download(BUCKET, 'missing')


def test_warning_of_plain_http(
    store: Store, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning about unverified uploads is logged once per process and explains how to silence it."""
    monkeypatch.setattr(attempts, '_logged', set())
    store.mode(checksums='ignore')
    store.script({'operation': 'PutObject', 'action': {'add_headers': {'ETag': '"opaque-1"'}}})
    for bucket in ('one', 'two'):
        conn = connect(store.endpoint_url, config=s3po.TransferConfig(payload_signing='unsigned'))
        conn.create_bucket(bucket)
        assert 'the upload could not be verified' in conn.upload(bucket, 'key', b'x').warnings[0]

    (record,) = [record for record in caplog.records if 'the upload could not be verified' in record.message]
    assert "to silence this, set the level of the logger 's3po.transfer' to ERROR" in record.message


def web_server(status: str) -> ScriptedServer:
    """A server that responds to every request with a web page."""
    head = f'HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(PAGE)}\r\n\r\n'
    return ScriptedServer(default=[Receive(), Send(head.encode() + PAGE)])
