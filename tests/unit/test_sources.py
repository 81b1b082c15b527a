"""Sources: every kind is recognised, read from its position, never closed, and checked for changes."""

from __future__ import annotations

import array
import codecs
import gzip
import io
import mmap
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from s3po.body import SizedSource, StreamSource, open_source
from s3po.body.sources import FileSource, SeekableSource
from s3po.config import MIB
from s3po.connection.arguments import plain_path
from s3po.errors import ConfigurationError, LocalError, SourceChanged


def all_of(source: SizedSource | StreamSource) -> bytes:
    if isinstance(source, SizedSource):
        return source.chunk(0, source.size_bytes).read()
    data = b''
    while piece := source.next_chunk(3).read():
        data += piece
    return data


def read(given: Any) -> bytes:
    source = open_source(given)
    try:
        return all_of(source)
    finally:
        source.close()


@pytest.mark.parametrize(
    'given',
    [
        b'hello',
        bytearray(b'hello'),
        memoryview(b'hello'),
        memoryview(b'xhellox')[1:-1],
        'hello',
        array.array('b', b'hello'),
        io.BytesIO(b'hello'),
        io.StringIO('hello'),
        [b'he', b'llo'],
        [bytearray(b'he'), memoryview(b'llo')],
        (piece for piece in (b'h', b'', b'ello')),
    ],
    ids=lambda given: type(given).__name__,
)
def test_kinds(given: Any) -> None:
    """Every kind of source is read completely."""
    assert read(given) == b'hello'


def test_text_is_sent_as_utf_8() -> None:
    """A str is sent as UTF-8."""
    assert read('ä😀') == 'ä😀'.encode()
    with pytest.raises(ConfigurationError, match='UTF-8'):
        open_source('\ud800')


def test_buffers_of_wider_items() -> None:
    """A buffer is read as bytes, whatever its items are."""
    assert read(array.array('H', [0x0101, 0x0202])) == b'\1\1\2\2'
    with pytest.raises(ConfigurationError, match='contiguous'):
        open_source(memoryview(b'abcdef')[::2])


def test_views_are_released() -> None:
    """After close() a bytearray can be resized again."""
    data = bytearray(b'hello')
    source = open_source(data)
    all_of(source)
    source.close()

    data.extend(b'!')


