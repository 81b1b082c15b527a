"""Connection's methods under their names in S3-PO and in the first s3po, with new defaults: they block and delete nothing."""

from __future__ import annotations

import gzip
import os
import pathlib
import pickle
import pydoc
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

import s3po
import s3po.connection.old_names
from s3po.connection.old_names import OLD_NAMES
from s3po.errors import BatchError, ConfigurationError, DownloadError, UploadError
from s3po.interfaces.legacy import Connection
from tests.conftest import BUCKET
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store

# What S3-PO and other writers have stored: Content-Encoding, stored bytes, and whether they come back decompressed.
STORED: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    'gzip': (gzip.compress, True),
    'x-gzip': (gzip.compress, True),
    'deflate': (zlib.compress, True),
    'zlib': (zlib.compress, True),
    'br': (bytes, False),
    'application/json': (bytes, False),
}


def test_document(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path) -> None:
    """The lines of S3-PO's document work on s3po.Connection(); uploads block, and delete only with delete=True."""
    foo, bar, yes = (tmp_path / name for name in ('foo.txt', 'bar.txt', 'yes.txt'))
    for path in (foo, bar, yes):
        path.write_text(path.name)

    conn.uploadFile(BUCKET, 'foo', str(foo))
    conn.uploadFile(BUCKET, 'bar', str(bar), delete=True)
    assert (conn.download(BUCKET, 'foo'), conn.download(BUCKET, 'bar')) == (b'foo.txt', b'bar.txt')
    assert (foo.exists(), bar.exists()) == (True, False)

    conn.uploadFile(BUCKET, 'retried', str(foo), retries=10)
    conn.uploadFile(BUCKET, 'typed', str(foo), headers={'Content-Type': 'text/x'})
    conn.uploadFile(BUCKET, 'compressed', str(foo), compress='gzip')
    assert conn.head(BUCKET, 'typed').content_type == 'text/x'
    assert conn.head(BUCKET, 'compressed').headers['content-encoding'] == 'gzip'

    queued = conn.uploadFile(BUCKET, 'yes', str(yes), **{'async': True})
    assert not conn.exists(BUCKET, 'yes')
    conn.runLoop()
    assert queued.get(timeout_s=20).key == 'yes'
    conn.stopLoop()
    assert conn.listNames(BUCKET) == ['bar', 'compressed', 'foo', 'retried', 'typed', 'yes']
    assert conn.listNames(BUCKET, 'b') == ['bar']


def test_positional_arguments(conn: s3po.Connection, store: Store, tmp_path: pathlib.Path) -> None:
    """headers, compress and retries may be positional, in S3-PO's order; further options are those of upload()."""
    file = tmp_path / 'file'
    file.write_bytes(b'data')
    conn.uploadFile(BUCKET, 'file', file, {'Cache-Control': 'no-store'}, 'zlib', 1, metadata={'a': '1'})
    conn.uploadString(BUCKET, 'text', 'hé', {'Cache-Control': 'no-store'}, 'gzip', 1)
    for key in ('file', 'text'):
        assert conn.head(BUCKET, key).headers['cache-control'] == 'no-store'
    assert conn.head(BUCKET, 'file').metadata['a'] == '1'
    assert (conn.downloadString(BUCKET, 'file', 1), conn.downloadString(BUCKET, 'text')) == (b'data', 'hé'.encode())
    assert conn.downloadString(BUCKET, 'text', encoding='utf-8') == 'hé'

    store.script({'operation': 'PutObject', 'times': None, 'action': {'status': 500}})
    before = len(store.log('PutObject'))
    with pytest.raises(UploadError):
        conn.uploadString(BUCKET, 'key', 'x', None, None, 2)
    assert len(store.log('PutObject')) - before == 3
    assert conn.uploadString(BUCKET, 'key', 'x', retries=0, silent=True) is False


