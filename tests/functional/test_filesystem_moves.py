"""mv(), rm() and transactions of S3poFileSystem: no object is lost or incomplete, and none is deleted that was not meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import s3po
from s3po.interfaces.filesystem import S3poFileSystem
from tests.conftest import BUCKET
from tests.functional.test_filesystem import storage_options
from tests.support.servers import Store


@pytest.fixture
def files(store: Store, conn: s3po.Connection) -> Iterator[S3poFileSystem]:
    found = S3poFileSystem(**storage_options(store))
    yield found
    found.connection.close()


def fill(conn: s3po.Connection, objects: Mapping[str, bytes]) -> None:
    for key, data in objects.items():
        conn.upload(BUCKET, key, data)


def content(conn: s3po.Connection) -> dict[str, bytes]:
    return {entry.key: conn.download(BUCKET, entry) for entry in conn.list(BUCKET)}


@pytest.mark.parametrize(
    ('objects', 'path1', 'path2', 'expected'),
    [
        ({'d/x': b'1', 'd/y': b'2'}, 'd', 'd/new', {'d/new/x': b'1', 'd/new/y': b'2'}),
        ({'d/x': b'1', 'd/s/y': b'2'}, 'd', 'd/s', {'d/s/d/x': b'1', 'd/s/d/s/y': b'2'}),
        ({'a/x': b'1', 'ab/y': b'2', 'a': b'3', 'ab': b'4'}, 'a', 'z', {'z/x': b'1', 'ab/y': b'2', 'z': b'3', 'ab': b'4'}),
    ],
)
def test_moves_of_directories(
    files: S3poFileSystem, conn: s3po.Connection, objects: dict[str, bytes], path1: str, path2: str, expected: dict[str, bytes]
) -> None:
    """A directory is moved into itself, or next to names that begin like it, without loss."""
    fill(conn, objects)
    files.mv(f'{BUCKET}/{path1}', f'{BUCKET}/{path2}', recursive=True)
    assert content(conn) == expected


@pytest.mark.parametrize(
    ('path1', 'path2', 'recursive'),
    [
        ('a', 's3po:a', False),
        ('d/', 'd', True),
    ],
)
def test_moves_onto_the_same_path(
    files: S3poFileSystem, conn: s3po.Connection, path1: str, path2: str, *, recursive: bool
) -> None:
    """A path that is moved onto itself in another spelling stays; so does one that is moved into its own directory."""
    objects = {'a': b'1', 'd/x': b'2', 'd/y': b'3'}
    fill(conn, objects)
    scheme, _, name = path2.rpartition(':')
    path2 = f's3po://{BUCKET}/{name}' if scheme else f'{BUCKET}/{name}'
    files.mv(f'{BUCKET}/{path1}', path2, recursive=recursive, metadata={'some': 'new'})
    assert content(conn) == objects


@pytest.mark.parametrize(
    ('sources', 'targets'),
    [
        (['d/x'], 'd'),
        (['d/x', 'd/y'], ['d/y', 'd/z']),
        (['d/x', 'e/x'], 'new/'),
        (['d/x', 'd/y'], ['new', 'new']),
    ],
)
def test_moves_that_would_lose_a_file(
    files: S3poFileSystem, conn: s3po.Connection, sources: list[str], targets: str | list[str]
) -> None:
    """Files are not moved onto themselves, onto others that are moved, or two to one path: OSError before the first request."""
    objects = {'d/x': b'1', 'd/y': b'2', 'e/x': b'3'}
    fill(conn, objects)
    given: Any = [f'{BUCKET}/{name}' for name in targets] if isinstance(targets, list) else f'{BUCKET}/{targets}'
    with pytest.raises(OSError, match='would be lost'):
        files.mv([f'{BUCKET}/{name}' for name in sources], given, metadata={'some': 'new'})
    assert content(conn) == objects


def test_markers_are_moved(files: S3poFileSystem, conn: s3po.Connection) -> None:
    """The markers of directories are moved with them, also those with data."""
    fill(conn, {'d/': b'', 'd/s/': b'data', 'd/s/x': b'1', 'd/empty/': b''})
    files.mv(f'{BUCKET}/d', f'{BUCKET}/e', recursive=True)
    assert content(conn) == {'e/': b'', 'e/s/': b'data', 'e/s/x': b'1', 'e/empty/': b''}


def test_moves_of_directories_need_recursive(files: S3poFileSystem, conn: s3po.Connection) -> None:
    """A directory is not moved without recursive=True."""
    fill(conn, {'d/x': b'1', 'f': b'2'})
    for path in (f'{BUCKET}/d', [f'{BUCKET}/d', f'{BUCKET}/f']):
        with pytest.raises(IsADirectoryError):
            files.mv(path, f'{BUCKET}/e/')
    assert content(conn) == {'d/x': b'1', 'f': b'2'}


def test_what_is_written_during_a_move_stays(
    files: S3poFileSystem, conn: s3po.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mv() deletes only what it has copied: neither a file that was replaced during the copy, nor one that is new."""
    fill(conn, {'d/x': b'1', 'd/y': b'2'})
    copy_file = files.connection.perform

    def write_meanwhile(call: Any) -> Any:
        found = copy_file(call)
        if call.operation == 'copy':
            fill(conn, {'d/x': b'other', 'd/new': b'3'})
        return found

    monkeypatch.setattr(files.connection, 'perform', write_meanwhile)
    with pytest.raises(s3po.SourceChanged, match='d/x'):
        files.mv(f'{BUCKET}/d', f'{BUCKET}/e', recursive=True)
    assert content(conn).items() >= {'d/x': b'other', 'd/new': b'3', 'e/y': b'2'}.items()


