"""The examples of the document on which the project is based, verbatim except for print() and one typing error.

`Connectino()` is spelt `Connection()`. Each example runs against moto's server over the network, or under the mock if it
uses the mock.
"""

from __future__ import annotations

import os
import pathlib
import unittest
from collections.abc import Callable, Iterator

import pytest

import s3po
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import MotoServer


@pytest.fixture(autouse=True)
def environment(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[None]:
    """The environment with keys, region and endpoint, since the examples call `s3po.Connection()` without arguments."""
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'key')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_ENDPOINT_URL_S3', moto_server.endpoint_url)
    monkeypatch.chdir(tmp_path)
    conn = s3po.Connection()
    conn.create_bucket('bucket')
    yield
    conn.close()


def test_basic_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Upload a string and a file, download to memory and to a file; both files in text mode."""
    pathlib.Path('foo.txt').write_text('foo in a file')

    import s3po

    conn = s3po.Connection()

    # Upload with a string
    conn.upload('bucket', 'key', 'howdy')
    # Upload a file
    with open('foo.txt') as fin:
        conn.upload('bucket', 'key', fin)

    # Download as a string
    print(conn.download('bucket', 'key'))
    # Or into a file
    with open('foo.txt', 'w') as fout:
        conn.download('bucket', 'key', fout)

    assert capsys.readouterr().out == "b'foo in a file'\n"
    assert pathlib.Path('foo.txt').read_text() == 'foo in a file'


@pytest.mark.slow
def test_batch_use() -> None:
    """A thousand uploads are complete when the `with` block ends."""
    conn = s3po.Connection()

    # Upload these in a gevent pool
    keys = ['key.%i' % key for key in range(1000)]
    with conn.batch(50) as batch:
        for key in keys:
            batch.upload('bucket', key, 'hello')

    # And now they're all uploaded
    assert sorted(entry.key for entry in conn.list('bucket')) == sorted(keys)


def test_callbacks(capsys: pytest.CaptureFixture[str]) -> None:
    """Each download calls its callback."""
    conn = s3po.Connection()
    keys = ['key.%i' % key for key in range(100)]
    for key in keys:
        conn.upload('bucket', key, f'value of {key}')

    from functools import partial

    def func(key, value):  # type: ignore[no-untyped-def]
        print('Downloaded %s from %s' % (key, value))

    with conn.batch(50) as batch:
        for key in keys:
            batch.download('bucket', key, callback=partial(func, key))

    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == sorted(f"Downloaded {key} from b'value of {key}'" for key in keys)


def test_multipart() -> None:
    """A large body is sent as a multipart upload."""
    conn = s3po.Connection()
    data = os.urandom(20 * 1024 * 1024)

    result = conn.upload('bucket', 'large', data)

    assert result.parts == 3
    assert result.etag.endswith('-3')
    assert conn.download('bucket', 'large') == data


def test_mocking(no_sockets: None) -> None:
    """Within the mock nothing uses the network."""
    conn = s3po.Connection()

    # This doesn't touch S3 at all
    with conn.mock():
        conn.conn.create_bucket('foo')
        conn.upload('foo', 'bar', 'hello')

        assert conn.download('foo', 'bar') == b'hello'


def test_mocking_in_a_test_case(no_sockets: None) -> None:
    """The mock in setUp and tearDown of a test case."""

    class MyTest(unittest.TestCase):
        def setUp(self) -> None:
            self.s3po = s3po.Connection()
            self.mock = self.s3po.mock()
            self.mock.start()
            self.s3po.conn.create_bucket('bucket')

        def tearDown(self) -> None:
            self.mock.stop()

        def test_one(self) -> None:
            assert list(self.s3po.list('bucket')) == []
            self.s3po.upload('bucket', 'key', 'one')

        def test_two(self) -> None:
            assert list(self.s3po.list('bucket')) == []
            self.s3po.upload('bucket', 'key', 'two')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(MyTest).run(result)

    assert (result.testsRun, result.errors, result.failures) == (2, [], [])


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None] | None:
    """Makes every attempt to connect a socket fail."""
    import gevent.socket

    def forbidden(*_: object) -> None:
        raise AssertionError('a socket was connected')

    monkeypatch.setattr(gevent.socket.socket, 'connect', forbidden)
    return None
