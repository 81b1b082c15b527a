"""compress= and decompress= over a transport in memory: what is stored, what is returned, and what a failure leaves."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po.body import coding as coding_module
from s3po.body.coding import CODINGS
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError, DownloadError, LocalError, NetworkError, SourceChanged
from s3po.jobs import Call
from tests.conftest import impatient
from tests.support.faults import Faults
from tests.support.memory import MemoryTransport
from tests.support.noise import noise
from tests.support.store_values import StoredObject, md5

BUCKET = 'bucket'
ENCODINGS = {'gzip': 'gzip', 'zlib': 'deflate', 'zstd': 'zstd'}
SIZES = [0, 1, MIB, MIB + 1, 3 * MIB]
TEXT = b''.join(b'line %d of some text\n' % number for number in range(200_000))
# Large enough for two parts after compression.
NOISE = noise(11 * MIB + 7)


@pytest.fixture(params=CODINGS)
def coding(request: pytest.FixtureRequest) -> str:
    """Each coding."""
    return str(request.param)


def put(memory: MemoryTransport, body: bytes, mark: str | None = None, encoding: str | None = None) -> None:
    """Store an object with the given mark and Content-Encoding."""
    headers = {'x-amz-meta-s3po-compress': mark, 'content-encoding': encoding}
    kept = {name: value for name, value in headers.items() if value is not None}
    memory.store.put(BUCKET, 'key', StoredObject(body=body, etag=md5(body), headers=kept))


def stored(memory: MemoryTransport) -> StoredObject:
    """The stored object."""
    found: StoredObject = memory.store.get(BUCKET, 'key')
    return found


# ---------------------------------------------------------------------- round trips


@pytest.mark.parametrize('size_bytes', SIZES)
@pytest.mark.parametrize('kind', ['bytes', 'bytearray', 'path', 'file', 'seekable', 'stream', 'iterable', 'text'])
def test_sources(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, coding: str, size_bytes: int, kind: str
) -> None:
    """Every kind of source is stored compressed with one request, can be downloaded, and is left as it was."""
    data = TEXT[:size_bytes]
    (tmp_path / 'source.txt').write_bytes(b'ahead' + data)
    (tmp_path / 'path.txt').write_bytes(data)
    with open(tmp_path / 'source.txt', 'rb') as file:
        file.seek(5)
        seekable = io.BytesIO(b'ahead' + data)
        seekable.seek(5)
        sources: dict[str, Any] = {
            'bytes': data,
            'bytearray': bytearray(data),
            'path': tmp_path / 'path.txt',
            'file': file,
            'seekable': seekable,
            'stream': Pipe(data),
            'iterable': (data[at : at + 100_000] for at in range(0, size_bytes, 100_000)),
            'text': data.decode(),
        }
        result = memory_conn.upload(BUCKET, 'key', sources[kind], compress=coding)
        positions = (file.tell(), seekable.tell())

    found = stored(memory)
    assert memory_conn.download(BUCKET, 'key') == data
    assert memory_conn.download(BUCKET, 'key', decompress=False) == found.body
    assert (result.size_bytes, result.etag, result.parts) == (len(found.body), md5(found.body), 1)
    assert len(found.body) < max(100, size_bytes)
    assert found.headers['content-encoding'] == ENCODINGS[coding]
    assert memory_conn.head(BUCKET, 'key').metadata == {'s3po-compress': coding}
    assert positions == tuple(5 + size_bytes * (kind == each) for each in ('file', 'seekable'))
    assert (tmp_path / 'path.txt').read_bytes() == data
    assert memory.count('PutObject') == 1


class Pipe:
    """A file that can only be read."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size_bytes: int = -1) -> bytes:
        """The next bytes."""
        return self._file.read(size_bytes)


