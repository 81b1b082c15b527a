"""Responses with a part, another part, or another version of the requested object (F67, F72)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import DownloadError, IntegrityError, PreconditionFailed, S3poError, SourceChanged
from tests.conftest import BUCKET
from tests.support.answering import Answering, Asked, Reply

Connect = Callable[..., s3po.Connection]
Change = Callable[[Reply], Reply]

DATA: Final = os.urandom(500_000)


class Versions:
    """A server that ignores If-Match, and responds to each request with the next version of the object.

    Attributes:
        bodies: The versions, all of the same length. The last one is repeated.
        served: The number of requests.
        change: A function that changes each response.
    """

    def __init__(self, *bodies: bytes, change: Change = lambda reply: reply, ranges_status: int = 206) -> None:
        self.bodies = bodies
        self.served = 0
        self.change = change
        self.ranges_status = ranges_status

    def __call__(self, asked: Asked) -> Reply:
        number = min(self.served, len(self.bodies) - 1)
        self.served += 1
        body = self.bodies[number]
        headers = {'ETag': f'"version{number}"', 'x-amz-request-id': 'id', 'Content-Length': str(len(body))}
        if 'range' not in asked.headers:
            return self.change(Reply(headers=headers, body=body))
        first, _, last = asked.headers['range'].removeprefix('bytes=').partition('-')
        start, stop = int(first), min(len(body), int(last) + 1 if last else len(body))
        headers |= {'Content-Range': f'bytes {start}-{stop - 1}/{len(body)}', 'Content-Length': str(stop - start)}
        return self.change(Reply(status=self.ranges_status, headers=headers, body=body[start:stop]))


def halved(reply: Reply) -> Reply:
    """A correct response for another range: the first half of the requested one."""
    if reply.status != 206:
        return reply
    start, whole = reply.headers['Content-Range'][6:].split('-')[0], reply.headers['Content-Range'].split('/')[1]
    half = reply.body[: len(reply.body) // 2]
    said = f'bytes {start}-{int(start) + len(half) - 1}/{whole}'
    return Reply(status=206, headers={**reply.headers, 'Content-Range': said, 'Content-Length': str(len(half))}, body=half)


def unknown(reply: Reply) -> Reply:
    """The same, without the size of the object in Content-Range."""
    half = halved(reply)
    return Reply(
        status=206,
        headers={**half.headers, 'Content-Range': half.headers['Content-Range'].split('/')[0] + '/*'},
        body=half.body,
    )


@pytest.mark.fault('F67')
@pytest.mark.parametrize('change', [halved, unknown])
def test_short_ranges(connect: Connect, change: Change) -> None:
    """A response with half of the range is an error, for downloads and for readers."""
    with Answering(Versions(DATA, change=change)) as server:
        conn = connect(server.endpoint_url)

        with pytest.raises((IntegrityError, DownloadError)):
            conn.download(BUCKET, 'key', byte_range=(0, 100))
        with pytest.raises(S3poError):
            conn.open(BUCKET, 'key')


@pytest.mark.fault('F67')
def test_short_ranges_after_the_first(connect: Connect) -> None:
    """If ranges become short after a reader was opened, read() raises: it neither returns NULs nor loops."""
    store = Versions(DATA)
    with Answering(store) as server:
        file = connect(server.endpoint_url).open(BUCKET, 'key')
        store.change = halved

        for offset in (400_000, 200_000):
            file.seek(offset)
            with pytest.raises((IntegrityError, DownloadError)):
                file.read(60_000)
        file.close()


@pytest.mark.fault('F67')
def test_ranges_that_end_with_the_object(connect: Connect) -> None:
    """A range that extends beyond the object ends with it; a 200 with the requested Content-Range is accepted."""
    for status in (206, 200):
        with Answering(Versions(DATA, ranges_status=status)) as server:
            conn = connect(server.endpoint_url)

            assert conn.download(BUCKET, 'key', byte_range=(499_990, 600_000)) == DATA[-10:]
            assert conn.download(BUCKET, 'key', byte_range=(7, 100)) == DATA[7:100]
            with conn.open(BUCKET, 'key') as file:
                assert file.read() == DATA


@pytest.mark.fault('F67')
def test_parts_of_a_store_without_206(connect: Connect) -> None:
    """A multipart download from a store that responds to ranges with 200 (gofakes3, `rclone serve s3`) is correct."""
    data = os.urandom(15 * MIB + 7)
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    with Answering(Versions(data, ranges_status=200)) as server:
        assert connect(server.endpoint_url, config=config).download(BUCKET, 'key') == data
        assert sum('range' in asked.headers for asked in server.asked) == 3


@pytest.mark.fault('F68')
def test_part_of_the_object_instead_of_all(connect: Connect) -> None:
    """A 206, or a 200 with a Content-Range, is not accepted if the whole object was requested."""
    for status in (206, 200):
        headers = {'Content-Range': 'bytes 0-3/9', 'Content-Length': '4', 'ETag': '"e"'}
        with Answering(lambda _, status=status, headers=headers: Reply(status=status, headers=headers, body=b'data')) as server:
            with pytest.raises(DownloadError, match='Content-Range|206'):
                connect(server.endpoint_url).download(BUCKET, 'key')


@pytest.mark.fault('F72')
def test_another_version_than_wanted(connect: Connect) -> None:
    """If a store ignores If-Match, a response with another version is an error, for every kind of read."""
    calls: list[Callable[[s3po.Connection], Any]] = [
        lambda conn: conn.download(BUCKET, 'key', if_match='other'),
        lambda conn: conn.download(BUCKET, 'key', if_match='"other", "third"'),
        lambda conn: conn.download(BUCKET, 'key', if_match='other', byte_range=(0, 10)),
        lambda conn: conn.copy(BUCKET, 'key', to_bucket=BUCKET, to_key='new', if_match='other'),
        lambda conn: conn.move(BUCKET, 'key', to_bucket=BUCKET, to_key='new', if_match='other'),
    ]
    with Answering(Versions(DATA)) as server:
        conn = connect(server.endpoint_url)
        for call in calls:
            with pytest.raises(PreconditionFailed, match='If-Match'):
                call(conn)
        assert {asked.method for asked in server.asked} <= {'GET', 'HEAD'}
        for wanted in ('version0', '"version0"', '*', '"x", "version0"'):
            assert conn.download(BUCKET, 'key', if_match=wanted) == DATA


@pytest.mark.fault('F72')
def test_versions_that_are_mixed(connect: Connect) -> None:
    """If a store ignores If-Match, neither a reader nor a download in parts mixes two versions."""
    old, new = os.urandom(11 * MIB), os.urandom(11 * MIB)
    config = s3po.TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    with Answering(Versions(old, new)) as server:
        with connect(server.endpoint_url).open(BUCKET, 'key') as file, pytest.raises(SourceChanged):
            file.read()
    with Answering(Versions(old, new, old, new)) as server:
        # The download restarts, and then gets a single version, the last one.
        assert connect(server.endpoint_url, config=config).download(BUCKET, 'key') == new


@pytest.mark.fault('F72')
@pytest.mark.parametrize('etags', [('W/"a"', 'W/"b"'), ('', '"b"'), ('W/"a"', '')], ids=['weak', 'none', 'lost'])
def test_readers_without_a_strong_etag(connect: Connect, etags: tuple[str, str]) -> None:
    """If If-Match cannot be used, a reader compares the headers of the responses."""

    def without(reply: Reply, etag: str) -> Reply:
        headers = {name: value for name, value in {**reply.headers, 'ETag': etag}.items() if value}
        return Reply(status=reply.status, headers=headers, body=reply.body)

    store = Versions(DATA, change=lambda reply: without(reply, etags[0]))
    with Answering(store) as server, connect(server.endpoint_url).open(BUCKET, 'key') as file:
        file.seek(300_000)
        assert file.read(1000) == DATA[300_000:301_000]
        assert 'if-match' not in server.asked[-1].headers
        store.change = lambda reply: without(reply, etags[1])
        file.seek(100)
        file.seek(150_000)
        with pytest.raises(SourceChanged):
            file.read(1000)
