"""The proxy of the chaos tests: each fault is as described, repeats with its seed, and is counted only if it occurred."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Iterator

import pytest

from tests.support.chaos import FaultyProxy
from tests.support.servers import Store

BODY = bytes(range(250)) * 400
STALL_S = 0.5
Answer = tuple[int, bytes]


@pytest.fixture
def proxy(store: Store) -> Iterator[FaultyProxy]:
    """A proxy that applies the selected fault to every exchange."""
    with FaultyProxy(f'127.0.0.1:{store.port}', 3, STALL_S) as proxy:
        for path in ('/bucket', '/bucket/key', '/bucket/empty'):
            assert ask(proxy, 'PUT', path, BODY if path == '/bucket/key' else b'')[0] == 200
        proxy.share(1.0)
        proxy.only()
        yield proxy


def ask(proxy: FaultyProxy, method: str, path: str, body: bytes = b'') -> Answer:
    connection = http.client.HTTPConnection('127.0.0.1', proxy.port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def cut(proxy: FaultyProxy, path: str) -> bytes:
    """The bytes that arrive of a truncated body."""
    with pytest.raises(http.client.IncompleteRead) as raised:
        ask(proxy, 'GET', path)
    return raised.value.partial


def methods(store: Store) -> list[str]:
    return [each['operation'] for each in store.log()]


def test_nothing(proxy: FaultyProxy) -> None:
    """Without faults the proxy passes responses on, over one connection."""
    connection = http.client.HTTPConnection('127.0.0.1', proxy.port, timeout=10)
    for path, body in (('/bucket/key', BODY), ('/bucket/empty', b''), ('/bucket/key', BODY)):
        connection.request('GET', path)
        assert connection.getresponse().read() == body
    connection.close()
    assert set(proxy.stats()) == {'exchanges'}


def test_f04_resets_before_the_request_reaches_the_store(proxy: FaultyProxy, store: Store) -> None:
    """F04 resets the connection (RST, not FIN) before the request reaches the store."""
    before = methods(store)
    proxy.only('F04')

    with pytest.raises(ConnectionResetError):
        ask(proxy, 'PUT', '/bucket/other', b'body')
    assert methods(store) == before
    assert proxy.stats()['F04'] == 1


def test_f08_stops_in_the_body(proxy: FaultyProxy) -> None:
    """F08 stalls at 40 % of the body for the configured time."""
    proxy.only('F08')
    began = time.monotonic()

    assert cut(proxy, '/bucket/key') == BODY[: len(BODY) * 4 // 10]
    assert time.monotonic() - began >= STALL_S
    assert proxy.stats()['F08'] == 1


def test_f23_refuses_before_the_request_reaches_the_store(proxy: FaultyProxy, store: Store) -> None:
    """F23 responds with 500 before the request reaches the store; the connection stays open."""
    before = methods(store)
    proxy.only('F23')

    status, body = ask(proxy, 'GET', '/bucket/key')

    assert status == 500
    assert b'<Code>InternalError</Code>' in body
    assert ask(proxy, 'HEAD', '/bucket/key') == (500, b'')
    assert methods(store) == before
    assert proxy.stats()['F23'] == 2


def test_f26_late_errors(proxy: FaultyProxy, store: Store) -> None:
    """F26 responds to completions with a late error, although some were carried out; uploads of parts are not affected."""
    proxy.only('F26')
    for number in range(20):
        body = ask(proxy, 'POST', f'/bucket/parts{number}?uploads')[1]
        upload_id = body.partition(b'<UploadId>')[2].partition(b'</UploadId>')[0].decode()
        assert ask(proxy, 'PUT', f'/bucket/parts{number}?partNumber=1&uploadId={upload_id}', b'part')[0] == 200
        part = f'<Part><PartNumber>1</PartNumber><ETag>"{hashlib.md5(b"part").hexdigest()}"</ETag></Part>'
        document = f'<CompleteMultipartUpload>{part}</CompleteMultipartUpload>'.encode()
        status, body = ask(proxy, 'POST', f'/bucket/parts{number}?uploadId={upload_id}', document)
        assert status == 200
        assert b'<Error><Code>InternalError</Code>' in body

    assert proxy.stats()['F26'] == 20
    assert 0 < proxy.stats()['F26 done'] < 20
    proxy.only()
    assert sum(ask(proxy, 'HEAD', f'/bucket/parts{number}')[0] == 200 for number in range(20)) == proxy.stats()['F26 done']


def test_f42_ends_in_the_body(proxy: FaultyProxy) -> None:
    """F42 ends the body at 40 %, at once."""
    proxy.only('F42')

    assert cut(proxy, '/bucket/key') == BODY[: len(BODY) * 4 // 10]
    assert proxy.stats()['F42'] == 1


def test_f46_flips_one_bit(proxy: FaultyProxy) -> None:
    """F46 flips one bit, each time another one, and the same ones for the same seed."""
    proxy.only('F46')
    seen = [ask(proxy, 'GET', '/bucket/key')[1] for _ in range(5)]

    for body in seen:
        assert len(body) == len(BODY)
        assert sum((one ^ other).bit_count() for one, other in zip(body, BODY, strict=True)) == 1
    assert len(set(seen)) == 5


def test_what_cannot_be_spoiled_is_not_counted(proxy: FaultyProxy) -> None:
    """A fault that cannot occur is not counted: an empty body cannot be truncated."""
    proxy.only('F08', 'F42', 'F46')

    assert ask(proxy, 'GET', '/bucket/empty') == (200, b'')
    assert ask(proxy, 'HEAD', '/bucket/key') == (200, b'')
    assert set(proxy.stats()) == {'exchanges'}


def test_its_seed_repeats_it(store: Store) -> None:
    """The faults depend on the seed and not on the order of the requests."""
    paths = [f'/bucket/{number}' for number in range(100)]

    def faults(seed: int, order: list[str]) -> tuple[dict[str, Answer], dict[str, int]]:
        with FaultyProxy(f'127.0.0.1:{store.port}', seed) as proxy:
            proxy.only('F23')
            proxy.share(0.2)
            return {path: ask(proxy, 'GET', path) for path in order}, proxy.stats()

    first, counts = faults(1, paths)
    again, _ = faults(1, paths[::-1])
    other, _ = faults(2, paths)
    statuses = {path: status for path, (status, _) in first.items()}
    assert statuses == {path: status for path, (status, _) in again.items()}
    assert statuses != {path: status for path, (status, _) in other.items()}
    assert list(statuses.values()).count(500) == counts['F23'] > 0
    assert counts['exchanges'] == 100
