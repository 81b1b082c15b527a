"""Bad files, and files that change during a transfer: nothing is published, nothing is left, nothing is lost."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po.config import MIB
from s3po.errors import BatchError, ConfigurationError, LocalError, SourceChanged
from s3po.transfer import uploading
from tests.conftest import impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.kinds import KINDS, Kind
from tests.support.memory import MemoryTransport
from tests.support.programs import run_command
from tests.support.servers import Store

BUCKET = 'bucket'
PART = 5 * MIB
IN_PARTS = s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
Change = Callable[[pathlib.Path], None]


def shrink(path: pathlib.Path) -> None:
    os.truncate(path, PART + 1)


def grow(path: pathlib.Path) -> None:
    with path.open('ab') as file:
        file.write(b'more')


def rewrite(path: pathlib.Path) -> None:
    with path.open('r+b') as file:
        file.write(b'other')
    # Two writes within one tick of the file system's clock would have the same times.
    os.utime(path, ns=(0, 0))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def large(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file of three parts."""
    path = tmp_path / 'large'
    path.write_bytes(os.urandom(2 * PART + 1))
    return path


@pytest.fixture
def in_parts(memory: MemoryTransport) -> s3po.Connection:
    """A connection that sends one part at a time, with an older object under the key."""
    connection = s3po.Connection(transport=memory, retry=impatient(), config=IN_PARTS)
    connection.upload(BUCKET, 'key', b'old')
    return connection


@pytest.mark.parametrize('opened', ['path', 'file'])
@pytest.mark.parametrize('part', [1, 2, 3])
@pytest.mark.parametrize('change', [shrink, grow, rewrite])
def test_file_changes_while_its_parts_are_sent(
    in_parts: s3po.Connection, memory: MemoryTransport, large: pathlib.Path, change: Change, part: int, opened: str
) -> None:
    """If the file changes while its parts are sent, the upload is aborted, and the file and the older object stay."""

    def fault(operation: str, key: str, number: int | None) -> None:
        if operation == 'UploadPart' and number == part:
            change(large)

    memory.fault = fault
    with pytest.raises(SourceChanged, match=r'large.* while it was uploaded; nothing was published'), large.open('rb') as file:
        in_parts.upload(BUCKET, 'key', file if opened == 'file' else large, delete=opened == 'path')

    assert memory.store.uploads(BUCKET) == []
    assert memory.count('CompleteMultipartUpload') == 0
    assert memory.count('UploadPart') == part
    assert in_parts.download(BUCKET, 'key') == b'old'
    assert large.exists()


@pytest.mark.parametrize('change', [shrink, grow])
def test_file_changes_after_its_last_part(
    store: Store,
    connect: Callable[..., s3po.Connection],
    large: pathlib.Path,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the file changes after its last part was sent, the upload is not completed either."""
    connection = connect(store.endpoint_url, config=IN_PARTS)
    store.create_bucket(BUCKET)
    transport: Any = connection._wiring.resolve(BUCKET)[0]
    upload_part = transport.upload_part

    def upload_and_change(*args: Any, part_number: int, **options: Any) -> Any:
        completed = upload_part(*args, part_number=part_number, **options)
        if part_number == 3:
            change(large)
        return completed

    monkeypatch.setattr(transport, 'upload_part', upload_and_change)
    with pytest.raises(SourceChanged, match='nothing was published'):
        connection.upload_file(BUCKET, 'key', large, delete=True)

    assert len(store.log('UploadPart')) == 3
    assert store.log('CompleteMultipartUpload') == []
    assert 'Uploads' not in connection.conn.list_multipart_uploads(Bucket=BUCKET)
    assert not connection.exists(BUCKET, 'key')
    assert large.exists()


def test_small_file_changes_before_it_is_sent(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is sent with one request is checked for changes, too."""
    path = tmp_path / 'small'
    path.write_bytes(b'some bytes')
    put = uploading.put

    def change_and_put(*arguments: Any, **options: Any) -> Any:
        os.truncate(path, 3)
        return put(*arguments, **options)

    # After the file was opened, before it is read.
    monkeypatch.setattr(uploading, 'put', change_and_put)
    with pytest.raises(BatchError, match='became shorter while it was uploaded'), memory_conn.batch(2) as batch:
        job = batch.upload(BUCKET, 'key', path)

    assert isinstance(job.exception, SourceChanged)
    assert memory.calls == []


def test_object_that_changes(in_parts: s3po.Connection, memory: MemoryTransport) -> None:
    """A file object that is not a file is checked by its length."""
    source = io.BytesIO(b'x' * (2 * PART + 1))
    memory.fault = lambda operation, key, number: source.truncate(PART) if number == 2 else None
    with pytest.raises(SourceChanged, match='BytesIO became shorter'):
        in_parts.upload(BUCKET, 'key', source)

    assert memory.store.uploads(BUCKET) == []
    assert in_parts.download(BUCKET, 'key') == b'old'


def test_file_replaced_before_it_is_deleted(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path
) -> None:
    """delete=True does not delete a file that has replaced the uploaded one."""
    path = tmp_path / 'spool'
    path.write_bytes(b'first')

    def fault(*_: object) -> None:
        (tmp_path / 'new').write_bytes(b'second')
        os.replace(tmp_path / 'new', path)

    memory.fault = fault
    with pytest.raises(LocalError, match='was uploaded, but not deleted: it changed meanwhile'):
        memory_conn.upload(BUCKET, 'key', path, delete=True)

    assert path.read_bytes() == b'second'


def bad_sources(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, int, str]]:
    yield path, errno.EISDIR, 'give the path of a file'
    yield path / 'missing', errno.ENOENT, 'check the spelling'
    yield path / 'missing' / 'file', errno.ENOENT, 'No such file or directory'
    yield path / 'file' / 'below', errno.ENOTDIR, 'a part of the path is a file'
    yield path / 'pipe', errno.EINVAL, 'open it and pass the file object'
    yield path / 'link', errno.ENOENT, 'check the spelling'


