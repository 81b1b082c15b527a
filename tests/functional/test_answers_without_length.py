"""Responses whose length is known only at their end, or never, and invalid lengths; over both transports."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import s3po
from s3po.errors import DownloadError, IntegrityError, NetworkError, S3poError, TransferError
from tests.conftest import BUCKET
from tests.support.answering import Answering, Asked, Reply
from tests.support.kinds import KINDS, Kind

Connect = Callable[..., s3po.Connection]

DATA: Final = os.urandom(3_000_000)
CHUNKED: Final = {'Transfer-Encoding': 'chunked', 'ETag': '"e"'}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def in_chunks(data: bytes, size_bytes: int = 100_000) -> bytes:
    pieces = [data[start : start + size_bytes] for start in range(0, len(data), size_bytes)]
    return b''.join(b'%x\r\n%b\r\n' % (len(piece), piece) for piece in pieces) + b'0\r\n\r\n'


def test_chunks(connect: Connect, tmp_path: Path) -> None:
    """A chunked response is downloaded to memory, a path or a file object, also if it is empty."""
    for data in (DATA, b'x', b''):
        with Answering(lambda _, data=data: Reply(headers=CHUNKED, body=in_chunks(data))) as server:
            conn = connect(server.endpoint_url)

            assert conn.download(BUCKET, 'key') == data
            conn.download_file(BUCKET, 'key', tmp_path / 'file')
            assert (tmp_path / 'file').read_bytes() == data
            with open(tmp_path / 'other', 'wb') as file:
                assert conn.download(BUCKET, 'key', file).size_bytes == len(data)
            assert (tmp_path / 'other').read_bytes() == data


@pytest.mark.parametrize('body', [in_chunks(DATA)[:-5], in_chunks(DATA)[:-500_000], in_chunks(b'x')[:-7] + b'zz\r\n'])
def test_chunks_that_are_cut(connect: Connect, tmp_path: Path, body: bytes) -> None:
    """A chunked body without its last chunk fails the download, and the file is unchanged."""
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    with Answering(lambda _: Reply(headers=CHUNKED, body=body, is_last=True)) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))

        with pytest.raises(DownloadError):
            conn.download(BUCKET, 'key')
        with pytest.raises(DownloadError):
            conn.download_file(BUCKET, 'key', path)
    assert path.read_bytes() == b'old'


def test_chunks_that_are_cut_once(connect: Connect, tmp_path: Path) -> None:
    """After a truncated chunked body, the next attempt starts at the first byte."""
    bodies = [in_chunks(b'other' * 500_000)[:-9], in_chunks(DATA)] * 2

    def answer(asked: Asked) -> Reply:
        if asked.method == 'HEAD':
            return Reply(headers=CHUNKED)
        body = bodies.pop(0)
        return Reply(headers=CHUNKED, body=body, is_last=True)

    with Answering(answer) as server:
        conn = connect(server.endpoint_url)

        assert conn.download(BUCKET, 'key') == DATA
        conn.download_file(BUCKET, 'key', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == DATA


def test_checksums_of_chunks(connect: Connect) -> None:
    """The checksum header of a chunked response is compared with its bytes."""
    with Answering(lambda _: Reply(headers={**CHUNKED, 'x-amz-checksum-crc32': 'AAAAAA=='}, body=in_chunks(DATA))) as server:
        with pytest.raises(IntegrityError):
            connect(server.endpoint_url).download(BUCKET, 'key')


@pytest.mark.parametrize(('said', 'is_right'), [('bytes 5-14/20', True), ('bytes 5-13/20', False), ('bytes 5-15/20', False)])
def test_ranges_in_chunks(connect: Connect, said: str, is_right: bool) -> None:
    """The chunks of a range must have the length that Content-Range states."""
    start, stop = (int(each) for each in said[6:].split('/', maxsplit=1)[0].split('-'))
    with Answering(
        lambda _: Reply(status=206, headers={**CHUNKED, 'Content-Range': said}, body=in_chunks(DATA[5:15]))
    ) as server:
        conn = connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0))
        if is_right:
            assert conn.download(BUCKET, 'key', byte_range=(start, stop + 1)) == DATA[5:15]
        else:
            with pytest.raises(S3poError):
                conn.download(BUCKET, 'key', byte_range=(start, stop + 1))


def test_whole_object_in_chunks_for_a_range(connect: Connect) -> None:
    """Chunks without a Content-Range may be the whole object, so they are an error if a range was requested."""
    with Answering(lambda _: Reply(headers=CHUNKED, body=in_chunks(b'data'))) as server:
        conn = connect(server.endpoint_url)
        calls: list[Callable[[], Any]] = [
            lambda: conn.download(BUCKET, 'key', byte_range=(0, 4)),
            lambda: conn.download(BUCKET, 'key', byte_range=(1, 4)),
            lambda: conn.open(BUCKET, 'key'),
        ]
        for call in calls:
            with pytest.raises(IntegrityError):
                call()


def test_no_length_at_all(connect: Connect) -> None:
    """A body without a length, which ends with the connection, may be truncated, and is an error."""
    with Answering(lambda _: Reply(headers={'ETag': '"e"'}, body=DATA)) as server:
        with pytest.raises(DownloadError, match='no Content-Length'):
            connect(server.endpoint_url).download(BUCKET, 'key')


def test_head_without_length(connect: Connect) -> None:
    """If the response to HEAD has no length, a GET finds the size, or the call fails."""
    said = {'Content-Range': 'bytes 0-0/20', 'Content-Length': '1', 'ETag': '"e"'}

    def answer(asked: Asked) -> Reply:
        return Reply(headers={'ETag': '"e"'}) if asked.method == 'HEAD' else reply

    with Answering(answer) as server:
        conn = connect(server.endpoint_url)
        reply = Reply(status=206, headers=said, body=b'x')
        assert conn.head(BUCKET, 'key').size_bytes == 20
        reply = Reply(headers=CHUNKED, body=in_chunks(b'data'))
        with pytest.raises(TransferError, match='neither'):
            conn.head(BUCKET, 'key')


@pytest.mark.parametrize('length', ['9' * 5000, '-1', '4.0', '4, 5', 'four'])
def test_lengths_that_are_none(connect: Connect, length: str) -> None:
    """An invalid Content-Length is a network error over both transports, and is retried."""
    calls: list[Callable[[s3po.Connection], Any]] = [
        lambda conn: conn.head(BUCKET, 'key'),
        lambda conn: conn.download(BUCKET, 'key'),
    ]
    headers = {'Content-Length': length, 'ETag': '"e"'}
    with Answering(lambda _: Reply(headers=headers, body=b'data', is_last=True)) as server:
        conn = connect(server.endpoint_url)
        for call in calls:
            with pytest.raises(TransferError) as caught:
                call(conn)
            assert isinstance(caught.value.__cause__, NetworkError)


@pytest.mark.parametrize('name', ['Retry-After', 'x-amz-retry-after'])
@pytest.mark.parametrize('value', ['9' * 5000, 'Sun, 06 Nov ' + '9' * 5000 + ' 08:49:37 GMT', '-1', '²'])
def test_patience_that_is_no_number(connect: Connect, name: str, value: str) -> None:
    """An invalid Retry-After does not hide the refusal, which is raised."""
    headers = {name: value, 'Content-Length': '0'}
    with Answering(lambda _: Reply(status=503, headers=headers)) as server:
        with pytest.raises(TransferError) as caught:
            connect(server.endpoint_url, retry=s3po.RetryPolicy(retries=0)).download(BUCKET, 'key')
        assert isinstance(caught.value.__cause__, s3po.Throttled)


def test_weak_etags(connect: Connect) -> None:
    """A weak ETag is returned unchanged, and does not satisfy If-Match."""
    headers = {'ETag': 'W/"e"', 'Content-Length': '4'}
    with Answering(lambda _: Reply(headers=headers, body=b'data')) as server:
        conn = connect(server.endpoint_url)

        assert conn.head(BUCKET, 'key').etag == 'W/"e"'
        with pytest.raises(s3po.PreconditionFailed):
            conn.download(BUCKET, 'key', if_match='W/"e"')
        assert server.asked[-1].headers['if-match'] == 'W/"e"'
