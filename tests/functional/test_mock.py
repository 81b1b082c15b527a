"""conn.mock(): the same connection with an in-process fake S3 (moto), whatever its settings, and no socket is opened."""

from __future__ import annotations

import importlib.metadata
import pathlib
import socket
import sys
import textwrap
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import gevent.socket
import moto
import pytest

import s3po
from s3po.errors import ConfigurationError, InvalidRequest, NoSuchBucket, NotFound
from s3po.http import connecting
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.programs import Program, run_command
from tests.support.servers import Store

BUCKET = 'bucket'


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every attempt to connect a socket fail."""

    def refuse(self: object, address: object) -> None:
        raise AssertionError(f'connects to {address}')

    class Refusing(connecting.NativeSocket):
        connect = connect_ex = refuse

    for kind in {socket.socket, gevent.socket.socket}:
        monkeypatch.setattr(kind, 'connect', refuse)
        monkeypatch.setattr(kind, 'connect_ex', refuse)
    monkeypatch.setattr(connecting, 'NativeSocket', Refusing)


@pytest.fixture
def anywhere(offline: None) -> s3po.Connection:
    """A connection without credentials, to an endpoint that refuses connections."""
    return s3po.Connection(endpoint_url='http://127.0.0.1:9')


def exercise(conn: s3po.Connection) -> None:
    """Use each operation of a connection once."""
    conn.upload(BUCKET, 'key', b'data', metadata={'a': '1'}, headers={'x-custom': '1'})
    with conn.batch(4) as batch:
        for number in range(8):
            batch.upload(BUCKET, f'batch/{number}', str(number))
    conn.upload(BUCKET, 'large', iter([b'x' * (9 << 20)] * 2))
    conn.copy(BUCKET, 'key', BUCKET, 'copy')
    conn.move(BUCKET, 'copy', BUCKET, 'moved')

    assert conn.download(BUCKET, 'moved') == b'data'
    assert conn.head(BUCKET, 'key').metadata == {'a': '1'}
    assert len(conn.download(BUCKET, 'large')) == 18 << 20
    assert conn.presign('GET', BUCKET, 'key').startswith('https://')
    assert len(list(conn.list(BUCKET, 'batch/'))) == 8
    assert conn.delete_many(BUCKET, conn.list(BUCKET)).deleted == 11
    conn.delete_bucket(BUCKET)


def test_context_manager(anywhere: s3po.Connection) -> None:
    """Within `with conn.mock()`, everything works on an empty store, which is gone afterwards."""
    with anywhere.mock() as mock:
        anywhere.create_bucket(BUCKET)
        exercise(anywhere)
        assert repr(mock) == '<Mock started>'
        anywhere.create_bucket(BUCKET)
    assert repr(mock) == '<Mock stopped>'
    with anywhere.mock(), pytest.raises(NoSuchBucket):
        anywhere.upload(BUCKET, 'key', b'')


def test_copy_in_parts(connect: Callable[..., s3po.Connection]) -> None:
    """A copy in parts works, although moto names the version 'null' in its response and then refuses a request for it."""
    part_bytes = 5 * 1024 * 1024
    config = s3po.TransferConfig(multipart_copy_threshold=part_bytes, multipart_copy_chunksize=part_bytes)
    conn = connect(config=config)
    with conn.mock():
        conn.create_bucket('bucket')
        conn.upload('bucket', 'key', bytes(part_bytes + 1))
        result = conn.copy('bucket', 'key', 'bucket', 'copy')

        assert (result.parts, result.version_id) == (2, 'null')
        assert conn.head('bucket', 'copy').size_bytes == part_bytes + 1


def test_buckets(anywhere: s3po.Connection) -> None:
    """Buckets are created at every start; a bucket of an enclosing mock keeps its objects."""
    mock = anywhere.mock(buckets=[BUCKET, 'other'])
    for _ in range(2):
        with mock:
            assert list(anywhere.list(BUCKET)) == []
            anywhere.upload(BUCKET, 'key', b'')
            with anywhere.mock(buckets=['other', BUCKET, 'third']):
                assert anywhere.exists(BUCKET, 'key')
            anywhere.upload('third', 'key', b'')


def test_boto3_client(anywhere: s3po.Connection) -> None:
    """Within the mock, conn.conn is a client of moto's; its create_bucket() accepts the name as a positional argument."""
    with anywhere.mock():
        anywhere.conn.create_bucket('foo')
        anywhere.conn.put_object(Bucket='foo', Key='key', Body=b'theirs')

        assert anywhere.download('foo', 'key') == b'theirs'
        assert [bucket['Name'] for bucket in anywhere.conn.list_buckets()['Buckets']] == ['foo']