def test_rm_with_a_trailing_slash(files: S3poFileSystem, conn: s3po.Connection) -> None:
    """A path with a trailing slash is that of a directory: the file of that name stays."""
    fill(conn, {'d': b'1', 'd/x': b'2', 'f': b'3'})
    with pytest.raises(IsADirectoryError):
        files.rm(f'{BUCKET}/d/')
    for recursive in (False, True):
        with pytest.raises(FileNotFoundError):
            files.rm(f'{BUCKET}/f/', recursive=recursive)
    assert files.rm(f'{BUCKET}/d/', recursive=True) == [f'{BUCKET}/d/x']
    assert content(conn) == {'d': b'1', 'f': b'3'}


def test_rmdir_of_a_marker_with_data(files: S3poFileSystem, conn: s3po.Connection) -> None:
    """rmdir() deletes a marker only if it is empty."""
    fill(conn, {'d/': b'data'})
    with pytest.raises(FileExistsError):
        files.rmdir(f'{BUCKET}/d')
    assert content(conn) == {'d/': b'data'}


@pytest.mark.parametrize(('mode', 'compression', 'data'), [('w', None, 'text'), ('wb', 'gzip', b'data'), ('wb', None, b'data')])
def test_files_that_are_open_at_the_end_of_a_transaction(
    files: S3poFileSystem, conn: s3po.Connection, mode: str, compression: str | None, data: Any
) -> None:
    """A file that was not closed lacks its end: it is not published, and a ValueError is raised."""
    opened = []
    with pytest.raises(ValueError, match='not closed'), files.transaction:
        opened.append(files.open(f'{BUCKET}/file', mode, compression=compression))
        opened[0].write(data)
    assert content(conn) == {}
    opened[0].abort()


def test_conditions_of_reads(files: S3poFileSystem, conn: s3po.Connection, tmp_path: Path) -> None:
    """A failed condition of a read is no FileExistsError; that of a write with mode='create' is one."""
    fill(conn, {'f': b'1'})
    path, local = f'{BUCKET}/f', str(tmp_path / 'f')
    for read in (
        lambda: files.cat_file(path, if_match='other'),
        lambda: files.get_file(path, local, if_match='other'),
        lambda: files.cat([path], if_match='other'),
    ):
        with pytest.raises(s3po.PreconditionFailed) as caught:
            read()
        assert not isinstance(caught.value, OSError)
    Path(local).write_bytes(b'2')
    with pytest.raises(FileExistsError):
        files.put_file(local, path, mode='create')
    with pytest.raises(FileExistsError):
        files.pipe_file(path, b'2', mode='create')
