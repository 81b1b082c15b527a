"""Responses that are short, shifted, changed or compressed (F42 to F46, F48 to F50): a download is complete, or an error."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import DownloadError, IntegrityError, NetworkError, SourceChanged
from s3po.transfer.fetching import READ_BYTES
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.noise import noise
from tests.support.servers import Store

Connect = Callable[..., s3po.Connection]

PART = 5 * MIB
LARGE = noise(15 * MIB + 7)
SMALL = os.urandom(300_000)
OTHER = noise(len(LARGE), 1)
IN_PARTS = s3po.TransferConfig(multipart_threshold=4 * PART, multipart_chunksize=PART, max_concurrency=2)


@pytest.fixture
def conn(store: Store, connect: Connect) -> s3po.Connection:
    """A connection that downloads in parts; the bucket exists."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    return connection


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that exists already, alone in its directory."""
    path = tmp_path / 'target'
    path.write_bytes(b'old')
    return path


def once(times: int | None = 1, **action: Any) -> dict[str, Any]:
    """A rule for the next GetObject requests."""
    return {'operation': 'GetObject', 'times': times, 'action': action}


def of_ranges(etag: str, times: int | None = 1, *, skip: int = 0, **action: Any) -> dict[str, Any]:
    """A rule for the next GetObject requests of ranges."""
    return {**once(times, **action), 'headers': {'if-match': f'"{etag}"'}, 'skip': skip}


def is_old(target: Path) -> bool:
    """True if the target has its old content and is the only file in its directory."""
    return target.read_bytes() == b'old' and list(target.parent.iterdir()) == [target]


def is_new(target: Path, data: bytes) -> bool:
    """True if the target has the object's content and is the only file in its directory."""
    return target.read_bytes() == data and list(target.parent.iterdir()) == [target]


# ---------------------------------------------------------------------- short responses


@pytest.mark.fault('F42')
@pytest.mark.parametrize('reset', [False, True], ids=['FIN', 'RST'])
def test_short_part(conn: s3po.Connection, store: Store, target: Path, kind: Kind, *, reset: bool) -> None:
    """A range that is cut at 40 % is continued after its last byte, in the same version, and no byte is fetched twice."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    cut = PART * 2 // 5
    store.script(of_ranges(etag, cut_body_at=cut, reset=reset))

    result = conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)
    ranges = [seen['headers'] for seen in store.log('GetObject')[1:]]
    assert {each['if-match'] for each in ranges} == {f'"{etag}"'}
    starts = sorted(int(each['range'].removeprefix('bytes=').partition('-')[0]) for each in ranges)
    assert len(starts) == 4
    assert result.attempts == result.parts + 1
    # RST may overtake bytes that were sent, and boto returns whole pieces only, so up to one piece is fetched again.
    if not reset:
        resumed = next(start for start in starts if start % PART) % PART
        assert resumed == cut if kind.name == 'wire' else cut - READ_BYTES < resumed <= cut


@pytest.mark.fault('F42')
def test_short_first_answer(conn: s3po.Connection, store: Store, target: Path, kind: Kind) -> None:
    """If the first response, which contains the first part, is cut, it is continued as well."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(once(cut_body_at=100_000))

    conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)
    assert f'bytes={100_000 if kind.name == "wire" else 0}-5242879' in [
        seen['headers'].get('range') for seen in store.log('GetObject')
    ]
    assert all(seen['headers']['if-match'] == f'"{etag}"' for seen in store.log('GetObject')[1:])


