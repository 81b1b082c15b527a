"""Copies between two stores over HTTP: transports, mocks, faults of both stores, kills and time limits."""

from __future__ import annotations

import pathlib
import random
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

import s3po
from s3po.config import MIB
from s3po.transport.memory import MemoryTransport
from tests.conftest import BUCKET
from tests.support.noise import noise
from tests.support.servers import CHECKOUT, Store

Connect = Callable[..., s3po.Connection]

PARTS = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
DATA = noise(20 * MIB + 11)  # five parts


@pytest.fixture(scope='module')
def _other_server() -> Iterator[Store]:
    with Store() as server:
        yield server


@pytest.fixture
def other(_other_server: Store) -> Store:
    """The store that receives the copies; the bucket exists."""
    _other_server.reset()
    _other_server.create_bucket(BUCKET)
    return _other_server


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection to the store that has the source."""
    store.create_bucket(BUCKET)
    return connect(store.endpoint_url, config=PARTS)


@pytest.fixture
def to(other: Store, connect: Connect) -> s3po.Connection:
    """A connection to the other store."""
    return connect(other.endpoint_url, config=PARTS)


def open_uploads(connection: s3po.Connection) -> list[Any]:
    return list(connection._wiring.resolve(BUCKET)[0].list_multipart_uploads(BUCKET, extra={}))


@pytest.mark.parametrize('of_copy', ['wire', 'boto', 'memory'])
@pytest.mark.parametrize('of_source', ['wire', 'boto', 'memory'])
def test_transports(store: Store, other: Store, connect: Connect, of_source: str, of_copy: str) -> None:
    """Copies work between all kinds of transports, with metadata, content headers and tags."""

    def made(name: str, server: Store) -> s3po.Connection:
        if name == 'memory':
            return s3po.Connection(transport=MemoryTransport(), config=PARTS)
        return connect(server.endpoint_url, config=PARTS, transport=name)

    store.create_bucket(BUCKET)
    conn, to = made(of_source, store), made(of_copy, other)
    headers = {'Cache-Control': 'no-cache', 'Content-Language': 'de', 'x-amz-tagging': 'a=1&b=%C3%A9'}
    for key, data in (('large', DATA), ('small', b'data'), ('empty', b'')):
        conn.upload(BUCKET, key, data, headers=headers, metadata={'name': 'value'}, content_type='text/x')

        result = conn.copy(BUCKET, key, BUCKET, 'copy', to=to)

        assert to.download(BUCKET, 'copy') == data
        info = to.head(BUCKET, 'copy')
        assert (info.content_type, info.metadata) == ('text/x', {'name': 'value'})
        assert (info.headers['cache-control'], info.headers['content-language']) == ('no-cache', 'de')
        assert info.headers['x-amz-tagging-count'] == '2'
        assert result.warnings == ()


@pytest.mark.parametrize('of_copy', ['wire', 'boto'])
@pytest.mark.parametrize('of_source', ['wire', 'boto'])
def test_headers_of_any_text(store: Store, other: Store, connect: Connect, of_source: str, of_copy: str) -> None:
    """Metadata and content headers arrive byte for byte on all transports: UTF-8, RFC 2047, empty values, odd names."""
    store.create_bucket(BUCKET)
    source, wire = connect(store.endpoint_url, transport=of_source), connect(other.endpoint_url, transport='wire')
    sent = {
        'x-amz-meta-utf-8': 'Grüße, € und 😀',
        'x-amz-meta-rfc-2047': '=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=',
        'x-amz-meta-empty': '',
        'x-amz-meta-odd_name.1~': 'a  b "c", d',
        'content-disposition': 'attachment; filename="Grüße.txt"',
        'cache-control': 'max-age=1, private',
        'expires': '0',
    }
    connect(store.endpoint_url, transport='wire').upload(BUCKET, 'key', b'data', headers=sent)

    source.copy(BUCKET, 'key', BUCKET, 'copy', to=connect(other.endpoint_url, transport=of_copy))

    (seen,) = other.log('PutObject')
    # The store's log has the bytes as Latin-1.
    assert {name: seen['headers'][name].encode('latin-1').decode() for name in sent} == sent
    for connection in (wire, connect(other.endpoint_url, transport='boto')):
        assert connection.head(BUCKET, 'copy').headers.items() >= sent.items()
        assert connection.head(BUCKET, 'copy').metadata['utf-8'] == sent['x-amz-meta-utf-8']


@pytest.mark.parametrize('name', ['wire', 'boto', 'memory'])
def test_tags_of_an_object(store: Store, connect: Connect, name: str) -> None:
    """Tags can be replaced, with all characters of XML and of queries."""
    store.create_bucket(BUCKET)
    conn = s3po.Connection(transport=MemoryTransport()) if name == 'memory' else connect(store.endpoint_url, transport=name)
    conn.upload(BUCKET, 'key', b'data', headers={'x-amz-tagging': 'old=1'})
    transport = conn._wiring.resolve(BUCKET)[0]
    tags = [('a', '1'), ('é <&>', 'x y+z='), ('empty', '')]

    transport.put_object_tagging(BUCKET, 'key', urllib.parse.urlencode(tags), extra={})

    found = transport.get_object_tagging(BUCKET, 'key', extra={})
    assert sorted(urllib.parse.parse_qsl(found, keep_blank_values=True)) == tags[:1] + tags[2:] + tags[1:2]


def test_mock() -> None:
    """Inside a mock, both connections use the fake S3."""
    conn, to = s3po.Connection(), s3po.Connection(endpoint_url='https://other.example.com')
    with conn.mock(buckets=['bucket', 'other']):
        conn.upload('bucket', 'key', b'data', metadata={'name': 'value'})
        conn.copy('bucket', 'key', 'other', 'copy', to=to)
        with conn.batch(5) as batch:
            batch.copy('bucket', 'key', 'other', 'copy-2', to=to)
            batch.move('bucket', 'key', 'other', 'copy-3', to=to)

        assert [entry.key for entry in to.list('other')] == ['copy', 'copy-2', 'copy-3']
        assert to.head('other', 'copy').metadata == {'name': 'value'}
        assert not conn.exists('bucket', 'key')


@pytest.mark.parametrize(
    'action',
    [
        {'cut_body_at': MIB},
        {'cut_body_at': MIB, 'reset': True},
        {'status': 500},
        {'status': 503, 'code': 'SlowDown'},
        {'reset': True},
    ],
    ids=['cut', 'reset half-way', '500', 'SlowDown', 'reset'],
)
def test_source_fails(conn: s3po.Connection, to: s3po.Connection, store: Store, action: dict[str, Any]) -> None:
    """A failed response of the source is requested again; only its part."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'times': 2, 'action': action})

    result = conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA
    assert result.parts == 5
    assert len(store.log('GetObject')) <= 7 + 1  # the first part was fetched, and the others twice at most


