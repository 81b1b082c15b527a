"""Chunks return the same bytes for every read, whole or in pieces, and the right SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from s3po.body import SizedSource, open_source
from s3po.config import MIB
from s3po.errors import SourceChanged

DATA = os.urandom(3 * MIB + 17)


def as_bytes(path: pathlib.Path) -> Any:
    return path.read_bytes()


def as_path(path: pathlib.Path) -> Any:
    return path


def as_seekable(path: pathlib.Path) -> Any:
    return io.BytesIO(path.read_bytes())


def opened(given: Any) -> SizedSource:
    source = open_source(given)
    assert isinstance(source, SizedSource)
    return source


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file of a few MiB."""
    path = tmp_path / 'source'
    path.write_bytes(DATA)
    return path


def as_buffer(path: pathlib.Path) -> Any:
    return bytearray(path.read_bytes())


@pytest.mark.parametrize('kind', [as_bytes, as_path, as_seekable, as_buffer])
@pytest.mark.parametrize(('offset', 'size_bytes'), [(0, len(DATA)), (5, 2 * MIB), (7, 11), (len(DATA) - 1, 1), (3, 0)])
def test_pieces(file: pathlib.Path, kind: Callable[[pathlib.Path], Any], offset: int, size_bytes: int) -> None:
    """pieces() returns the bytes of read() in pieces of at most the buffer's size, any number of times."""
    source = opened(kind(file))
    chunk = source.chunk(offset, size_bytes)
    buffer = memoryview(bytearray(MIB))
    for _ in range(2):
        pieces = [bytes(piece) for piece in chunk.pieces(buffer)]

        assert b''.join(pieces) == chunk.read() == DATA[offset : offset + size_bytes]
        assert kind is as_bytes or all(len(piece) <= MIB for piece in pieces)
    source.close()


@pytest.mark.parametrize('kind', [as_bytes, as_path, as_seekable, as_buffer])
@pytest.mark.parametrize('size_bytes', [0, 11, 2 * MIB])
def test_sha256(file: pathlib.Path, kind: Callable[[pathlib.Path], Any], size_bytes: int) -> None:
    """sha256() is that of the bytes, also if it is computed in another thread."""
    source = opened(kind(file))

    assert source.chunk(9, size_bytes).sha256() == hashlib.sha256(DATA[9 : 9 + size_bytes]).hexdigest()
    source.close()


def test_file_that_shrinks(file: pathlib.Path) -> None:
    """If the file shrinks, reading raises instead of returning fewer bytes."""
    source = opened(file)
    pieces = source.chunk(0, len(DATA)).pieces(memoryview(bytearray(MIB)))
    next(pieces)
    os.truncate(file, MIB)

    with pytest.raises(SourceChanged, match='became shorter'):
        next(pieces)
    source.close()


def test_file_that_changes(file: pathlib.Path) -> None:
    """If the file changes, the last piece raises, so that the request is never complete."""
    source = opened(file)
    pieces = source.chunk(0, 2 * MIB).pieces(memoryview(bytearray(MIB)))
    next(pieces)
    with file.open('ab') as writer:
        writer.write(b'more')

    with pytest.raises(SourceChanged, match='changed while it was uploaded'):
        next(pieces)
    source.close()


def test_without_preadv(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without os.preadv the bytes are the same."""
    monkeypatch.delattr(os, 'preadv', raising=False)
    source = opened(file)

    assert b''.join(map(bytes, source.chunk(0, len(DATA)).pieces(memoryview(bytearray(1000_000))))) == DATA
    source.close()


def change_file(path: pathlib.Path, given: Any) -> None:
    """Change the file and restore its times."""
    before = path.stat()
    with path.open('r+b') as file:
        file.write(b'other')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_seekable(path: pathlib.Path, given: Any) -> None:
    given.getbuffer()[:5] = b'other'


def change_buffer(path: pathlib.Path, given: Any) -> None:
    given[:5] = b'other'


@pytest.mark.parametrize('first', ['checksum', 'sha256'])
@pytest.mark.parametrize(
    ('kind', 'change'), [(as_path, change_file), (as_seekable, change_seekable), (as_buffer, change_buffer)]
)
def test_change_without_a_trace(
    file: pathlib.Path, kind: Callable[[pathlib.Path], Any], change: Callable[[pathlib.Path, Any], None], first: str
) -> None:
    """Bytes that are read again are compared with the first reading, before the last piece is returned."""
    given = kind(file)
    source = opened(given)
    chunk = source.chunk(0, 2 * MIB)
    expected = chunk.sha256() if first == 'sha256' else chunk.checksum('CRC32')
    pieces = chunk.pieces(memoryview(bytearray(MIB)))
    assert bytes(next(pieces)) == DATA[:MIB]
    assert bytes(next(pieces)) == DATA[MIB : 2 * MIB]
    change(file, given)

    pieces = chunk.pieces(memoryview(bytearray(MIB)))
    next(pieces)
    with pytest.raises(SourceChanged, match='nothing was published'):
        next(pieces)
    with pytest.raises(SourceChanged, match='nothing was published'):
        chunk.read()
    assert (chunk.sha256() if first == 'sha256' else chunk.checksum('CRC32')) == expected
    source.close()


@pytest.mark.parametrize(('age_s', 'expected'), [(0, True), (-3600, True), (3600, False)])
def test_files_that_can_change_unseen(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, age_s: float, expected: bool
) -> None:
    """A file can change without new times if it was written just now, or in the future by a wrong clock."""
    now = time.time()
    monkeypatch.setattr(time, 'time', lambda: now + age_s)
    source = opened(file)

    assert source.can_change_unseen == expected
    source.close()
