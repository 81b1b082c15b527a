"""compress= and decompress= over both transports: the requests, and truncated bodies."""

from __future__ import annotations

import gzip
import io
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

import s3po
from s3po.body.coding import CODINGS
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.noise import noise
from tests.support.servers import Store

PART = 5 * MIB
NOISE = noise(15 * MIB + 7)
TEXT = b''.join(b'line %d of some text\n' % number for number in range(100_000))
ENCODINGS = {'gzip': 'gzip', 'zlib': 'deflate', 'zstd': 'zstd'}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def conn(store: Store, connect: Callable[..., s3po.Connection]) -> s3po.Connection:
    """A connection with small parts; the bucket exists."""
    config = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
    connection = connect(store.endpoint_url, config=config)
    store.create_bucket(BUCKET)
    return connection


@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('data', [b'', TEXT, NOISE], ids=['empty', 'one', 'parts'])
def test_round_trip(conn: s3po.Connection, tmp_path: pathlib.Path, coding: str, data: bytes) -> None:
    """A compressed object has the headers that other clients need, and s3po decompresses it."""
    (tmp_path / 'source.txt').write_bytes(data)
    sent = conn.upload_file(
        BUCKET, 'key', tmp_path / 'source.txt', compress=coding, extra={'Metadata': {'colour': 'red'}}, delete=True
    )
    info = conn.head(BUCKET, 'key')

    assert info.headers['content-encoding'] == ENCODINGS[coding]
    assert info.content_type == 'text/plain'
    assert info.metadata == {'s3po-compress': coding, 'colour': 'red'}
    assert info.size_bytes == sent.size_bytes
    assert not (tmp_path / 'source.txt').exists()
    assert conn.download(BUCKET, 'key') == conn.download(BUCKET, 'key', decompress=True) == data
    assert conn.download_file(BUCKET, 'key', tmp_path / 'target').size_bytes == sent.size_bytes
    assert (tmp_path / 'target').read_bytes() == data


def test_objects_of_other_clients(conn: s3po.Connection) -> None:
    """An object compressed by another client is returned as stored, unless decompress=True."""
    packed = gzip.compress(TEXT)
    conn.upload(BUCKET, 'key', packed, headers={'Content-Encoding': 'gzip'})

    assert conn.download(BUCKET, 'key') == packed
    assert conn.download(BUCKET, 'key', decompress=True) == TEXT


def test_copies(conn: s3po.Connection) -> None:
    """A copy keeps the mark of the compression."""
    conn.upload(BUCKET, 'key', TEXT, compress='zlib')
    conn.copy(BUCKET, 'key', BUCKET, 'copy')

    assert conn.download(BUCKET, 'copy') == TEXT


@pytest.mark.parametrize('data', [TEXT, NOISE], ids=['one', 'parts'])
@pytest.mark.parametrize('action', [{'cut_body_at': 1000}, {'status': 503}, {'drop_headers': ['Content-Length']}], ids=str)
def test_cut_on_its_way(
    conn: s3po.Connection, store: Store, tmp_path: pathlib.Path, data: bytes, action: dict[str, Any]
) -> None:
    """A truncated response is requested again, and no bytes are repeated or out of order."""
    conn.upload(BUCKET, 'key', data, compress='gzip')
    (tmp_path / 'target').write_bytes(b'old')
    for target in ('bytes', 'path', 'file'):
        file = io.BytesIO()
        given = {'bytes': None, 'path': tmp_path / 'target', 'file': file}[target]
        store.script({'operation': 'GetObject', 'times': 2, 'action': action})
        found = conn.download(BUCKET, 'key', given)
        if target == 'path':
            found = (tmp_path / 'target').read_bytes()
        elif target == 'file':
            found = file.getvalue()

        assert found == data


def test_cut_for_ever(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path) -> None:
    """If all responses are truncated, the old file is unchanged."""
    conn.upload(BUCKET, 'key', NOISE, compress='gzip')
    (tmp_path / 'target').write_bytes(b'old')
    store.script({'operation': 'GetObject', 'times': None, 'skip': 1, 'action': {'cut_body_at': 0}})

    with pytest.raises(s3po.DownloadError, match='gave up after 4 attempts'):
        conn.download(BUCKET, 'key', tmp_path / 'target')

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'old']


@pytest.mark.parametrize('data', [TEXT, NOISE], ids=['one', 'parts'])
def test_lost_answers(conn: s3po.Connection, store: Store, data: bytes) -> None:
    """If the response to an upload is lost, the same compressed bytes are sent again."""
    store.script(
        {
            'operation': 'PutObject' if data is TEXT else 'UploadPart',
            'times': 2,
            'action': {'status': 500},
        }
    )
    conn.upload(BUCKET, 'key', (data[at : at + 100_000] for at in range(0, len(data), 100_000)), compress='zstd')

    assert conn.download(BUCKET, 'key') == data