@pytest.mark.parametrize('data', [b'', b'a', TEXT, NOISE, bytes(20 * MIB)], ids=len)
@pytest.mark.parametrize('kind', ['bytes', 'path', 'download_file', 'file', 'pipe'])
@pytest.mark.sampled(20)
def test_targets(memory_conn: s3po.Connection, tmp_path: pathlib.Path, coding: str, data: bytes, kind: str) -> None:
    """Every kind of target gets the original bytes, in one part or several; the result has the stored size."""
    sent = memory_conn.upload(BUCKET, 'key', data, compress=coding)
    target, file, pipe = tmp_path / 'target', io.BytesIO(b'ahead'), Drain()
    file.seek(5)
    if kind == 'bytes':
        assert memory_conn.download(BUCKET, 'key') == data
        return
    if kind == 'download_file':
        result = memory_conn.download_file(BUCKET, 'key', target)
    else:
        result = memory_conn.download(BUCKET, 'key', {'path': target, 'file': file, 'pipe': pipe}[kind])

    assert {'file': file.getvalue()[5:], 'pipe': bytes(pipe.taken)}.get(kind) == data or target.read_bytes() == data
    assert (result.size_bytes, result.etag) == (sent.size_bytes, sent.etag)
    assert result.parts == -(-sent.size_bytes // (8 * MIB))


class Drain:
    """A file that can only be written."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def write(self, data: Any) -> int:
        """Write some bytes."""
        self.taken += data
        return len(data)


def test_text(memory_conn: s3po.Connection, coding: str, tmp_path: pathlib.Path) -> None:
    """Text is decompressed first, and then decoded."""
    text = 'Grüße, 世界\n' * 300_000
    memory_conn.upload(BUCKET, 'key', text, compress=coding)
    target = io.StringIO()
    memory_conn.download(BUCKET, 'key', target)
    with open(tmp_path / 'target', 'w', encoding='utf-8') as file:
        memory_conn.download(BUCKET, 'key', file)

    assert memory_conn.download(BUCKET, 'key', encoding='utf-8') == target.getvalue() == text
    assert (tmp_path / 'target').read_text(encoding='utf-8') == text


def test_several_parts(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, coding: str) -> None:
    """If the compressed data is large, it is uploaded in parts and downloaded in ranges."""
    (tmp_path / 'source').write_bytes(NOISE)
    result = memory_conn.upload_file(BUCKET, 'key', tmp_path / 'source', compress=coding)

    assert result.parts == memory.count('UploadPart') == 2
    assert memory_conn.download(BUCKET, 'key') == NOISE
    assert memory.count('GetObject') == 2
    assert memory.store.uploads(BUCKET) == []


@pytest.mark.sampled(1)
def test_memory_of_an_upload(memory_conn: s3po.Connection, tmp_path: pathlib.Path, coding: str) -> None:
    """Neither the upload nor the download to a path needs memory for the whole file."""
    with open(tmp_path / 'source', 'wb') as file:
        file.writelines(TEXT[:4_000_000] * 4 for _ in range(8))
    tracemalloc.start()
    try:
        memory_conn.upload_file(BUCKET, 'key', tmp_path / 'source', compress=coding)
        memory_conn.download_file(BUCKET, 'key', tmp_path / 'target')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert os.path.getsize(tmp_path / 'target') == 128_000_000
    # The store is in this process, and has two copies while it completes the upload.
    assert peak < 80 * MIB


# ---------------------------------------------------------------------- uploads


def test_reproducible(memory_conn: s3po.Connection, coding: str) -> None:
    """The same data is stored as the same object, from whatever source."""
    first = memory_conn.upload(BUCKET, 'key', TEXT, compress=coding)

    assert memory_conn.upload(BUCKET, 'key', io.BytesIO(TEXT), compress=coding).etag == first.etag


@pytest.mark.parametrize(('name', 'kind'), [('a.txt', 'text/plain'), ('a.tar.gz', 'application/gzip'), ('a', None)])
def test_content_type(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, name: str, kind: str | None
) -> None:
    """The Content-Type is that of the source or of the key."""
    (tmp_path / name).write_bytes(TEXT)
    for source in (tmp_path / name, TEXT):
        memory_conn.upload(BUCKET, name, source, compress='gzip')
        assert memory.store.get(BUCKET, name).headers.get('content-type') == kind


@pytest.mark.parametrize('compress', ['br', 'GZIP', '', True, 6, 'deflate'])
def test_unknown_compression(memory_conn: s3po.Connection, memory: MemoryTransport, compress: Any) -> None:
    """An unknown compression is rejected, with the known names, before anything is read or sent."""
    with pytest.raises(ConfigurationError, match="compress must be None or one of 'gzip', 'zlib', 'zstd', not"):
        memory_conn.upload_file(BUCKET, 'key', '/no/such/file', compress=compress)
    assert memory.calls == []


@pytest.mark.parametrize(
    'given',
    [
        {'headers': {'content-encoding': 'gzip'}},
        {'headers': {'Content-Encoding': 'br'}},
        {'extra': {'ContentEncoding': 'gzip'}},
        {'metadata': {'S3po-Compress': 'zlib'}},
        {'headers': {'X-Amz-Meta-s3po-compress': 'zlib'}},
        {'extra': {'Metadata': {'s3po-compress': 'zlib'}}},
    ],
    ids=str,
)
def test_contradictions(memory_conn: s3po.Connection, memory: MemoryTransport, given: dict[str, Any]) -> None:
    """Headers that `compress` sets cannot be passed."""
    with pytest.raises(ConfigurationError, match='compress sets the .* itself; leave it out'):
        memory_conn.upload(BUCKET, 'key', b'data', compress='gzip', **given)
    assert memory.calls == []


def test_other_headers_stay(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Other headers are sent as well, and the caller's dicts are not changed."""
    headers, metadata = {'Cache-Control': 'no-store'}, {'colour': 'red'}
    memory_conn.upload(BUCKET, 'key', b'data', headers=headers, metadata=metadata, compress='gzip')

    assert stored(memory).headers == {
        'cache-control': 'no-store',
        'content-encoding': 'gzip',
        'x-amz-meta-colour': 'red',
        'x-amz-meta-s3po-compress': 'gzip',
    }
    assert (headers, metadata) == ({'Cache-Control': 'no-store'}, {'colour': 'red'})


@pytest.mark.parametrize('data', [b'', TEXT[:1000], TEXT, NOISE], ids=len)
def test_delete(memory_conn: s3po.Connection, tmp_path: pathlib.Path, data: bytes) -> None:
    """With delete=True, the file is deleted when it is stored."""
    path = tmp_path / 'source'
    path.write_bytes(data)
    memory_conn.upload(BUCKET, 'key', path, compress='gzip', delete=True)

    assert not path.exists()
    assert memory_conn.download(BUCKET, 'key') == data


@pytest.mark.parametrize('data', [TEXT[:1000], TEXT], ids=len)
def test_delete_after_a_change(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, data: bytes
) -> None:
    """If the file changed during the upload, it is not deleted."""
    path = tmp_path / 'source'
    path.write_bytes(data)

    def fault(operation: str, key: str, part: int | None) -> None:
        path.write_bytes(b'new')

    memory.fault = fault
    with pytest.raises(LocalError, match='not deleted: it changed meanwhile'):
        memory_conn.upload(BUCKET, 'key', path, compress='gzip', delete=True)

    assert path.read_bytes() == b'new'
    assert memory_conn.download(BUCKET, 'key') == data


def test_delete_after_a_failure(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """If the upload fails, the file is not deleted."""
    path = tmp_path / 'source'
    path.write_bytes(TEXT)
    memory.fault = Faults('PutObject', None, *[NetworkError('reset')] * 4)
    with pytest.raises(s3po.UploadError):
        memory_conn.upload(BUCKET, 'key', path, compress='gzip', delete=True)

    assert path.read_bytes() == TEXT


def test_changed_source(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """If the file changes while its parts are sent, nothing is published."""
    path = tmp_path / 'source'
    path.write_bytes(NOISE)

    def fault(operation: str, key: str, part: int | None) -> None:
        if operation == 'UploadPart':
            os.utime(path, (1, 1))

    memory.fault = fault
    with pytest.raises(SourceChanged, match='changed while it was uploaded; nothing was published'):
        memory_conn.upload(BUCKET, 'key', path, compress='gzip')

    assert memory.store.uploads(BUCKET) == []
    assert not memory_conn.exists(BUCKET, 'key')


@pytest.mark.parametrize(('data', 'operation'), [(TEXT, 'PutObject'), (NOISE, 'UploadPart')], ids=['put', 'parts'])
def test_retried_upload(memory_conn: s3po.Connection, memory: MemoryTransport, data: bytes, operation: str) -> None:
    """A retry sends the same bytes again, also for a stream."""
    memory.fault = Faults(operation, None, NetworkError('reset'), NetworkError('reset'))
    result = memory_conn.upload(BUCKET, 'key', iter([data]), compress='zstd')

    assert result.attempts == result.parts + 2
    assert memory_conn.download(BUCKET, 'key') == data


# ---------------------------------------------------------------------- decompression


def test_only_what_s3po_compressed(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """A Content-Encoding that s3po did not set is decoded only with decompress=True; False decodes nothing."""
    packed = gzip.compress(TEXT)
    put(memory, packed, encoding='gzip')

    assert memory_conn.download(BUCKET, 'key') == memory_conn.download(BUCKET, 'key', decompress='auto') == packed
    assert memory_conn.download(BUCKET, 'key', decompress=True) == TEXT
    assert memory_conn.download(BUCKET, 'key', decompress=False) == packed


@pytest.mark.parametrize('encoding', ['gzip', 'GZip', 'x-gzip', 'aws-chunked,gzip', ' identity , gzip', ''])
def test_spellings(memory_conn: s3po.Connection, memory: MemoryTransport, encoding: str) -> None:
    """Different spellings of HTTP and of stores that keep `aws-chunked` are recognized."""
    put(memory, gzip.compress(b'data') if encoding else b'data', encoding=encoding)

    assert memory_conn.download(BUCKET, 'key', decompress=True) == b'data'


def test_raw_deflate(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Raw deflate is accepted as 'deflate'."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    put(memory, packer.compress(TEXT) + packer.flush(), encoding='deflate')

    assert memory_conn.download(BUCKET, 'key', decompress=True) == TEXT


def test_several_members(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """All members are decoded."""
    put(memory, gzip.compress(TEXT) + gzip.compress(b'end'), encoding='gzip')

    assert memory_conn.download(BUCKET, 'key', decompress=True) == TEXT + b'end'


def test_true_leaves_the_rest(memory_conn: s3po.Connection, memory: MemoryTransport, coding: str) -> None:
    """decompress=True returns an object without mark and Content-Encoding as it is; the mark alone is enough."""
    put(memory, TEXT)
    assert memory_conn.download(BUCKET, 'key', decompress=True) == TEXT
    memory_conn.upload(BUCKET, 'key', TEXT, compress=coding)
    del stored(memory).headers['content-encoding']

    assert memory_conn.download(BUCKET, 'key', decompress=True) == TEXT


@pytest.mark.parametrize('encoding', ['br', 'compress', 'deflate, gzip', 'nonsense'])
def test_unknown_encoding(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, encoding: str) -> None:
    """With decompress=True an unknown Content-Encoding is an error after one request, and nothing is written."""
    put(memory, b'data', encoding=encoding)

    assert memory_conn.download(BUCKET, 'key') == b'data'
    with pytest.raises(DownloadError, match=f"s3://bucket/key has the Content-Encoding '{encoding}'") as caught:
        memory_conn.download(BUCKET, 'key', tmp_path / 'target', decompress=True)
    assert (caught.value.bucket, caught.value.key, caught.value.attempts) == (BUCKET, 'key', 1)
    assert memory.count('GetObject') == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('kind', ['bytes', 'path', 'file'])
@pytest.mark.parametrize('encoding', [*ENCODINGS.values(), 'zlib', 'x-gzip', 'br', 'deflate, gzip', 'application/json', None])
def test_known(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, encoding: str | None, kind: str
) -> None:
    """decompress='known' decodes by the Content-Encoding, and returns objects with an unknown one as stored."""
    coding = {'gzip': 'gzip', 'x-gzip': 'gzip', 'deflate': 'zlib', 'zlib': 'zlib', 'zstd': 'zstd'}.get(encoding or '')
    body = TEXT[:100_000]
    if coding is not None:
        encoder = coding_module.new_encoder(coding)
        body = encoder.compress(body) + encoder.flush()
    put(memory, body, encoding=encoding)
    file = io.BytesIO()
    target = {'bytes': None, 'path': tmp_path / 'target', 'file': file}[kind]

    returned = memory_conn.download(BUCKET, 'key', target, decompress='known')

    found = {'bytes': lambda: returned, 'path': (tmp_path / 'target').read_bytes, 'file': file.getvalue}[kind]()
    assert found == (body if coding is None else TEXT[:100_000])
    assert memory_conn.download(BUCKET, 'key', byte_range=(0, 5), decompress='known') == body[:5]


def test_unknown_mark(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """An unknown mark, as a later version might set, is an error."""
    put(memory, b'data', mark='lz99')

    with pytest.raises(DownloadError, match="has the metadata 's3po-compress' 'lz99'.*decompress=False"):
        memory_conn.download(BUCKET, 'key')
    assert memory_conn.download(BUCKET, 'key', decompress=False) == b'data'


def test_ranges(memory_conn: s3po.Connection, memory: MemoryTransport) -> None:
    """Ranges are those of the stored bytes, and cannot be decompressed."""
    memory_conn.upload(BUCKET, 'key', TEXT, compress='gzip')
    body = stored(memory).body

    assert memory_conn.download(BUCKET, 'key', byte_range=(0, 10)) == body[:10]
    assert memory_conn.download(BUCKET, 'key', byte_range=(0, None), decompress=False) == body
    with pytest.raises(ConfigurationError, match='decompress=True needs the whole object; leave out byte_range'):
        memory_conn.download(BUCKET, 'key', byte_range=(0, 10), decompress=True)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'decompress': 'gzip'}, "decompress must be 'auto', 'known', True or False, not 'gzip'"),
        ({'decompress': 1}, "decompress must be 'auto', 'known', True or False, not 1"),
        ({'decompress': None}, "decompress must be 'auto', 'known', True or False, not None"),
        ({'max_decompressed_size': -1}, 'max_decompressed_size must be a whole number of bytes, or None, not -1'),
        ({'max_decompressed_size': True}, 'max_decompressed_size must be a whole number of bytes, or None, not True'),
        ({'max_decompressed_size': 1.5}, 'max_decompressed_size must be a whole number of bytes, or None, not 1.5'),
    ],
)
def test_wrong_arguments(memory_conn: s3po.Connection, memory: MemoryTransport, given: Any, message: str) -> None:
    """Invalid arguments are rejected before anything is sent."""
    with pytest.raises(ConfigurationError, match=message):
        memory_conn.download(BUCKET, 'key', **given)
    assert memory.calls == []


def test_replaced_meanwhile(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """If a restarted download finds the object no longer compressed, it is returned as stored, and vice versa."""
    for compress in (('gzip', None), (None, 'zstd')):
        memory.fault = None
        memory_conn.upload(BUCKET, 'key', NOISE, compress=compress[0])
        requests: list[int] = []

        def fault(operation: str, key: str, part: int | None, compress: Any = compress, requests: Any = requests) -> None:
            requests.append(1)
            if operation == 'GetObject' and len(requests) == 2:
                memory.fault = None
                memory_conn.upload(BUCKET, 'key', NOISE[::-1], compress=compress[1])

        memory.fault = fault
        memory_conn.download(BUCKET, 'key', tmp_path / 'target')

        assert (tmp_path / 'target').read_bytes() == NOISE[::-1]


def test_described(memory: MemoryTransport, memory_conn: s3po.Connection) -> None:
    """The outcome has the object's description, whether the object was compressed or not."""
    memory_conn.upload(BUCKET, 'key', TEXT, compress='gzip')
    ref = s3po.ObjectRef(bucket=BUCKET, key='key')
    for options in ({}, {'decompress': False}, {'decompress': True}):
        outcome = memory_conn.perform(Call('download', ref, options))

        assert outcome.described is not None
        assert outcome.described.info.size_bytes == outcome.size_bytes == len(stored(memory).body)


# ---------------------------------------------------------------------- corrupt and too large objects

SPOILED = {
    'cut': lambda packed: packed[:-5],
    'empty': lambda packed: b'',
    'garbage behind': lambda packed: packed + b'garbage',
    'garbage': lambda packed: b'<html>' * 1000,
    'bit': lambda packed: packed[:-20] + bytes([packed[-20] ^ 1]) + packed[-19:],
}


@pytest.mark.parametrize('spoil', SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize('data', [TEXT[:10_000], NOISE], ids=['one', 'parts'])
@pytest.mark.parametrize('has_old', [True, False], ids=['old', 'new'])
@pytest.mark.sampled(12)
def test_spoiled(
    memory_conn: s3po.Connection,
    memory: MemoryTransport,
    tmp_path: pathlib.Path,
    coding: str,
    data: bytes,
    spoil: Callable[[bytes], bytes],
    has_old: bool,
) -> None:
    """Corrupt data is an error without retries, and every target is unchanged."""
    memory_conn.upload(BUCKET, 'key', data, compress=coding)
    spoiled = spoil(stored(memory).body)
    put(memory, spoiled, mark=coding)
    target, file = tmp_path / 'target', io.BytesIO(b'old')
    file.seek(3)
    if has_old:
        target.write_bytes(b'old')
    before = memory.count('GetObject')
    for each in (None, target, file):
        with pytest.raises(DownloadError, match=f's3://bucket/key: the stored data is not valid {coding}: .*decompress=False'):
            memory_conn.download(BUCKET, 'key', each)

    assert memory.count('GetObject') - before == 3 * max(1, -(-len(spoiled) // (8 * MIB)))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'old'] * has_old
    assert file.getvalue() == b'old'


@pytest.mark.parametrize('kind', ['bytes', 'path', 'file', 'text'])
@pytest.mark.sampled(4)
def test_bomb(memory_conn: s3po.Connection, tmp_path: pathlib.Path, coding: str, kind: str) -> None:
    """A decompression bomb fills neither memory nor the disk: it fails at the limit, without a retry."""
    memory_conn.upload(BUCKET, 'key', (bytes(MIB) for _ in range(300)), compress=coding)
    target = tmp_path / 'target'
    file: Any = io.StringIO('old') if kind == 'text' else io.BytesIO(b'old')
    file.seek(0, os.SEEK_END)
    given = {'bytes': None, 'path': target}.get(kind, file)
    tracemalloc.start()
    try:
        with pytest.raises(DownloadError, match=r'more than 10,000,000 bytes; raise max_decompressed_size'):
            memory_conn.download(BUCKET, 'key', given, max_decompressed_size=10_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    # StringIO needs four bytes per character, and a copy of them when it grows.
    assert peak < (100 if kind == 'text' else 32) * MIB
    assert list(tmp_path.iterdir()) == []
    assert file.tell() == 3 or kind in ('bytes', 'path')
    assert len(file.getvalue()) == 3


def test_limit(memory_conn: s3po.Connection, coding: str) -> None:
    """max_decompressed_size is inclusive; the default is 64 MiB and 1,000 times the stored size."""
    memory_conn.upload(BUCKET, 'key', TEXT, compress=coding)

    assert memory_conn.download(BUCKET, 'key', max_decompressed_size=len(TEXT)) == TEXT
    with pytest.raises(DownloadError, match='max_decompressed_size'):
        memory_conn.download(BUCKET, 'key', max_decompressed_size=len(TEXT) - 1)
    memory_conn.upload(BUCKET, 'key', b'', compress=coding)
    assert memory_conn.download(BUCKET, 'key', max_decompressed_size=0) == b''


def test_default_limit(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """gzip of zeros stays below the default limit, zstd of zeros does not."""
    for coding in ('gzip', 'zstd'):
        memory_conn.upload(BUCKET, coding, (bytes(MIB) for _ in range(128)), compress=coding)
    memory_conn.download_file(BUCKET, 'gzip', tmp_path / 'target')

    assert os.path.getsize(tmp_path / 'target') == 128 * MIB
    with pytest.raises(DownloadError, match='max_decompressed_size'):
        memory_conn.download_file(BUCKET, 'zstd', tmp_path / 'other')
    memory_conn.download_file(BUCKET, 'zstd', tmp_path / 'other', max_decompressed_size=128 * MIB)
    assert os.path.getsize(tmp_path / 'other') == 128 * MIB


@pytest.mark.parametrize('target', ['bytes', 'path', 'file'])
def test_spoiled_on_its_way(tmp_path: pathlib.Path, target: str) -> None:
    """Data with a wrong checksum is downloaded again, also if it could not be decompressed."""
    memory = Spoiling()
    memory.store.create_bucket(BUCKET)
    memory.keeps_checksums = True
    conn = s3po.Connection(transport=memory, retry=impatient())
    for data in (TEXT, NOISE):
        conn.upload(BUCKET, 'key', data, compress='gzip')
        memory.spoils = 1
        if target == 'bytes':
            found = conn.download(BUCKET, 'key')
        elif target == 'path':
            conn.download(BUCKET, 'key', tmp_path / 'target')
            found = (tmp_path / 'target').read_bytes()
        else:
            file = io.BytesIO()
            conn.download(BUCKET, 'key', file)
            found = file.getvalue()

        assert memory.spoils == 0
        assert found == data


class Spoiling(MemoryTransport):
    """A transport that changes a byte in the next responses."""

    spoils = 0

    def get_object(self, *arguments: Any, **named: Any) -> Any:
        answer = super().get_object(*arguments, **named)
        if self.spoils:
            self.spoils -= 1
            body = bytearray(answer._body)
            body[5_000:6_000] = bytes(1_000)
            answer._body = memoryview(bytes(body))
        return answer


@pytest.mark.parametrize('target', ['bytes', 'path', 'file'])
def test_retries(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, target: str) -> None:
    """Parts that are fetched again are written in order."""
    memory_conn.upload(BUCKET, 'key', NOISE, compress='zstd')
    memory.fault = Faults('GetObject', None, NetworkError('reset'), NetworkError('reset'), NetworkError('reset'))
    file = io.BytesIO()
    given = {'bytes': None, 'path': tmp_path / 'target', 'file': file}[target]
    found = memory_conn.download(BUCKET, 'key', given)
    if target != 'bytes':
        found = file.getvalue() or (tmp_path / 'target').read_bytes()

    assert found == NOISE


# ---------------------------------------------------------------------- batches and missing libraries


def test_batch(memory_conn: s3po.Connection, tmp_path: pathlib.Path, coding: str) -> None:
    """Batches accept the same options."""
    (tmp_path / 'source').write_bytes(TEXT)
    with memory_conn.batch(4) as batch:
        batch.upload(BUCKET, 'a', TEXT, compress=coding)
        batch.upload_file(BUCKET, 'b', tmp_path / 'source', compress=coding)
    with memory_conn.batch(4) as batch:
        jobs = [batch.download(BUCKET, key, decompress=how) for key in 'ab' for how in ('auto', True, False)]
        batch.download_file(BUCKET, 'a', tmp_path / 'target', max_decompressed_size=len(TEXT))

    assert [job.value == TEXT for job in jobs] == [True, True, False] * 2
    assert (tmp_path / 'target').read_bytes() == TEXT


def test_failed_jobs(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """Failed jobs are saved with these options, and can be retried."""
    (tmp_path / 'source').write_bytes(TEXT)
    memory.fault = Faults('PutObject', None, *[NetworkError('reset')] * 8)
    with memory_conn.batch(4, on_error='collect') as batch:
        batch.upload_file(BUCKET, 'key', tmp_path / 'source', compress='zlib')
        batch.download_file(BUCKET, 'none', tmp_path / 'target', decompress=True, max_decompressed_size=5)
    batch.failed.save(tmp_path / 'failed')
    loaded = {job.operation: job.options for job in s3po.FailedJobs.load(tmp_path / 'failed')}
    memory_conn.upload(BUCKET, 'none', b'five!', compress='zlib')
    memory_conn.retry_failed(tmp_path / 'failed')

    assert loaded['upload_file']['compress'] == 'zlib'
    assert (loaded['download_file']['decompress'], loaded['download_file']['max_decompressed_size']) == (True, 5)
    assert memory_conn.download(BUCKET, 'key') == TEXT
    assert stored(memory).headers['content-encoding'] == 'deflate'
    assert (tmp_path / 'target').read_bytes() == b'five!'


@pytest.fixture
def _no_libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the standard library of Python 3.11 is available."""
    for name in ('isal', 'isal.isal_zlib', 'zlib_ng', 'zlib_ng.zlib_ng'):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ('compression', 'compression.zstd', 'backports.zstd'):
        monkeypatch.setitem(sys.modules, name, None)
    coding_module._zlib.cache_clear()
    coding_module._zstd.cache_clear()
    yield
    coding_module._zlib.cache_clear()
    coding_module._zstd.cache_clear()


@pytest.mark.usefixtures('_no_libraries')
@pytest.mark.parametrize('coding', ['gzip', 'zlib'])
def test_without_isal(memory_conn: s3po.Connection, coding: str) -> None:
    """Without isal, gzip and zlib work with the standard library."""
    for data in (TEXT, NOISE[: 2 * MIB], TEXT[: 20 * KIB]):
        memory_conn.upload(BUCKET, 'key', data, compress=coding)
        assert memory_conn.download(BUCKET, 'key') == data


@pytest.mark.usefixtures('_no_libraries')
def test_without_zstd(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """Without a zstd library the error names what to install, before anything is sent or written."""
    with pytest.raises(ConfigurationError, match=r's3po\[compress\]'):
        memory_conn.upload(BUCKET, 'key', b'data', compress='zstd')
    assert memory.calls == []
    put(memory, b'data', mark='zstd')
    with pytest.raises(ConfigurationError, match=r's3po\[compress\]'):
        memory_conn.download(BUCKET, 'key', tmp_path / 'target')
    assert list(tmp_path.iterdir()) == []
    assert memory_conn.download(BUCKET, 'key', decompress=False) == b'data'