def test_mapped_file(tmp_path: pathlib.Path) -> None:
    """A mapped file is read as bytes."""
    (tmp_path / 'f').write_bytes(b'mapped')
    with open(tmp_path / 'f', 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert read(mapped) == b'mapped'


def test_path(tmp_path: pathlib.Path) -> None:
    """A path is read by offset, any number of times."""
    (tmp_path / 'f').write_bytes(b'0123456789')
    source = open_source(tmp_path / 'f')

    assert isinstance(source, FileSource)
    assert (source.size_bytes, source.path) == (10, str(tmp_path / 'f'))
    assert source.chunk(3, 4).read() == b'3456'
    assert source.chunk(3, 4).read() == b'3456'
    source.close()


def test_large_chunks_are_read_off_the_hub(tmp_path: pathlib.Path) -> None:
    """A large chunk, which is read in another thread, is complete."""
    (tmp_path / 'f').write_bytes(os.urandom(3 * MIB))
    source = open_source(tmp_path / 'f')

    assert all_of(source) == (tmp_path / 'f').read_bytes()
    source.close()


@pytest.mark.parametrize('mode', ['rb', 'r+b', 'r', 'r+'])
def test_files_from_their_position(tmp_path: pathlib.Path, mode: str) -> None:
    """An open file is read from its position, left at its end, and not closed."""
    (tmp_path / 'f').write_bytes(b'first\nsecond\n')
    with open(tmp_path / 'f', mode) as file:
        file.readline()
        source = open_source(file)
        assert isinstance(source, FileSource)
        assert all_of(source) == b'second\n'
        source.finish()
        source.close()

        assert not file.closed
        assert file.read() in ('', b'')


def test_unbuffered_file(tmp_path: pathlib.Path) -> None:
    """A raw file is accepted."""
    (tmp_path / 'f').write_bytes(b'raw')
    with open(tmp_path / 'f', 'rb', buffering=0) as file:
        assert read(file) == b'raw'


def test_what_was_written_but_not_flushed(tmp_path: pathlib.Path) -> None:
    """Data in the buffer of a file is flushed and sent, too."""
    with open(tmp_path / 'f', 'w+b') as file:
        file.write(b'buffered')
        file.seek(0)
        assert read(file) == b'buffered'


def test_text_file_bytes_are_untouched(tmp_path: pathlib.Path) -> None:
    """A text file is sent as its bytes: newlines and encoding are unchanged."""
    (tmp_path / 'f').write_bytes(b'a\r\n' + 'ä'.encode('latin-1'))
    with open(tmp_path / 'f', encoding='latin-1') as file:
        assert read(file) == b'a\r\n\xe4'


def test_text_file_while_it_is_iterated(tmp_path: pathlib.Path) -> None:
    """A text file that is being iterated is rejected, since its position is unknown."""
    (tmp_path / 'f').write_text('a\nb\n')
    with open(tmp_path / 'f') as file:
        next(file)
        with pytest.raises(ConfigurationError, match="mode 'rb'"):
            open_source(file)


def test_compressed_file_is_not_its_descriptor(tmp_path: pathlib.Path) -> None:
    """A compressed file is sent as its decompressed content, not as the file below it."""
    with gzip.open(tmp_path / 'f.gz', 'wb') as file:
        file.write(b'plain text')
    with gzip.open(tmp_path / 'f.gz', 'rb') as file:
        source = open_source(file)
        assert isinstance(source, SeekableSource)
        assert all_of(source) == b'plain text'


def test_temporary_files() -> None:
    """The wrappers of tempfile are accepted."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'binary')
        file.seek(0)
        assert read(file) == b'binary'
    with tempfile.NamedTemporaryFile('w+', encoding='utf-8') as text:
        text.write('text')
        text.seek(0)
        assert read(text) == b'text'
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(b'spooled')
        spooled.seek(2)
        assert read(spooled) == b'ooled'


def test_seekable_object_from_its_position() -> None:
    """A seekable object is read in any order, and is at its end afterwards."""
    file = io.BytesIO(b'0123456789')
    file.seek(2)
    source = open_source(file)
    assert isinstance(source, SizedSource)

    assert source.size_bytes == 8
    assert source.chunk(5, 3).read() == b'789'
    assert source.chunk(0, 2).read() == b'23'
    source.finish()
    assert file.tell() == 10


def test_pipe() -> None:
    """A file that cannot seek is a stream."""
    reading, writing = os.pipe()
    with open(writing, 'wb') as file:
        file.write(b'through a pipe')
    with open(reading, 'rb') as file:
        source = open_source(file)
        assert isinstance(source, StreamSource)
        assert all_of(source) == b'through a pipe'


def test_text_stream_without_a_binary_layer(tmp_path: pathlib.Path) -> None:
    """Text without a binary layer is encoded as UTF-8."""
    (tmp_path / 'f').write_bytes('ä'.encode('latin-1'))
    with codecs.open(str(tmp_path / 'f'), encoding='latin-1') as file:
        assert read(file) == 'ä'.encode()


class Reader:
    """An object that has only read()."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)

    def read(self, size: int = -1) -> Any:
        return self.pieces.pop(0) if self.pieces else b''


def test_anything_that_reads() -> None:
    """Any object with read() is accepted, such as an HTTP response."""
    assert read(Reader(b'ab', b'cd')) == b'abcd'
    with pytest.raises(ConfigurationError, match='non-blocking'):
        read(Reader(None))


def test_stream_chunks() -> None:
    """A stream is cut into the requested sizes; fewer bytes are returned only at its end."""
    source = open_source(iter([b'abcde', b'f', b'gh']))
    assert isinstance(source, StreamSource)

    assert [source.next_chunk(3).read() for _ in range(4)] == [b'abc', b'def', b'gh', b'']


def test_buffers_that_are_filled_again() -> None:
    """A producer may reuse its buffer."""

    def pieces() -> Iterator[bytearray]:
        buffer = bytearray(1)
        for number in b'abc':
            buffer[0] = number
            yield buffer

    assert read(pieces()) == b'abc'


def test_file_of_reported_size_0() -> None:
    """A file of /proc is read completely, although its size is 0."""
    assert read(pathlib.Path('/proc/self/status')).startswith(b'Name:')


@pytest.mark.parametrize('given', [None, 7, True, 1.5, {'a': 1}, object()], ids=lambda given: type(given).__name__)
def test_what_is_no_source(given: Any) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match='source must be'):
        open_source(given)


