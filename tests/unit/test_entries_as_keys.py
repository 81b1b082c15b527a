"""An entry of a listing is accepted where a key is, in each method of Connection and Batch."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

import s3po
from s3po.errors import ConfigurationError
from s3po.model import ListEntry, ObjectInfo, ObjectRef, Prefix, ref_of
from tests.support.memory import MemoryTransport

ENTRY = ListEntry(key='dir/key', size_bytes=4)
CALLS = ('download', 'head', 'exists', 'upload', 'upload_file', 'download_file', 'copy', 'move', 'delete')


@pytest.fixture
def arguments(tmp_path: pathlib.Path) -> dict[str, tuple[Any, ...]]:
    """The arguments of each method after the key."""
    (tmp_path / 'file').write_bytes(b'data')
    to = ('bucket', ListEntry(key='copy', size_bytes=0))
    return {
        'upload': (b'data',),
        'upload_file': (tmp_path / 'file',),
        'download_file': (tmp_path / 'target',),
        'copy': to,
        'move': to,
    }


@pytest.mark.parametrize('name', CALLS)
def test_calls(memory_conn: s3po.Connection, memory: MemoryTransport, arguments: dict[str, tuple[Any, ...]], name: str) -> None:
    """A call with an entry sends the same requests as a call with its key."""
    memory_conn.upload('bucket', 'dir/key', b'data')
    keys = {str(entry) for entry in memory_conn.list('bucket')}
    assert keys == {'dir/key'}

    getattr(memory_conn, name)('bucket', ENTRY, *arguments.get(name, ()))
    if hasattr(s3po.Batch, name) and name != 'move' and name != 'exists':
        with memory_conn.batch(1) as batch:
            getattr(batch, name)('bucket', ENTRY, *arguments.get(name, ()))

    keys = {str(entry) for entry in memory_conn.list('bucket')}
    assert keys == {'copy': {'dir/key', 'copy'}, 'move': {'copy'}, 'delete': set()}.get(name, {'dir/key'})


def test_file_object(memory_conn: s3po.Connection) -> None:
    """open() takes an entry too."""
    with memory_conn.open('bucket', ENTRY, 'wb') as file:
        file.write(b'data')

    with memory_conn.open('bucket', ENTRY) as file:
        assert file.read() == b'data'


def test_presign() -> None:
    """presign() takes an entry too."""
    conn = s3po.Connection(access_key_id='key', secret_access_key='secret', region='us-east-1')

    assert 'bucket.s3.amazonaws.com/dir/key?' in conn.presign('GET', 'bucket', ENTRY)


def test_version_of_a_head(memory_conn: s3po.Connection) -> None:
    """The version of an ObjectInfo is not used: a deletion would remove that version for good."""
    info = ObjectInfo(key='key', size_bytes=1, version_id='7')

    assert ref_of('bucket', info) == ObjectRef(bucket='bucket', key='key')


def test_saved(memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """A failed job of an entry is saved with its key, and loads."""
    with memory_conn.batch(1, on_error='collect') as batch:
        batch.download('bucket', ListEntry(key='missing', size_bytes=0))
        batch.copy('bucket', 'missing', 'bucket', ListEntry(key='copy', size_bytes=0))
    batch.failed.save(tmp_path / 'failed')
    loaded = s3po.FailedJobs.load(tmp_path / 'failed')

    assert [job.ref.key for job in loaded] == ['missing', 'missing']
    assert loaded[1].call.options['to_key'] == 'copy'


@pytest.mark.parametrize('key', [ListEntry(key='', size_bytes=0), Prefix(prefix='dir/'), ListEntry(key='\ud800', size_bytes=0)])
def test_entry_that_is_no_key(memory_conn: s3po.Connection, key: Any) -> None:
    """An entry with an impossible key, and a Prefix, are errors; in a batch only their job fails."""
    with pytest.raises(ConfigurationError, match='key'):
        memory_conn.head('bucket', key)
    with memory_conn.batch(1, on_error='collect') as batch:
        job = batch.head('bucket', key)
    assert isinstance(job.exception, ConfigurationError)