def test_region(offline: None) -> None:
    """Buckets are created in the region of the connection."""
    connection = s3po.Connection(region='eu-west-1')
    with connection.mock(buckets=['first']):
        connection.conn.create_bucket('foo')
        connection.create_bucket(BUCKET)
        places = [connection.conn.get_bucket_location(Bucket=name) for name in ('first', 'foo', BUCKET)]

        assert [place['LocationConstraint'] for place in places] == ['eu-west-1'] * 3
        exercise(connection)


EVERYWHERE = {
    'AWS_ENDPOINT_URL_S3': 'http://127.0.0.1:9',
    'AWS_ENDPOINT_URL': 'http://127.0.0.1:9',
    'AWS_PROFILE': 'no-such-profile',
    'AWS_DEFAULT_REGION': 'eu-west-1',
    'AWS_ACCESS_KEY_ID': 'half a pair',
    'AWS_USE_FIPS_ENDPOINT': 'true',
    'AWS_USE_DUALSTACK_ENDPOINT': 'true',
    'AWS_CA_BUNDLE': '/no/such/file.pem',
    'HTTPS_PROXY': 'http://127.0.0.1:9',
}


@pytest.mark.parametrize(
    ('arguments', 'environment'),
    [
        *(({}, {name: EVERYWHERE[name]}) for name in ('AWS_ENDPOINT_URL_S3', 'AWS_PROFILE', 'AWS_USE_FIPS_ENDPOINT')),
        ({}, EVERYWHERE),
        ({'profile': 'no-such-profile'}, EVERYWHERE),
        ({'anonymous': True, 'addressing_style': 'virtual', 'verify': False}, EVERYWHERE),
        (
            {'endpoint_url': 'https://s3.example.com', 'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY},
            EVERYWHERE,
        ),
    ],
    ids=lambda given: ','.join(given) if len(given) < len(EVERYWHERE) else 'everything',
)
def test_whatever_it_is_connected_to(
    offline: None, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], environment: dict[str, str]
) -> None:
    """No argument and no environment variable makes a mocked connection use the network or fail."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connection = s3po.Connection(**arguments)
    with connection.mock(buckets=[BUCKET]):
        connection.upload(BUCKET, 'key', b'data')

        assert connection.download(BUCKET, 'key') == b'data'


def test_transport_of_the_callers(memory_conn: s3po.Connection, memory: object) -> None:
    """A connection with a transport passed by the caller can be mocked, too."""
    with memory_conn.mock(), pytest.raises(NoSuchBucket):
        memory_conn.upload(BUCKET, 'key', b'')

    assert memory_conn.upload(BUCKET, 'key', b'').size_bytes == 0


def test_mock_of_the_users_own(anywhere: s3po.Connection) -> None:
    """moto's own mock works as a decorator and as a context manager."""

    @moto.mock_aws
    def decorated() -> None:
        anywhere.create_bucket(BUCKET)
        exercise(anywhere)

    decorated()
    with moto.mock_aws(), anywhere.mock(buckets=['inner']):
        anywhere.create_bucket('outer')
        with pytest.raises(NotFound):
            anywhere.head('inner', 'key')