@pytest.mark.fault('F42')
def test_short_for_ever(conn: s3po.Connection, store: Store, target: Path) -> None:
    """If no more bytes arrive in any attempt, the download fails and the target is unchanged."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(of_ranges(etag, None, cut_body_at=0))

    with pytest.raises(DownloadError) as caught:
        conn.download(BUCKET, 'key', target)

    assert type(caught.value.__cause__) is NetworkError
    assert is_old(target)


@pytest.mark.fault('F43')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['small', 'large'])
@pytest.mark.parametrize('cut', [0, 1000, None])
def test_without_length(conn: s3po.Connection, store: Store, target: Path, data: bytes, cut: int | None) -> None:
    """A response without a length may be truncated, so it is an error, complete or not, and is requested again."""
    conn.upload(BUCKET, 'key', data)
    store.script(once(drop_headers=['Content-Length'], cut_body_at=cut))

    result = conn.download(BUCKET, 'key', target)

    assert is_new(target, data)
    assert result.attempts == result.parts + 1


@pytest.mark.fault('F43')
def test_without_length_for_ever(conn: s3po.Connection, store: Store, target: Path) -> None:
    """If every response lacks a length, the error names the missing header, and the old file is unchanged."""
    conn.upload(BUCKET, 'key', SMALL)
    store.script(once(None, drop_headers=['Content-Length']))

    with pytest.raises(DownloadError, match='no Content-Length'):
        conn.download(BUCKET, 'key', target)

    assert is_old(target)
    assert len(store.log('GetObject')) == 4


# ---------------------------------------------------------------------- ranges that are ignored


@pytest.mark.fault('F44')
def test_range_ignored(conn: s3po.Connection, store: Store, target: Path) -> None:
    """If a store always responds to a range with the whole object, the download reads one stream and writes each byte once."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(of_ranges(etag, None, ignore_range=True))

    result = conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)
    assert result.parts == 1
    assert 'sends the whole object' in result.warnings[0]


@pytest.mark.fault('F44')
def test_range_ignored_once(conn: s3po.Connection, store: Store, target: Path) -> None:
    """A range that is ignored once is requested again; the download stays in parts."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(of_ranges(etag, ignore_range=True))

    conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)


@pytest.mark.fault('F44')
def test_range_of_the_caller_ignored(conn: s3po.Connection, store: Store, target: Path) -> None:
    """If the store ignores the caller's byte_range, the download fails rather than return other bytes."""
    conn.upload(BUCKET, 'key', SMALL)
    store.script(once(None, ignore_range=True))

    for byte_range in ((10, 20), (10, None), (0, 20)):
        with pytest.raises(IntegrityError):
            conn.download(BUCKET, 'key', target, byte_range=byte_range)
    assert is_old(target)


SHIFTED = {
    'shifted': {'add_headers': {'Content-Range': f'bytes {PART + 1}-{2 * PART}/{len(LARGE)}'}},
    'without Content-Range': {'drop_headers': ['Content-Range']},
    'of another length': {'add_headers': {'Content-Range': f'bytes {PART}-{2 * PART}/{len(LARGE)}'}},
    'of a larger object': {'add_headers': {'Content-Range': f'bytes {PART}-{2 * PART - 1}/{len(LARGE) + 1}'}},
    'of no known size': {'add_headers': {'Content-Range': f'bytes {PART}-{2 * PART - 1}/*'}},
    'of another object': {'add_headers': {'ETag': '"0123456789abcdef0123456789abcdef"'}},
    'without ETag': {'drop_headers': ['ETag']},
}


@pytest.mark.fault('F45')
@pytest.mark.parametrize('how', SHIFTED)
def test_wrong_range(conn: s3po.Connection, store: Store, target: Path, how: str) -> None:
    """A wrong part is requested again; if it stays wrong, the download fails and the target is unchanged."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    second = {'if-match': f'"{etag}"', 'range': f'bytes={PART}-{2 * PART - 1}'}
    rule = {'operation': 'GetObject', 'headers': second, 'action': SHIFTED[how]}
    store.script({**rule, 'times': 1})

    conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)
    target.write_bytes(b'old')
    store.script({**rule, 'times': None})
    with pytest.raises((IntegrityError, DownloadError, SourceChanged)) as caught:
        conn.download(BUCKET, 'key', target)
    if how == 'of another object':
        assert type(caught.value) is SourceChanged
    else:
        assert isinstance(caught.value, IntegrityError) or type(caught.value.__cause__) is NetworkError
    assert is_old(target)


# ---------------------------------------------------------------------- changed bytes


def crc32(data: bytes) -> str:
    """The CRC32 in the form of S3's headers (base64)."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()


def guarded(store: Store, conn: s3po.Connection, data: bytes) -> None:
    """Store an object with a checksum."""
    conn.conn.put_object(Bucket=BUCKET, Key='key', Body=data, ChecksumCRC32=crc32(data))
    assert conn.conn.head_object(Bucket=BUCKET, Key='key', ChecksumMode='ENABLED')['ContentLength'] == len(data)


