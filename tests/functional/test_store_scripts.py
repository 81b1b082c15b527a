"""The tests' own store misbehaves as scripted, and only then."""

from __future__ import annotations

import hashlib
import http.client
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError, ResponseStreamingError

from tests.support.servers import Store
from tests.support.store_client import Connect, begin_upload, exchange, get, new_client, put, refused


@pytest.fixture(scope='module')
def running() -> Iterator[Store]:
    with Store() as store:
        yield store


@pytest.fixture
def store(running: Store) -> Store:
    running.reset()
    return running


@pytest.fixture
def client(store: Store) -> Iterator[Any]:
    made = new_client(store)
    made.create_bucket(Bucket='bucket')
    yield made
    made.close()


@pytest.fixture
def connect(store: Store) -> Iterator[Connect]:
    """Opens connections without boto3, which are closed after the test."""
    opened: list[http.client.HTTPConnection] = []

    def connect() -> http.client.HTTPConnection:
        opened.append(http.client.HTTPConnection('127.0.0.1', store.port, timeout=10))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def wait_for(found: Callable[[], list[dict[str, Any]]], timeout_s: float = 10.0) -> list[dict[str, Any]]:
    """The first non-empty result of the function; it is called until then."""
    until = time.monotonic() + timeout_s
    while not (entries := found()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return entries


def test_refuse_a_part_twice(store: Store, client: Any) -> None:
    """Only the specified part is refused, as often as specified; all other requests are served."""
    upload = begin_upload(client)
    store.script(
        {
            'operation': 'UploadPart',
            'query': {'partNumber': '2'},
            'times': 2,
            'action': {'status': 503, 'code': 'SlowDown'},
        }
    )

    def send(number: int) -> Any:
        return client.upload_part(**upload, PartNumber=number, Body=b'a')

    send(1)
    assert refused(lambda: send(2)) == (503, 'SlowDown')
    assert refused(lambda: send(2)) == (503, 'SlowDown')
    send(2)

    assert [each['status'] for each in store.log('UploadPart')] == [200, 503, 503, 200]
    assert store.stats()['connections'] == 1


@pytest.mark.parametrize('work', [False, True])
def test_reset_before_or_after_the_work(store: Store, client: Any, *, work: bool) -> None:
    """The response is lost; the object is stored only if the script has `work`."""
    store.script({'operation': 'PutObject', 'times': 1, 'action': {'reset': True, 'work': work}})

    with pytest.raises(ConnectionClosedError):
        put(client)

    assert store.log('PutObject')[0]['status'] is None
    if work:
        assert get(client) == b'body'
    else:
        assert refused(lambda: get(client)) == (404, 'NoSuchKey')


def test_reset_is_a_reset(store: Store, connect: Connect) -> None:
    """The action `reset` ends a connection with RST, `close` with FIN."""
    store.script({'times': 1, 'action': {'close': True}}, {'times': 1, 'action': {'reset': True}})

    with pytest.raises(http.client.RemoteDisconnected):
        exchange(connect(), 'GET', '/')
    with pytest.raises(ConnectionResetError) as raised:
        exchange(connect(), 'GET', '/')

    assert not isinstance(raised.value, http.client.RemoteDisconnected)


def test_cut_body(store: Store, client: Any) -> None:
    """The head announces the whole body, and the connection ends in the middle of it."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'cut_body_at': 4}})

    answer = client.get_object(Bucket='bucket', Key='key')

    assert answer['ContentLength'] == 10
    assert answer['Body'].read(4) == b'0123'
    with pytest.raises(ResponseStreamingError):
        answer['Body'].read()
    assert get(client) == b'0123456789'


def test_stalled_body(store: Store, client: Any) -> None:
    """After some bytes the body stalls, and the connection stays open until the client closes it."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'action': {'cut_body_at': 4, 'hang_s': 60}})
    impatient = new_client(store, config={'read_timeout': 0.2})

    with pytest.raises(ReadTimeoutError):
        get(impatient)


def test_ignored_range(store: Store, client: Any) -> None:
    """The whole body is sent with status 200, as by servers that do not support ranges."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'action': {'ignore_range': True}})

    answer = client.get_object(Bucket='bucket', Key='key', Range='bytes=4-')

    assert answer['ResponseMetadata']['HTTPStatusCode'] == 200
    assert answer['Body'].read() == b'0123456789'


def test_changed_headers_and_bytes(store: Store, client: Any, connect: Connect) -> None:
    """Headers are dropped and added and a bit is flipped; the rest of the response is unchanged."""
    put(client, body=b'0123456789')
    changes = {'drop_headers': ['etag'], 'add_headers': {'X-More': '1', 'Last-Modified': 'x'}, 'flip_byte_at': 3}
    store.script({'operation': 'GetObject', 'action': changes})

    _, headers, body = exchange(connect(), 'GET', '/bucket/key')

    assert 'etag' not in headers
    assert (headers['x-more'], headers['last-modified'], headers['content-length']) == ('1', 'x', '10')
    assert body == b'0122456789'


def test_body_without_length(store: Store, client: Any, connect: Connect) -> None:
    """Without Content-Length the body ends with the connection."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'action': {'drop_headers': ['Content-Length']}})

    _, headers, body = exchange(connect(), 'GET', '/bucket/key')

    assert ('content-length' in headers, headers['connection'], body) == (False, 'close', b'0123456789')


def test_work_done_but_denied(store: Store, client: Any) -> None:
    """With `work` the store does the work, and then sends the scripted response."""
    store.script({'operation': 'PutObject', 'times': 1, 'action': {'work': True, 'status': 500}})

    assert refused(lambda: put(client)) == (500, 'InternalError')
    assert get(client) == b'body'


def test_scripted_answer(store: Store, client: Any, connect: Connect) -> None:
    """Status, headers and body can be scripted, for example an error document with status 200."""
    error = '<Error><Code>InternalError</Code></Error>'
    store.script({'operation': 'HeadObject', 'action': {'status': 503, 'headers': {'Retry-After': '2'}}})
    store.script({'operation': 'GetObject', 'action': {'status': 200, 'body': error, 'delay_s': 0.01}})

    status, headers, body = exchange(connect(), 'HEAD', '/bucket/key')
    assert (status, headers['retry-after'], body) == (503, '2', b'')
    assert get(client) == error.encode()


def test_early_answer(store: Store) -> None:
    """The response can be sent before the client has sent its body; the connection is then closed."""
    store.script({'action': {'status': 403, 'code': 'AccessDenied', 'early': True, 'read_bytes': 10}})
    with socket.create_connection(('127.0.0.1', store.port), timeout=10) as sock:
        sock.sendall(b'PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n' + b'a' * 10)
        answer = b''.join(iter(lambda: sock.recv(65536), b''))

    assert answer.startswith(b'HTTP/1.1 403 ')
    assert b'<Code>AccessDenied</Code>' in answer


def test_raw_answer(store: Store) -> None:
    """Bytes that are not HTTP can be sent."""
    store.script({'action': {'raw': '\x00\x01garbage\r\n'}})
    with socket.create_connection(('127.0.0.1', store.port), timeout=10) as sock:
        sock.sendall(b'GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n')

        assert b''.join(iter(lambda: sock.recv(65536), b'')) == b'\x00\x01garbage\r\n'


def test_dripping_body(store: Store, client: Any) -> None:
    """The body arrives in pieces, and is complete at the end."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'action': {'drip': {'bytes': 3, 'every_s': 0.01}}})

    assert get(client) == b'0123456789'


def test_dripping_at_a_rate(store: Store, client: Any) -> None:
    """The body is not sent faster than the given rate, also if that is less than one byte per interval."""
    put(client, body=b'0123456789')
    for rate, at_least_s in ((100, 0.1), (10, 1.0)):
        store.script({'operation': 'GetObject', 'times': 1, 'action': {'drip': {'bytes_per_s': rate}}})
        begun = time.monotonic()
        assert get(client) == b'0123456789'
        assert time.monotonic() - begun >= at_least_s


def test_stalling_body(store: Store, client: Any) -> None:
    """After the given number of bytes the body stalls, but the connection stays open."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'stall_at': 4}})
    with socket.create_connection(('127.0.0.1', store.port), timeout=10) as sock:
        sock.sendall(b'GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n')
        received = b''
        while not received.endswith(b'\r\n\r\n0123'):
            received += sock.recv(65536)
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(1)

    assert b'Content-Length: 10\r\n' in received
    assert get(client) == b'0123456789'


def test_bits_that_flip_in_the_store(store: Store, client: Any, connect: Connect) -> None:
    """The stored bytes of objects and parts are changed, while ETag and checksum are those of the original."""
    crc = {'x-amz-checksum-crc32': 'y/Q5Jg=='}
    store.script({'operation': 'PutObject', 'times': 1, 'action': {'flip_stored_at': 3}})
    put_status, _, _ = exchange(connect(), 'PUT', '/bucket/key', b'123456789', crc)
    asked = {'x-amz-checksum-mode': 'ENABLED'}
    _, headers, body = exchange(connect(), 'GET', '/bucket/key', b'', asked)

    assert (put_status, body) == (200, b'123556789')
    assert headers['x-amz-checksum-crc32'] == 'y/Q5Jg=='
    assert headers['etag'] == '"25f9e794323b453885f5181f1b624d0b"'

    upload = begin_upload(client)
    store.script({'operation': 'UploadPart', 'times': 1, 'action': {'flip_stored_at': 0}})
    part = client.upload_part(**upload, PartNumber=1, Body=b'123456789')
    parts = [{'PartNumber': 1, 'ETag': part['ETag']}]
    client.complete_multipart_upload(**upload, MultipartUpload={'Parts': parts})
    assert part['ETag'] == '"25f9e794323b453885f5181f1b624d0b"'
    assert get(client) == b'023456789'


def test_bits_that_flip_on_the_way(store: Store, client: Any, connect: Connect) -> None:
    """The received bytes are changed: with a checksum they are refused; without one the ETag is that of the changed bytes."""
    store.script({'operation': 'PutObject', 'action': {'flip_received_at': 3}})

    refusal, _, document = exchange(connect(), 'PUT', '/bucket/key', b'123456789', {'x-amz-checksum-crc32': 'y/Q5Jg=='})
    assert (refusal, b'<Code>BadDigest</Code>' in document) == (400, True)
    assert refused(lambda: get(client)) == (404, 'NoSuchKey')

    _, headers, _ = exchange(connect(), 'PUT', '/bucket/key', b'123456789')
    assert headers['etag'] == f'"{hashlib.md5(b"123556789").hexdigest()}"'


def test_bits_that_flip_on_the_way_back(store: Store, client: Any, connect: Connect) -> None:
    """The body of the response is changed; its checksum header is not."""
    exchange(connect(), 'PUT', '/bucket/key', b'123456789', {'x-amz-checksum-crc32': 'y/Q5Jg=='})
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'flip_byte_at': 3}})

    for expected in (b'123556789', b'123456789'):
        _, headers, body = exchange(connect(), 'GET', '/bucket/key', b'', {'x-amz-checksum-mode': 'ENABLED'})
        assert (body, headers['x-amz-checksum-crc32']) == (expected, 'y/Q5Jg==')