def test_source_sends_other_bytes(conn: s3po.Connection, to: s3po.Connection, store: Store) -> None:
    """A part that arrives corrupted makes the copy start again: the checksum of the source finds it before it is published."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'times': 1, 'action': {'flip_byte_at': 1000}})

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA


def test_store_ignores_ranges(conn: s3po.Connection, to: s3po.Connection, store: Store) -> None:
    """A store that answers ranges with the whole object raises an error; nothing is published."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'times': None, 'action': {'ignore_range': True}})

    with pytest.raises(s3po.S3poError):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')
    assert open_uploads(to) == []


@pytest.mark.parametrize('operation', ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'])
@pytest.mark.parametrize('action', [{'status': 500}, {'status': 503, 'code': 'SlowDown'}, {'close': True}], ids=str)
def test_other_store_fails(
    conn: s3po.Connection, to: s3po.Connection, other: Store, operation: str, action: dict[str, Any]
) -> None:
    """A failed request of the other store is sent again, without fetching the part again."""
    conn.upload(BUCKET, 'key', DATA)
    other.script({'operation': operation, 'times': 1, 'action': action})

    conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert to.download(BUCKET, 'copy') == DATA
    assert open_uploads(to) == []


def test_other_store_refuses(conn: s3po.Connection, to: s3po.Connection, other: Store) -> None:
    """The refusal of a part is raised; the upload is aborted."""
    conn.upload(BUCKET, 'key', DATA)
    other.script({'operation': 'UploadPart', 'skip': 2, 'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})

    with pytest.raises(s3po.AccessDenied):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to)

    assert not to.exists(BUCKET, 'copy')
    assert open_uploads(to) == []


@pytest.mark.parametrize(
    ('side', 'operation'), [('source', 'GetObject'), ('other', 'UploadPart')], ids=['while reading', 'while writing']
)
def test_kill(conn: s3po.Connection, to: s3po.Connection, store: Store, other: Store, side: str, operation: str) -> None:
    """A copy that is killed leaves no upload and no slot; the connections work afterwards."""
    conn.upload(BUCKET, 'key', DATA)
    slow = store if side == 'source' else other
    slow.script({'operation': operation, 'skip': 2, 'times': None, 'action': {'delay_s': 5.0}})
    greenlet = gevent.spawn(conn.copy, BUCKET, 'key', BUCKET, 'copy', to=to)
    with gevent.Timeout(30):
        while len(slow.log(operation)) < 3:
            gevent.sleep(0.01)

    greenlet.kill()

    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert open_uploads(to) == []
    assert not to.exists(BUCKET, 'copy')
    for connection in (conn, to):
        governor = connection._wiring.governor()
        assert governor.free.counter == governor.width


def test_time_limit(conn: s3po.Connection, to: s3po.Connection, store: Store) -> None:
    """A copy from a stalled store ends at its time limit, and leaves nothing."""
    conn.upload(BUCKET, 'key', DATA)
    store.script({'operation': 'GetObject', 'skip': 1, 'times': None, 'action': {'stall_at': 1000}})
    began = time.monotonic()

    with pytest.raises(s3po.DeadlineExceeded):
        conn.copy(BUCKET, 'key', BUCKET, 'copy', to=to, timeout_s=1)

    assert time.monotonic() - began < 5
    assert open_uploads(to) == []


def test_move(conn: s3po.Connection, to: s3po.Connection) -> None:
    """A move deletes the source after it has compared the copy."""
    conn.upload(BUCKET, 'key', DATA)

    conn.move(BUCKET, 'key', BUCKET, 'moved', to=to)

    assert to.download(BUCKET, 'moved') == DATA
    assert not conn.exists(BUCKET, 'key')


def test_move_of_a_spoiled_copy(conn: s3po.Connection, to: s3po.Connection, other: Store) -> None:
    """A source is not deleted if the other store has stored other bytes."""
    conn.upload(BUCKET, 'key', b'data')
    other.mode(checksums='ignore')
    other.script({'operation': 'PutObject', 'times': None, 'action': {'flip_received_at': 0}})

    with pytest.raises(s3po.IntegrityError):
        conn.move(BUCKET, 'key', BUCKET, 'moved', to=to)

    assert conn.download(BUCKET, 'key') == b'data'


def test_failed_copies_are_repeated(conn: s3po.Connection, to: s3po.Connection, other: Store) -> None:
    """A failed copy of a batch is repeated by retry_failed(), with the other connection."""
    conn.upload(BUCKET, 'key', b'data')
    other.script({'operation': 'PutObject', 'times': 1, 'action': {'status': 403, 'code': 'AccessDenied'}})
    with conn.batch(1, on_error='collect') as batch:
        batch.copy(BUCKET, 'key', BUCKET, 'copy', to=to)
    assert len(batch.failed) == 1

    conn.retry_failed(batch.failed)

    assert to.download(BUCKET, 'copy') == b'data'


COPYING = """
import sys
import s3po
from s3po.config import MIB

def connection(url):
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=2)
    keys = {'access_key_id': 'key', 'secret_access_key': 'secret'}
    return s3po.Connection(endpoint_url=url, region='us-east-1', config=config, **keys)

conn, to = connection(sys.argv[1]), connection(sys.argv[2])
with conn.batch(3, journal=sys.argv[3]) as batch:
    for number in range(12):
        batch.copy('bucket', f'small-{number}', 'bucket', f'small-{number}', to=to)
        batch.move('bucket', f'moved-{number}', 'bucket', f'moved-{number}', to=to)
    for number in range(2):
        batch.copy('bucket', f'large-{number}', 'bucket', f'large-{number}', to=to)
"""


@pytest.mark.slow
def test_connections_of_worker_processes(conn: s3po.Connection, to: s3po.Connection, other: Store) -> None:
    """A worker process copies all its objects through the same connections to the other store."""
    for number in range(30):
        conn.upload(BUCKET, f'key{number}', b'data')
    with conn.batch(2, processes=2) as batch:
        for number in range(30):
            batch.copy(BUCKET, f'key{number}', BUCKET, f'copy{number}', to=to)

    batch.raise_for_errors()
    seen = other.log('PutObject')
    assert len(seen) == 30
    assert len({each['connection'] for each in seen}) <= 4


@pytest.mark.slow
@pytest.mark.parametrize('seed', [1, 2])
def test_sigkill(conn: s3po.Connection, to: s3po.Connection, other: Store, tmp_path: pathlib.Path, seed: int) -> None:
    """Copies under a journal go on after SIGKILL at any moment: all bytes arrive, and what was confirmed is not sent again."""
    source, target = conn.endpoint_url, to.endpoint_url
    assert source is not None
    assert target is not None
    objects = {f'{name}-{number}': noise(1000, number) for number in range(12) for name in ('small', 'moved')}
    objects |= {f'large-{number}': noise(31 * MIB, number) for number in range(2)}
    for key, data in objects.items():
        conn.upload(BUCKET, key, data)
    other.script(*({'operation': name, 'times': None, 'action': {'delay_s': 0.1}} for name in ('PutObject', 'UploadPart')))
    choose, kills = random.Random(seed), 0
    command = [sys.executable, '-c', COPYING, source, target, str(tmp_path / 'job.s3po')]
    while True:
        child = subprocess.Popen(command, cwd=CHECKOUT)
        until = len(other.log()) + choose.randint(1, 12)
        while child.poll() is None and len(other.log()) < until:
            time.sleep(0.01)
        child.kill()
        if child.wait() == 0:
            break
        kills += 1
        assert kills < 100

    assert kills >= 3
    for key, data in objects.items():
        assert to.download(BUCKET, key) == data
        assert conn.exists(BUCKET, key) is not key.startswith('moved')
    assert open_uploads(to) == []
    sent = [(seen['key'], seen['query'].get('partNumber')) for name in ('PutObject', 'UploadPart') for seen in other.log(name)]
    # Three jobs run at once, each with up to two parts.
    assert len(sent) - len(set(sent)) <= 6 * kills


MOVING = COPYING.partition('with conn.batch')[0].replace('conn, to =', 'if __name__ == "__main__":\n    conn, to =') + (
    """    with conn.batch(4, journal=sys.argv[3], processes=int(sys.argv[4])) as batch:
        for kind, count in (('small', 12), ('large', 3)):
            for number in range(count):
                batch.move('bucket', f'{kind}-{number}', 'bucket', f'{kind}-{number}', to=to)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_sigkill_of_moves(
    conn: s3po.Connection, to: s3po.Connection, other: Store, tmp_path: pathlib.Path, processes: int
) -> None:
    """Moves go on after SIGKILL: no object is lost at any moment, and all arrive with metadata and tags, each once."""
    source, target = conn.endpoint_url, to.endpoint_url
    assert source is not None
    assert target is not None
    objects = {f'small-{number}': noise(1000, number) for number in range(12)}
    objects |= {f'large-{number}': noise(11 * MIB, number) for number in range(3)}
    for key, data in objects.items():
        conn.upload(BUCKET, key, data, metadata={'name': key}, extra={'Tagging': f'key={key}'})
    other.script(*({'operation': name, 'times': None, 'action': {'delay_s': 0.1}} for name in ('PutObject', 'UploadPart')))
    program = tmp_path / 'moving.py'
    program.write_text(MOVING)
    choose, kills = random.Random(processes), 0
    command = [sys.executable, str(program), source, target, str(tmp_path / 'job.s3po'), str(processes)]
    while True:
        child = subprocess.Popen(command, cwd=CHECKOUT)
        until = len(other.log()) + choose.randint(6, 24)
        while child.poll() is None and (kills >= 4 or len(other.log()) < until):
            time.sleep(0.01)
        child.kill()
        if child.wait() == 0:
            break
        kills += 1
        assert all(conn.exists(BUCKET, key) or to.exists(BUCKET, key) for key in objects)
        assert kills < 9

    assert kills >= 2
    for key, data in objects.items():
        assert to.download(BUCKET, key) == data
        assert to.head(BUCKET, key).metadata == {'name': key}
        assert to.conn.get_object_tagging(Bucket=BUCKET, Key=key)['TagSet'] == [{'Key': 'key', 'Value': key}]
        assert not conn.exists(BUCKET, key)
    assert open_uploads(to) == []