@pytest.mark.fault('F46')
@pytest.mark.parametrize('at', [0, -1])
@pytest.mark.parametrize('into', ['memory', 'path', 'file'])
def test_flipped_bit(conn: s3po.Connection, store: Store, target: Path, at: int, into: str) -> None:
    """A flipped bit is detected at either end of the object and for every kind of target, and the object is fetched again."""
    guarded(store, conn, SMALL)
    store.script(once(flip_byte_at=at))

    if into == 'memory':
        assert conn.download(BUCKET, 'key') == SMALL
    elif into == 'path':
        assert conn.download(BUCKET, 'key', target).attempts == 2
        assert is_new(target, SMALL)
    else:
        with target.open('wb') as file:
            conn.download(BUCKET, 'key', file)
        assert is_new(target, SMALL)
    assert len(store.log('GetObject')) == 2


@pytest.mark.fault('F46')
@pytest.mark.parametrize('part', [0, 1, 3])
def test_flipped_bit_in_a_part(conn: s3po.Connection, store: Store, target: Path, part: int) -> None:
    """A flipped bit is detected in any part of a large object, also in the short last part."""
    guarded(store, conn, LARGE)
    etag = conn.head(BUCKET, 'key').etag
    stop = min(len(LARGE), (part + 1) * PART)
    headers = {'range': f'bytes={part * PART}-{stop - 1}', 'if-match': f'"{etag}"'} if part else {}
    store.script({**once(flip_byte_at=3), 'headers': headers})

    conn.download(BUCKET, 'key', target)

    assert is_new(target, LARGE)


@pytest.mark.fault('F46')
@pytest.mark.parametrize('data', [SMALL, LARGE], ids=['small', 'large'])
def test_flipped_bit_for_ever(conn: s3po.Connection, store: Store, target: Path, data: bytes) -> None:
    """If a bit is flipped in every response, the download fails and writes no file."""
    guarded(store, conn, data)
    store.script(once(None, flip_byte_at=3))

    with pytest.raises(IntegrityError, match='not the stored ones') as caught:
        conn.download(BUCKET, 'key', target)

    assert caught.value.attempts == 3
    assert is_old(target)
    with pytest.raises(IntegrityError):
        conn.download(BUCKET, 'key')


@pytest.mark.fault('F46')
def test_flipped_bit_by_etag(store: Store, connect: Connect, target: Path) -> None:
    """Without a stored checksum, and with checksum='md5', an ETag that is an MD5 is compared."""
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(checksum='md5'))
    store.create_bucket(BUCKET)
    conn.upload(BUCKET, 'key', SMALL)
    assert conn.head(BUCKET, 'key').etag == hashlib.md5(SMALL).hexdigest()
    store.script(once(flip_byte_at=3, drop_headers=['x-amz-checksum-crc64nvme', 'x-amz-checksum-crc32']))

    conn.download(BUCKET, 'key', target)

    assert is_new(target, SMALL)
    assert len(store.log('GetObject')) == 2


# ---------------------------------------------------------------------- objects that change


@pytest.mark.fault('F48')
def test_replaced_between_parts(conn: s3po.Connection, store: Store, connect: Connect, target: Path) -> None:
    """If an object is replaced after its first part, it is downloaded again, and all bytes are from the new version."""
    old = conn.upload(BUCKET, 'key', LARGE).etag
    writer = connect(store.endpoint_url)
    new = writer.upload(BUCKET, 'key', OTHER).etag
    # The first response still has the ETag of the old object, so the next ranges request a version that no longer exists.
    store.script(once(add_headers={'ETag': f'"{old}"'}))

    result = conn.download(BUCKET, 'key', target)

    assert is_new(target, OTHER)
    assert result.etag == new
    firsts = [seen for seen in store.log('GetObject') if 'range' not in seen['headers']]
    assert len(firsts) == 2


@pytest.mark.fault('F48')
def test_replaced_again_and_again(conn: s3po.Connection, store: Store, target: Path) -> None:
    """A download is restarted twice; if the object is replaced again, it raises SourceChanged."""
    etag = conn.upload(BUCKET, 'key', LARGE).etag
    store.script(of_ranges(etag, None, status=412, code='PreconditionFailed'))

    with pytest.raises(SourceChanged, match='replaced 3 times'):
        conn.download(BUCKET, 'key', target)

    assert is_old(target)
    assert len([seen for seen in store.log('GetObject') if 'range' not in seen['headers']]) == 3


# ---------------------------------------------------------------------- misleading ETags and content encodings

