"""Which requests use the wire transport and which boto3: under a mock, through a proxy, and with unsupported settings."""

from __future__ import annotations

import base64
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config

import s3po
from s3po.errors import ConfigurationError
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.programs import Runner
from tests.support.proxy import Proxy
from tests.support.servers import Authority, Store

Connect = Callable[..., s3po.Connection]

# The User-Agent of the wire transport; botocore's starts with 'Boto3/…'.
OWN_AGENT = 's3po/'


def agents(store: Store, operation: str = 'PutObject') -> set[str]:
    """The transports that sent the requests of one operation: 'wire', 'boto'."""
    headers = [seen['headers'] for seen in store.log(operation)]
    return {'wire' if each['user-agent'].startswith(OWN_AGENT) else 'boto' for each in headers}


@pytest.fixture
def run(authority: Authority, store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> Runner:
    """Runs scripts that use the store; the bucket exists."""
    return Runner(authority, store.endpoint_url, tmp_path)


CONNECT = """
    import os
    import sys
    import s3po

    conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret,
                           transport=os.environ.get('KIND', 'auto'))

    def exercise():
        got = {}
        with conn.batch(10) as batch:
            for number in range(20):
                batch.upload('bucket', f'{number}.txt', str(number), metadata={'number': str(number)},
                             headers={'Cache-Control': 'no-cache', 'x-custom': 'a'}, callback=lambda result: batch.download(
                                 'bucket', result.key, callback=lambda data, key=result.key: got.__setitem__(key, data)))
        assert got == {f'{number}.txt': str(number).encode() for number in range(20)}
"""


@pytest.mark.slow
@pytest.mark.parametrize('chosen', ['auto', 'wire', 'boto'])
def test_inside_a_mock(run: Runner, store: Store, chosen: str) -> None:
    """Within the mock no socket is opened, whenever the batch was started; outside of it the chosen transport is used."""
    run(
        CONNECT,
        """
        import moto
        exercise()
        is_mocked = False

        def watch(event, arguments):
            if is_mocked and event in ('socket.connect', 'socket.sendto', 'socket.sendmsg', 'socket.getaddrinfo'):
                raise AssertionError(f'{event} {arguments}')

        sys.addaudithook(watch)
        for mock in (moto.mock_aws(), conn.mock()):
            is_mocked = True
            with mock:
                conn.create_bucket('bucket')
                exercise()
                assert conn.head('bucket', '7.txt').metadata == {'number': '7'}
            is_mocked = False
        try:
            is_mocked = True
            other = s3po.Connection(endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret)
            other.upload('bucket', 'key', b'', retries=0)
        except AssertionError:
            # So the ban does hold.
            is_mocked = False
        else:
            raise SystemExit('it was not watched')
        exercise()
        """,
        KIND=chosen,
    )

    assert len(store.log('PutObject')) == 40
    assert agents(store) == agents(store, 'GetObject') == {'boto' if chosen == 'boto' else 'wire'}


@pytest.mark.slow
@pytest.mark.parametrize('patch', ['', 'all', '0'], ids=['patched', 'fully patched', 'unpatched'])
def test_no_botocore(run: Runner, store: Store, patch: str) -> None:
    """With keys, region and endpoint passed, botocore is not imported: that would cost 0.3 s and 60 MiB."""
    run(
        CONNECT,
        """
        exercise()
        conn.upload('bucket', 'large.bin', bytes(9 << 20))
        assert len(conn.download('bucket', 'large.bin')) == 9 << 20
        found = [name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 's3transfer', 'urllib3')]
        assert not found, found
        """,
        S3PO_PATCH=patch,
    )
    headers = store.log('PutObject')[0]['headers']

    assert len(store.log('PutObject')) == 20
    assert (headers['content-type'], headers['cache-control'], headers['x-custom']) == ('text/plain', 'no-cache', 'a')


# --- settings that the wire transport does not support


def exercise(connection: s3po.Connection, *buckets: str) -> None:
    """Upload and download twenty objects in each bucket."""
    with connection.batch(10) as batch:
        for bucket in buckets:
            for number in range(20):
                batch.upload(bucket, str(number), str(number))
    with connection.batch(10) as batch:
        jobs = [batch.download(bucket, str(number)) for bucket in buckets for number in range(20)]
    assert [job.get() for job in jobs] == [str(number).encode() for _ in buckets for number in range(20)]


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that is not configured."""
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """A function that returns the log messages about the choice."""
    caplog.set_level(logging.DEBUG, 's3po.connection')
    return lambda: [record.getMessage() for record in caplog.records if record.name == 's3po.connection.wiring']


UNSERVABLE: dict[str, Any] = {
    'it is reached over http, through a proxy': {},
    'it is signed with s3': {'client_config': Config(signature_version='s3')},
}


@pytest.fixture(params=UNSERVABLE)
def reason(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, proxy: Proxy) -> str:
    """A reason for which the wire transport cannot be used."""
    if 'proxy' in request.param:
        monkeypatch.setenv('HTTP_PROXY', f'http://{proxy.netloc}')
    return str(request.param)


@pytest.mark.slow
@pytest.mark.usefixtures('conn')
def test_what_goes_through_boto(store: Store, connect: Connect, reason: str, told: Any) -> None:
    """With an unsupported setting boto3 is used, which is logged once per bucket with the reason."""
    store.create_bucket('other')
    connection = connect(store.endpoint_url, **UNSERVABLE[reason])
    exercise(connection, BUCKET, 'other')
    exercise(connection, BUCKET)

    assert agents(store) == agents(store, 'GetObject') == {'boto'}
    assert sorted(told()) == [f'requests for bucket {name} go through boto3: {reason}' for name in (BUCKET, 'other')]


def test_what_is_not_left_to_boto(conn: s3po.Connection, store: Store, connect: Connect, reason: str) -> None:
    """With transport='wire' an unsupported setting raises the reason, and nothing is sent."""
    connection = connect(store.endpoint_url, transport='wire', **UNSERVABLE[reason])
    text = f"transport='wire' cannot serve bucket {BUCKET}: {reason}; use 'auto'"
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=text):
            connection.upload(BUCKET, 'key', b'')
    with pytest.raises(ConfigurationError, match=text):
        list(connection.list(BUCKET))
    batch = connection.batch(4, on_error='collect')
    with batch:
        batch.upload(BUCKET, 'key', b'')

    assert [type(failed.error) for failed in batch.failed] == [ConfigurationError]
    assert {seen['operation'] for seen in store.log()} == {'CreateBucket'}


def test_what_goes_over_the_wire(conn: s3po.Connection, store: Store, connect: Connect, told: Any) -> None:
    """Otherwise the wire transport is used, with the keys that are passed or that boto3 finds, and nothing is logged."""
    for given in ({}, {'client_config': Config(user_agent_extra='theirs/1')}, {'client': conn.conn}):
        exercise(connect(store.endpoint_url, **given), BUCKET)

    assert agents(store) == {'wire'}
    assert told() == []


# --- proxies


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def tls_store(authority: Authority, connect: Connect) -> Iterator[Store]:
    """A store over TLS with a bucket, and without other connections."""
    with Store(authority) as store:
        with connect(store.endpoint_url, verify=authority.ca_pem) as maker:
            maker.create_bucket(BUCKET)
        yield store


@pytest.fixture
def behind_proxy(
    tls_store: Store, connect: Connect, both: Kind, authority: Authority, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> s3po.Connection:
    """A connection with a proxy in its environment."""
    monkeypatch.setenv('HTTPS_PROXY', f'http://user:pass%20word@{proxy.netloc}')
    return connect(tls_store.endpoint_url, verify=authority.ca_pem, transport=both.name)


@pytest.mark.slow
def test_https_proxy(behind_proxy: s3po.Connection, tls_store: Store, both: Kind, proxy: Proxy) -> None:
    """HTTPS uses CONNECT through the proxy, with its credentials, and one tunnel per connection."""
    others = tls_store.stats()['connections']
    exercise(behind_proxy, BUCKET)
    data = bytes(range(256)) * 50_000
    behind_proxy.upload(BUCKET, 'large', data)

    assert behind_proxy.download(BUCKET, 'large') == data
    assert {first.rpartition(' ')[0] for first in proxy.asked} == {f'CONNECT 127.0.0.1:{tls_store.port}'}
    credentials = base64.b64encode(b'user:pass word').decode()
    assert set(proxy.authorizations) == {f'Basic {credentials}'}
    assert len(proxy.asked) == tls_store.stats()['connections'] - others
    assert agents(tls_store) == {both.name}


def test_no_proxy(
    behind_proxy: s3po.Connection, tls_store: Store, both: Kind, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts in NO_PROXY are reached without the proxy."""
    monkeypatch.setenv('NO_PROXY', 'example.com,127.0.0.1')
    exercise(behind_proxy, BUCKET)

    assert proxy.asked == []
    assert agents(tls_store) == {both.name}
