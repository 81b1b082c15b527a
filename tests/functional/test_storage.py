"""S3Storage beyond the signatures of its document: modes, copies with progress, links, rejected arguments."""

from __future__ import annotations

import datetime
import io
import pathlib
import pickle
import urllib.request
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import ConfigurationError
from s3po.interfaces.storage import (
    FileMode,
    FileNotFoundInStorageError,
    S3Reader,
    S3Storage,
    S3Writer,
    ShareLinkOperation,
)
from tests.conftest import BUCKET


@pytest.fixture
def storage(conn: s3po.Connection) -> S3Storage:
    return S3Storage(BUCKET, connection=conn)


@pytest.mark.parametrize('mode', ['r', 'rb', FileMode.read])
def test_modes(storage: S3Storage, mode: Any) -> None:
    """Modes are letters or flags; files are always binary."""
    with storage.open('file', 'w') as file:
        file.write(b'data')
    with storage.open('file', mode) as file:
        assert isinstance(file, S3Reader)
        assert file.read() == b'data'
        with pytest.raises(OSError, match='not open for writing'):
            file.write(b'')
    with storage.open('file', FileMode.write) as file:
        assert isinstance(file, S3Writer)
        with pytest.raises(OSError, match='not open for reading'):
            file.read(1)
    assert str(FileMode.read) == 'rb'
    assert str(FileMode.read | FileMode.write) == 'rwb'
    assert str(file.mode) == 'wb'


def test_modes_that_are_none(storage: S3Storage) -> None:
    """Modes that read and write, or neither, are rejected; a missing file raises an error in open()."""
    for mode in ('rw', 'wrb', FileMode.read | FileMode.write):
        with pytest.raises(NotImplementedError):
            storage.open('file', mode)
    for wrong in ('', 'b', 'a', 'x', FileMode(0), None):
        with pytest.raises(ValueError, match='mode must have|a FileMode or a str is required'):
            storage.open('file', wrong)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundInStorageError) as caught:
        storage.open('/missing', 'r')
    assert (caught.value.storage_type, caught.value.filename) == (storage, '/missing')
    assert isinstance(caught.value, FileNotFoundError | s3po.S3poError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) == 'File /missing not found in S3Storage.'


def test_leading_slashes_belong_to_the_name(storage: S3Storage, tmp_path: pathlib.Path) -> None:
    """'/file' and 'file' are two objects in all methods."""
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    for name in ('file', '/file', '//file'):
        with storage.open(name, 'w') as file:
            file.write(name.encode())
    assert [entry.name for entry in storage.list('/')] == ['//file', '/file']
    for name in ('file', '/file', '//file'):
        storage.get(name, tmp_path / 'a')
        assert (tmp_path / 'a').read_bytes() == name.encode()
        with storage.open(name, 'r') as file:
            assert file.read() == name.encode()
        with urllib.request.urlopen(storage.link_to(name, ShareLinkOperation.download, soon)) as answer:
            assert answer.read() == name.encode()
        storage.put(tmp_path / 'a', f'/put{name}')
        storage.upload(io.BytesIO(b'x'), f'/upload{name}')
        storage.copy(name, f'/copy{name}')
        storage.delete(name)
        with pytest.raises(FileNotFoundInStorageError):
            storage.open(name, 'r')
        back = io.BytesIO()
        storage.download(f'/copy{name}', back)
        assert back.getvalue() == name.encode()

    assert len(storage.list('')) == len(storage.list('/')) == 9


def test_exception_publishes_nothing(storage: S3Storage) -> None:
    """After an exception or abort(), nothing is published."""
    with pytest.raises(ZeroDivisionError), storage.open('file', 'wb') as file:
        file.write(b'x' * 12 * MIB)
        raise ZeroDivisionError
    writer = S3Writer(BUCKET, 'file', storage.connection)
    writer.write(b'x')
    writer.abort()
    with pytest.raises(ValueError, match='closed'):
        writer.write(b'x')
    assert storage.list('') == []
    with pytest.raises(ConfigurationError, match='chunk_size must be 5 MiB to 5 GiB, in bytes, not 1000'):
        S3Writer(BUCKET, 'file', storage.connection, chunk_size=1000)


def test_copies(storage: S3Storage, tmp_path: pathlib.Path) -> None:
    """Local files and file objects are copied to and from the storage, with cumulative progress, and within it."""
    data = bytes(range(256)) * 100_000
    (tmp_path / 'a').write_bytes(data)
    storage.put(tmp_path / 'a', 'a')
    storage.get('a', tmp_path / 'b')
    assert (tmp_path / 'b').read_bytes() == data
    told: list[int] = []
    storage.upload(io.BytesIO(data), 'c', buffer_size=10 * MIB, progress_callback=told.append)
    assert told == [10 * MIB, 20 * MIB, len(data)]
    back = io.BytesIO()
    told.clear()
    storage.download('c', back, buffer_size=10 * MIB, progress_callback=told.append)
    assert told == [10 * MIB, 20 * MIB, len(data)]
    assert back.getvalue() == data
    storage.copy('c', 'd')
    assert [entry.name for entry in storage.list('')] == ['a', 'c', 'd']
    assert storage.list('d')[0].size == len(data)
    for call in (
        lambda: storage.get('missing', tmp_path / 'x'),
        lambda: storage.download('missing', back),
        lambda: storage.copy('missing', 'x'),
    ):
        with pytest.raises(FileNotFoundInStorageError):
            call()
    assert not (tmp_path / 'x').exists()
    assert repr(storage) == '<S3Storage s3 s3://bucket>'


def test_links(storage: S3Storage) -> None:
    """Each link allows one operation, until it expires."""
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    with storage.open('file', 'w') as file:
        file.write(b'data')
    url = storage.link_to('file', ShareLinkOperation.download, soon)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b'data'
    for operation in (ShareLinkOperation.upload, ShareLinkOperation.remove):
        assert 'X-Amz-Expires=29' in storage.link_to('file', operation, soon.replace(tzinfo=None))
    with pytest.raises(ValueError, match='is in the past'):
        storage.link_to('file', ShareLinkOperation.download, soon - datetime.timedelta(hours=1))
    with pytest.raises(ValueError, match='operation must be one ShareLinkOperation'):
        storage.link_to('file', ShareLinkOperation.download | ShareLinkOperation.upload, soon)
    with pytest.raises(ConfigurationError, match='seven days'):
        storage.link_to('file', ShareLinkOperation.download, soon + datetime.timedelta(days=8))


def test_made_of(store: Any, conn: s3po.Connection) -> None:
    """A storage is created from a connection or from its arguments, and can be pickled in the latter case."""
    with pytest.raises(ConfigurationError, match='connection cannot be combined with'):
        S3Storage(BUCKET, 'us-east-1', connection=conn)
    again = pickle.loads(pickle.dumps(S3Storage(BUCKET, 'us-east-1', 'key', 'secret', name='other')))
    assert (again.name, again.bucket) == ('other', BUCKET)