ETAGS = {
    'of parts': '"0123456789abcdef0123456789abcdef-3"',
    'of another key': '"0123456789abcdef0123456789abcdef"',
    'without quotes': '0123456789abcdef0123456789abcdef',
    'weak': 'W/"0123456789abcdef0123456789abcdef"',
    'odd': '"0x8D4-_=+"',
}


@pytest.mark.fault('F49')
@pytest.mark.parametrize('checksum', ['auto', 'md5'])
@pytest.mark.parametrize('etag', ETAGS)
def test_etag_that_is_no_md5(store: Store, connect: Connect, target: Path, etag: str, checksum: str) -> None:
    """An ETag that is not an MD5 is not compared, unless the store has no checksum and MD5 is requested."""
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(checksum=checksum))
    store.create_bucket(BUCKET)
    conn.upload(BUCKET, 'key', SMALL)
    headers = {'ETag': ETAGS[etag], 'x-amz-server-side-encryption': 'aws:kms'}
    store.script(once(None, add_headers=headers))

    result = conn.download(BUCKET, 'key', target)

    assert is_new(target, SMALL)
    assert result.etag == ETAGS[etag].strip('"') or etag == 'weak'


@pytest.mark.fault('F49')
def test_etag_of_parts(store: Store, connect: Connect, target: Path) -> None:
    """An object uploaded in parts can be downloaded in other parts: its ETag is for If-Match, and is not compared as an MD5."""
    uploading = connect(store.endpoint_url, config=s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART))
    store.create_bucket(BUCKET)
    etag = uploading.upload(BUCKET, 'key', LARGE).etag
    conn = connect(store.endpoint_url, config=s3po.TransferConfig(checksum='none'))

    result = conn.download(BUCKET, 'key', target)

    assert etag.endswith('-4')
    assert (result.etag, result.parts, result.attempts) == (etag, 2, 2)
    assert is_new(target, LARGE)


@pytest.mark.fault('F50')
@pytest.mark.parametrize('coding', ['gzip', 'aws-chunked', 'gzip,aws-chunked', 'deflate', 'br', 'nonsense'])
@pytest.mark.parametrize('size', [1000, len(LARGE)], ids=['small', 'large'])
def test_content_encoding(conn: s3po.Connection, store: Store, target: Path, coding: str, size: int) -> None:
    """The stored bytes are returned, whatever Content-Encoding the response has."""
    data = gzip.compress(LARGE[:size])
    conn.upload(BUCKET, 'key', data, headers={'Content-Encoding': 'gzip'})
    store.script(once(None, add_headers={'Content-Encoding': coding}))

    conn.download(BUCKET, 'key', target)

    assert is_new(target, data)
    assert conn.download(BUCKET, 'key') == data


@pytest.mark.fault('F50')
def test_unpacked_on_the_way(conn: s3po.Connection, store: Store, target: Path) -> None:
    """A proxy that decompresses sends no length: the error names the missing header, and the old file is unchanged."""
    data = b'x' * 1000
    conn.upload(BUCKET, 'key', gzip.compress(data), headers={'Content-Encoding': 'gzip'})
    head = 'HTTP/1.1 200 OK\r\nETag: "abc"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
    store.script(once(None, raw=f'{head}3e8\r\n{data.decode()}\r\n0\r\n\r\n'))

    with pytest.raises(DownloadError, match='no Content-Length'):
        conn.download(BUCKET, 'key', target)

    assert is_old(target)


@pytest.mark.fault('F50')
@pytest.mark.parametrize('status', [500, 503])
def test_unpacked_on_the_way_and_no_head(conn: s3po.Connection, store: Store, target: Path, status: int) -> None:
    """A HEAD that fails for the moment proves nothing: the download is repeated until one answers."""
    conn.upload(BUCKET, 'key', gzip.compress(b'x' * 1000), headers={'Content-Encoding': 'gzip'})
    head = 'HTTP/1.1 200 OK\r\nETag: "abc"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
    store.script(
        once(None, raw=f'{head}3e8\r\n{"x" * 1000}\r\n0\r\n\r\n'),
        {'operation': 'HeadObject', 'times': 2, 'action': {'status': status}},
    )

    with pytest.raises(DownloadError, match='no Content-Length'):
        conn.download(BUCKET, 'key', target, retries=1)

    assert is_old(target)