def test_paths_that_cannot_be_read(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """The message explains the problem with the path, the errno is the system's, and nothing is sent."""
    (tmp_path / 'file').write_bytes(b'')
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for path, number, advice in bad_sources(tmp_path):
        for upload in (memory_conn.upload, memory_conn.upload_file):
            with pytest.raises(LocalError, match=advice) as caught:
                upload(BUCKET, 'key', path, delete=True)
            assert (caught.value.errno, caught.value.filename) == (number, str(path))
            assert str(path) in str(caught.value)

    assert memory.calls == []


def test_unreadable_file(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message for an unreadable file mentions permissions, and the job is in `failed`."""
    path = tmp_path / 'secret'
    path.write_bytes(b'secret')
    path.chmod(0)
    real_open = os.open

    def as_anybody_else(name: Any, *arguments: Any, **more: Any) -> int:
        # Root may open the file.
        if os.geteuid() == 0 and os.fspath(name) == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return real_open(name, *arguments, **more)

    monkeypatch.setattr(os, 'open', as_anybody_else)
    with pytest.raises(BatchError, match='cannot upload .*secret: Permission denied; check the permissions of the file'):
        with memory_conn.batch(2) as batch:
            batch.upload_file(BUCKET, 'key', path, delete=True)

    assert isinstance(batch.failed[0].error, LocalError)
    assert batch.failed[0].error.errno == errno.EACCES
    assert memory.calls == []
    assert path.exists()


def test_file_objects_that_cannot_be_read(
    memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path
) -> None:
    """A file object that cannot be read is rejected before anything is sent."""
    closed = io.BytesIO(b'x')
    closed.close()
    with pytest.raises(ConfigurationError, match='source: the file object BytesIO is closed'):
        memory_conn.upload(BUCKET, 'key', closed)
    with (tmp_path / 'file').open('wb') as file, pytest.raises(ConfigurationError, match="open it with mode 'rb'"):
        memory_conn.upload(BUCKET, 'key', file)

    assert memory.calls == []


def test_paths_that_cannot_be_written(memory_conn: s3po.Connection, memory: MemoryTransport, tmp_path: pathlib.Path) -> None:
    """A path that cannot be written is rejected before anything is sent, and existing files are unchanged."""
    (tmp_path / 'file').write_bytes(b'precious')
    os.mkfifo(tmp_path / 'pipe')
    memory_conn.upload(BUCKET, 'key', b'x')
    memory.calls.clear()
    for path, number, advice in (
        (tmp_path, errno.EISDIR, 'give the path of a file'),
        (tmp_path / 'missing' / 'file', errno.ENOENT, 'create the directory first'),
        (tmp_path / 'file' / 'below', errno.ENOTDIR, 'a part of the path is a file'),
        (tmp_path / 'pipe', errno.EINVAL, 'it is a pipe, a device or a socket'),
        (pathlib.Path('/dev/null'), errno.EINVAL, 'it is a pipe, a device or a socket'),
    ):
        for download in (memory_conn.download, memory_conn.download_file):
            with pytest.raises(LocalError, match=advice) as caught:
                download(BUCKET, 'key', path)
            assert caught.value.errno == number
    with pytest.raises(ConfigurationError, match='has no file name; give the path of a file, not of a directory'):
        memory_conn.download_file(BUCKET, 'key', f'{tmp_path}/')

    assert memory.calls == []
    assert sorted(os.listdir(tmp_path)) == ['file', 'pipe']
    assert (tmp_path / 'file').read_bytes() == b'precious'


@pytest.mark.parametrize('size_bytes', [10, 3 * PART])
@pytest.mark.parametrize('use_tmp_file', [True, False])
def test_disk_full(
    memory: MemoryTransport, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, use_tmp_file: bool
) -> None:
    """If the disk is full, no partial file is left; with a temporary file, the older file is unchanged."""
    config = s3po.TransferConfig(multipart_chunksize=PART, use_tmp_file=use_tmp_file)
    connection = s3po.Connection(transport=memory, retry=impatient(), config=config)
    connection.upload(BUCKET, 'key', b'x' * size_bytes)
    path = tmp_path / 'file'
    path.write_bytes(b'precious')
    monkeypatch.setattr(os, 'pwrite', refuse_to_write)
    with pytest.raises(LocalError, match=r'cannot write .*file: No space left on device; free some space') as caught:
        connection.download(BUCKET, 'key', path)

    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == (['file'] if use_tmp_file else [])
    assert not use_tmp_file or path.read_bytes() == b'precious'
    # All slots of the connection are free again.
    assert len(connection.download(BUCKET, 'key')) == size_bytes


def refuse_to_write(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_disk_full_for_a_file_object(memory_conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """If the disk is full, a file object is truncated to its old length, and the download fails."""

    class FullFile(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:4]) if self.tell() < 12 else refuse_to_write()

    memory_conn.upload(BUCKET, 'key', b'0123456789')
    with FullFile(tmp_path / 'file', 'w+') as file:
        file.write(b'head')
        file.write(b'line')
        with pytest.raises(LocalError, match='No space left on device; free some space'):
            memory_conn.download(BUCKET, 'key', file)

        assert (tmp_path / 'file').read_bytes() == b'headline'
        assert not file.closed


@pytest.mark.slow
def test_limit_of_the_file_size(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path) -> None:
    """With a real limit of the file size (RLIMIT_FSIZE), the download fails, and no file is left."""
    conn.upload(BUCKET, 'key', b'x' * (3 * PART))
    script = """
        import errno, os, resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        import s3po
        conn = s3po.Connection(endpoint_url=os.environ['ENDPOINT'], region='us-east-1',
                               access_key_id='a', secret_access_key=os.environ['SECRET'],
                               config=s3po.TransferConfig(multipart_chunksize=5 << 20))
        with conn.batch(2, on_error='collect') as batch:
            batch.download_file('bucket', 'key', 'target')
        error = batch.failed[0].error
        assert isinstance(error, s3po.LocalError) and error.errno == errno.EFBIG, error
        print(error)
    """
    (tmp_path / 'script.py').write_text(textwrap.dedent(script))
    (tmp_path / 'target').write_bytes(b'precious')
    said = run_command([sys.executable, 'script.py'], {'ENDPOINT': store.endpoint_url, 'SECRET': SECRET_ACCESS_KEY}, tmp_path)

    target = tmp_path / 'target'
    assert f'cannot write {target}: File too large; the file system, or the limit of this process (ulimit -f)' in said.out
    assert sorted(os.listdir(tmp_path)) == ['script.py', 'target']
    assert (tmp_path / 'target').read_bytes() == b'precious'


def test_disk_that_is_full_when_the_buffer_is_written_out(memory_conn: s3po.Connection) -> None:
    """An error in flush() of the target fails the download, too."""

    class Buffer(io.BytesIO):
        def flush(self) -> None:
            refuse_to_write()

    memory_conn.upload(BUCKET, 'key', b'0123456789')
    target = Buffer(b'head')
    target.seek(4)
    with pytest.raises(LocalError, match='No space left on device'):
        memory_conn.download(BUCKET, 'key', target)

    assert target.getvalue() == b'head'