def test_times_in_the_log(store: Store, client: Any) -> None:
    """Each request in the log has its start and, after the response, its end, in seconds of this process's clock."""
    put(client, body=b'0123456789')
    store.script({'operation': 'GetObject', 'action': {'drip': {'bytes': 5, 'every_s': 0.1}}})
    begun = time.monotonic()
    get(client)

    entry = store.log('GetObject')[0]

    assert begun <= entry['time'] <= entry['ended'] <= time.monotonic()
    assert entry['ended'] - entry['time'] >= 0.2
    assert all(each['ended'] is not None for each in store.log())


def test_the_log_of_what_has_no_end_yet(store: Store, client: Any) -> None:
    """A request without a response is in the log without an end; if its connection is closed, it has one."""
    store.script({'operation': 'GetObject', 'times': 1, 'action': {'hang_s': 60}})
    with socket.create_connection(('127.0.0.1', store.port), timeout=10) as sock:
        sock.sendall(b'GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n')
        entry = wait_for(lambda: store.log('GetObject'))[0]
        assert (entry['status'], entry['ended']) == (None, None)

    assert wait_for(lambda: [each for each in store.log('GetObject') if each['ended'] is not None])[0]['status'] is None


def test_reset_on_the_second_request_of_a_connection(store: Store, connect: Connect) -> None:
    """A rule can count the requests of each connection."""
    store.script({'nth': 2, 'action': {'reset': True}})
    for _ in range(2):
        connection = connect()
        assert exchange(connection, 'GET', '/')[0] == 200
        with pytest.raises(ConnectionError):
            exchange(connection, 'GET', '/')


def test_misspelt_script_is_refused(store: Store) -> None:
    """An invalid rule is an error when it is set."""
    with pytest.raises(ValueError, match='sttaus'):
        store.script({'action': {'sttaus': 503}})


def test_reset_forgets(store: Store, client: Any) -> None:
    """A reset removes objects, rules and the log; connections stay open."""
    put(client)
    store.script({'action': {'status': 500}})

    store.reset()

    assert store.log() == []
    assert client.list_buckets()['Buckets'] == []
    assert store.stats()['connections'] == 0


def test_a_client_that_vanishes_does_no_harm() -> None:
    """A reset in the middle of a request ends that connection only."""
    with Store() as store:  # its own store: the time at which the connection is accepted is unknown
        sock = socket.create_connection(('127.0.0.1', store.port))
        sock.sendall(b'PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbody')
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()

        client = new_client(store)
        client.create_bucket(Bucket='bucket')
        put(client, 'other')
        assert refused(lambda: get(client)) == (404, 'NoSuchKey')
        client.close()