def test_real_store_before_and_after(conn: s3po.Connection, store: Store) -> None:
    """After the mock the connection uses its own client again, also if the block raised."""
    conn.upload(BUCKET, 'real', b'real')
    client = conn.conn
    requests = len(store.log())
    with pytest.raises(ZeroDivisionError), conn.mock(buckets=['pretended']):
        assert not conn.exists('pretended', 'real')
        conn.upload('pretended', 'key', b'')
        assert conn.conn is not client
        _ = 1 // 0

    assert len(store.log()) == requests
    assert conn.conn is client
    assert conn.download(BUCKET, 'real') == b'real'


def test_bucket_that_cannot_be_created(conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """If start() fails, the mock is stopped."""

    def fail(bucket: str) -> None:
        raise InvalidRequest(f'no {bucket} today')

    mock = conn.mock(buckets=[BUCKET])
    monkeypatch.setattr(conn, 'create_bucket', fail)
    with pytest.raises(InvalidRequest):
        mock.start()

    assert repr(mock) == '<Mock stopped>'
    assert conn.upload(BUCKET, 'key', b'real').attempts == 1


def test_start_and_stop(anywhere: s3po.Connection) -> None:
    """start() can be called several times; each call needs a stop(), and one stop() too many is an error."""
    mock = anywhere.mock(buckets=[BUCKET])
    assert mock.start() is mock
    mock.start()
    anywhere.upload(BUCKET, 'key', b'data')
    mock.stop()
    assert anywhere.download(BUCKET, 'key') == b'data'
    mock.stop()

    with pytest.raises(ConfigurationError, match=r'stop\(\) without start\(\)'):
        mock.stop()
    with pytest.raises(ConfigurationError, match=r'stop\(\) without start\(\)'):
        anywhere.mock().stop()


def test_nested_over_two_connections(anywhere: s3po.Connection) -> None:
    """All connections share the mocked store."""
    other = s3po.Connection(region='eu-central-1')
    with anywhere.mock(buckets=[BUCKET]):
        with other.mock():
            other.upload(BUCKET, 'key', b'data')
        assert anywhere.download(BUCKET, 'key') == b'data'
        assert other.download(BUCKET, 'key') == b'data'


def test_decorated_function(anywhere: s3po.Connection) -> None:
    """A decorated function gets its arguments, returns its value, has its name, and starts each call with an empty store."""

    @anywhere.mock(buckets=[BUCKET])
    def count(key: str, *, data: bytes = b'') -> int:
        """Upload one object, and return the number of objects."""
        anywhere.upload(BUCKET, key, data)
        return len(list(anywhere.list(BUCKET)))

    assert (count('a'), count('b', data=b'x')) == (1, 1)
    assert (count.__name__, count.__doc__) == ('count', 'Upload one object, and return the number of objects.')


def test_decorated_class(anywhere: s3po.Connection) -> None:
    """A decorated class has all its test methods decorated, also static and inherited ones; other members are unchanged."""

    class Base:
        def test_base(self) -> int:
            return self.count('base')

        def count(self, key: str) -> int:
            anywhere.upload(BUCKET, key, b'')
            return len(list(anywhere.list(BUCKET)))

    @anywhere.mock(buckets=[BUCKET])
    class Tests(Base):
        test_data = 'left alone'

        def test_own(self) -> int:
            return self.count('own')

        @staticmethod
        def test_static() -> int:
            return Tests().count('static')

        @classmethod
        def test_class(cls) -> int:
            return cls().count('class')

    tests = Tests()

    assert (tests.test_base(), tests.test_own(), tests.test_static(), Tests.test_static(), tests.test_class()) == (1,) * 5
    assert tests.test_data == 'left alone'


def test_decorated_unittest(anywhere: s3po.Connection) -> None:
    """A decorated TestCase is mocked in setUp, tests (also asynchronous ones) and tearDown."""

    @anywhere.mock()
    class Tests(unittest.TestCase):
        def setUp(self) -> None:
            anywhere.create_bucket(BUCKET)

        def test_one(self) -> None:
            anywhere.upload(BUCKET, 'one', b'')

        def test_other(self) -> None:
            assert list(anywhere.list(BUCKET)) == []

        def tearDown(self) -> None:
            anywhere.delete_many(BUCKET, anywhere.list(BUCKET))

    @anywhere.mock(buckets=[BUCKET])
    class AsyncTests(unittest.IsolatedAsyncioTestCase):
        async def test_async(self) -> None:
            anywhere.upload(BUCKET, 'one', b'')

    for kind, count in ((Tests, 2), (AsyncTests, 1)):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
        assert (result.testsRun, result.errors, result.failures) == (count, [], [])


def test_what_would_run_after_the_mock(anywhere: s3po.Connection) -> None:
    """Coroutine functions and generators are rejected: their bodies would run after the mock has stopped."""

    async def coroutine() -> None:
        """Runs later."""

    def generator() -> Iterator[None]:
        yield

    async def asynchronous_generator() -> AsyncIterator[None]:
        yield

    functions: list[Callable[..., object]] = [coroutine, generator, asynchronous_generator]
    for function in functions:
        with pytest.raises(ConfigurationError, match=f'{function.__name__} would run after the mock has stopped; use `with'):
            anywhere.mock()(function)


def test_without_moto(anywhere: s3po.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without moto the error names the extra to install."""
    monkeypatch.setitem(sys.modules, 'moto', None)

    with pytest.raises(ConfigurationError, match=r"mock\(\) needs moto; install it with: pip install 's3po\[mock\]'"):
        anywhere.mock()


def run(tmp_path: pathlib.Path, script: str, *arguments: str) -> Program:
    (tmp_path / 'test_script.py').write_text(textwrap.dedent(script))
    return run_command([sys.executable, *arguments, 'test_script.py'], {}, tmp_path)


@pytest.mark.slow
def test_connection_older_than_motos_import(tmp_path: pathlib.Path) -> None:
    """A client built before moto's import cannot be mocked, so the connection uses another client within the mock."""
    run(
        tmp_path,
        """
        import sys, s3po
        conn = s3po.Connection(endpoint_url='http://127.0.0.1:9', access_key_id='a', secret_access_key='b', region='eu-west-1')
        older = conn.conn
        assert 'moto' not in sys.modules

        import gevent.socket
        def refuse(self, address):
            raise AssertionError(address)
        gevent.socket.socket.connect = refuse

        with conn.mock(buckets=['bucket']):
            conn.conn.create_bucket('foo')
            conn.upload('foo', 'key', b'data')
            assert conn.download('foo', 'key') == b'data'
        assert conn.conn is older
        """,
    )


@pytest.mark.slow
def test_fixture(tmp_path: pathlib.Path) -> None:
    """s3po.testing provides the fixture to tests that name it; each test has its own store."""
    said = run(
        tmp_path,
        """
        import pytest
        import s3po

        pytest_plugins = ['s3po.testing']

        @pytest.mark.parametrize('turn', [1, 2])
        def test_upload(s3po_mock, turn):
            assert isinstance(s3po_mock, s3po.Connection)
            s3po_mock.create_bucket('bucket')
            s3po_mock.upload('bucket', 'key', b'data')
            assert s3po_mock.download('bucket', 'key') == b'data'
        """,
        *('-m', 'pytest', '-q', '-p', 'no:cacheprovider'),
    )

    assert '2 passed' in said.out


def test_no_plugin_of_pytests() -> None:
    """s3po registers no pytest plugin, which would import it, and so patch the runtime, in every test run."""
    entries = importlib.metadata.distribution('s3po').entry_points

    assert [entry.name for entry in entries if entry.group == 'console_scripts'] == ['s3po']
    assert not [entry for entry in entries if entry.group == 'pytest11']