@pytest.mark.parametrize('pieces', [['text'], [b'a', 'text'], [1, 2], [None]], ids=str)
def test_iterables_of_something_else(pieces: list[Any]) -> None:
    """An iterable of text or numbers is rejected."""
    with pytest.raises(ConfigurationError, match='an iterable must return bytes, not'):
        read(iter(pieces))


def test_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    """Closed and write-only files are rejected."""
    with open(tmp_path / 'f', 'wb') as file, pytest.raises(ConfigurationError, match='not open for reading'):
        open_source(file)
    with pytest.raises(ConfigurationError, match='closed'):
        open_source(file)


def test_paths_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    """The error for an unreadable path contains the path and advice."""
    os.mkfifo(tmp_path / 'fifo')

    with pytest.raises(LocalError, match='cannot upload .*missing: No such file') as caught:
        open_source(tmp_path / 'missing')
    assert caught.value.errno == 2
    with pytest.raises(LocalError, match='cannot upload .*: Is a directory'):
        open_source(tmp_path)
    with pytest.raises(LocalError, match='pipe, a device or a socket'):
        open_source(tmp_path / 'fifo')


def test_shrinking_file(tmp_path: pathlib.Path) -> None:
    """If a file shrinks, the read raises instead of returning fewer bytes."""
    (tmp_path / 'f').write_bytes(b'x' * 100)
    source = open_source(tmp_path / 'f')
    assert isinstance(source, FileSource)
    os.truncate(tmp_path / 'f', 10)

    with pytest.raises(SourceChanged, match='shorter'):
        source.chunk(0, 100).read()
    source.close()


@pytest.mark.parametrize('change', ['append', 'touch'])
def test_changing_file(tmp_path: pathlib.Path, change: str) -> None:
    """A file that changes while it is read is detected."""
    path = tmp_path / 'f'
    path.write_bytes(b'x' * 100)
    source = open_source(path)
    assert isinstance(source, FileSource)
    if change == 'append':
        with open(path, 'ab') as file:
            file.write(b'more')
    else:
        os.utime(path, ns=(1, 1))

    with pytest.raises(SourceChanged, match='changed'):
        source.chunk(0, 100).read()
    with pytest.raises(SourceChanged):
        source.check_unchanged()
    source.close()


def test_changing_object() -> None:
    """A file object in memory that changes is detected, too."""
    file = io.BytesIO(b'x' * 100)
    source = open_source(file)
    assert isinstance(source, SeekableSource)
    file.truncate(10)

    with pytest.raises(SourceChanged, match='shorter'):
        source.chunk(0, 100).read()
    with pytest.raises(SourceChanged):
        source.check_unchanged()


@pytest.mark.parametrize(
    'path',
    ['a', 'a/b.c', '/a/b', 'a/', 'a//b', '//a', '///a', './a', '.', '..', '.a', 'a/.b', 'a/./b', 'a/../b', '/', 'a b/', 'ä'],
)
def test_plain_paths(path: str) -> None:
    """plain_path() returns what pathlib would, mostly without creating a Path."""
    assert plain_path(path) == str(pathlib.Path(path))