def test_download_file(conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """downloadFile() returns the path: that of the caller, whose directory is created, or of a new file."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    conn.uploadString(BUCKET, 'key', 'data')
    target = str(tmp_path / 'a' / 'b')
    forms: list[tuple[tuple[Any, ...], dict[str, Any], str | None]] = [
        ((target + '1',), {}, target + '1'),
        ((pathlib.Path(target + '2'),), {'retries': 0}, target + '2'),
        ((3, target + '3'), {}, target + '3'),
        ((), {'retries': 3, 'filename': target + '4'}, target + '4'),
        ((3,), {}, None),
        ((), {}, None),
    ]
    for arguments, options, expected in forms:
        path = conn.downloadFile(BUCKET, 'key', *arguments, **options)
        assert isinstance(path, str)
        assert path == (expected or path)
        assert pathlib.Path(path).read_bytes() == b'data'
    assert len(os.listdir(tmp_path / 'temporary')) == 2

    with pytest.raises(s3po.DownloadException):
        conn.downloadFile(BUCKET, 'missing')
    assert conn.downloadFile(BUCKET, 'missing', silent=True) is None
    assert len(os.listdir(tmp_path / 'temporary')) == 2


@pytest.mark.parametrize('encoding', STORED)
def test_compressed_by_others(conn: s3po.Connection, tmp_path: pathlib.Path, encoding: str) -> None:
    """Objects with a known Content-Encoding are decompressed, those with an unknown one are returned as stored."""
    compress, is_decompressed = STORED[encoding]
    data = b'data' * 10_000
    body = compress(data)
    conn.conn.put_object(Bucket=BUCKET, Key='key', Body=body, ContentEncoding=encoding)

    assert conn.downloadString(BUCKET, 'key') == data
    assert pathlib.Path(conn.downloadFile(BUCKET, 'key', tmp_path / 'file')).read_bytes() == data
    assert (conn.download(BUCKET, 'key') == data) is not is_decompressed


@pytest.mark.parametrize('encoding', ['gzip', 'deflate', 'zstd'])
def test_empty_object_with_an_encoding(conn: s3po.Connection, store: Store, encoding: str) -> None:
    """An empty object with a Content-Encoding is empty, as for HTTP clients; one that s3po has marked is invalid."""
    conn.upload(BUCKET, 'key', b'', headers={'Content-Encoding': encoding})
    with s3po.S3Client(
        store.endpoint_url, access_key_id='key', secret_access_key=SECRET_ACCESS_KEY, region='us-east-1'
    ) as client:
        for headers in ({}, {'X-Other': 'x'}):
            assert client.get(f'{BUCKET}/key', headers=headers).content == b''
    assert conn.downloadString(BUCKET, 'key') == b''
    conn.upload(BUCKET, 'key', b'', headers={'Content-Encoding': 'gzip', 'x-amz-meta-s3po-compress': 'gzip'})
    with pytest.raises(DownloadError, match='is truncated'):
        conn.downloadString(BUCKET, 'key')


def test_downloads_in_the_background(conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """Downloads block: they refuse the options for the background, instead of returning the path of a missing file."""
    conn.upload(BUCKET, 'key', b'data')
    legacy = Connection(connection=conn)
    for given in (conn, legacy):
        for options in ({'background': True}, {'async': True}):
            with pytest.raises(TypeError, match='downloads block'):
                given.downloadFile(BUCKET, 'key', tmp_path / 'file', **options)
            with pytest.raises(TypeError, match='downloads block'):
                given.downloadString(BUCKET, 'key', **options)
        assert given.downloadString(BUCKET, 'key', **{'async': False}) == b'data'


def test_background(conn: s3po.Connection, store: Store) -> None:
    """Failures in the background are raised by stopLoop(); a mistake in the call is raised at once."""
    store.script({'operation': 'PutObject', 'times': None, 'action': {'status': 500}})
    conn.uploadString(BUCKET, 'key', 'x', background=True, retries=0)
    with pytest.raises(BatchError, match='s3://bucket/key'):
        conn.stopLoop()
    with pytest.raises(TypeError, match='metdata'):
        conn.uploadString(BUCKET, 'key', 'x', background=True, metdata={})
    with pytest.raises(TypeError, match='metdata'):
        conn.uploadString(BUCKET, 'key', 'x', metdata={})
    with pytest.raises(ConfigurationError, match='key is empty'):
        conn.uploadString(BUCKET, '', 'x', background=True)


def test_pickle_and_fork(conn: s3po.Connection) -> None:
    """The queue belongs to its process: neither a pickled copy nor a forked child has it."""
    conn.runLoop()
    conn.stopLoop()
    conn.uploadString(BUCKET, 'key', b'x', background=True)
    copy = pickle.loads(pickle.dumps(conn))
    copy.stopLoop()
    child = os.fork()
    if not child:
        code = 1
        try:
            conn.stopLoop()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert not copy.exists(BUCKET, 'key')
    conn.stopLoop()
    assert copy.exists(BUCKET, 'key')
    copy.close()


def test_documented() -> None:
    """Every old name is documented in help()."""
    text = pydoc.plain(pydoc.render_doc(s3po.connection.old_names))
    for name in OLD_NAMES:
        assert getattr(s3po.Connection, name).__doc__
        assert f' {name}' in text


def test_arguments_of_boto3(store: Store) -> None:
    """Connection.s3() takes boto3's names."""
    store.create_bucket(BUCKET)
    made = s3po.Connection.s3(
        region_name='us-east-1',
        endpoint_url=store.endpoint_url,
        aws_access_key_id='key',
        aws_secret_access_key='secret',
    )
    made.upload(BUCKET, 'key', b'x')
    assert made.exists(BUCKET, 'key')
    assert (made.conn.meta.region_name, made.conn.meta.endpoint_url) == ('us-east-1', store.endpoint_url)
    assert made.backend is made.conn
    made.close()
