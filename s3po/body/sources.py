"""Sources: every kind of thing that can be uploaded, behind two small shapes.

A SizedSource knows its length and gives any piece of it, any number of times: bytes, text, paths, seekable files.
A StreamSource gives its pieces once, in order, until it ends: pipes, sockets, iterables.

Invariants: a source is read from where it stands when it is opened; files of the caller's are never closed; a Chunk gives the
same bytes on every read, or raises SourceChanged.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import gevent.lock

from s3po.body.local import local_errors, refuse_special_file
from s3po.config import MIB
from s3po.errors import ConfigurationError, LocalError, SourceChanged
from s3po.runtime import offload

__all__ = ['BytesChunk', 'Chunk', 'FileSource', 'SizedSource', 'Source', 'StreamSource', 'open_source']

# Reading less than this from the page cache is done sooner than another thread is woken.
OFFLOAD_BYTES = MIB
# How much is asked of a stream at a time.
STREAM_READ_BYTES = MIB


class Chunk(Protocol):
    """The bytes of one request. Every attempt reads them afresh."""

    size_bytes: int

    def read(self) -> bytes:
        """All bytes of the chunk, in memory.

        Raises:
            SourceChanged: The source no longer has them.
            LocalError: The source cannot be read.
        """
        ...


class BytesChunk:
    """A chunk that lies in memory."""

    __slots__ = ('_data', 'size_bytes')

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read(self) -> bytes:
        return bytes(self._data)


class Source:
    """What both shapes have in common.

    Attributes:
        name: What the source is called in messages.
        path: The local path that was given; None for every other kind of source.
    """

    name = 'source'
    path: str | None = None

    def check_unchanged(self) -> None:
        """Raise SourceChanged when the source is not what it was when it was opened."""

    def finish(self) -> None:
        """Leave a file of the caller's where reading it would have left it: behind the bytes that were sent."""

    def close(self) -> None:
        """Give back what open_source() took; never the caller's file."""


class SizedSource(Source):
    """A source of known length.

    Attributes:
        size_bytes: The bytes from where the source stood when it was opened to its end.
    """

    size_bytes: int

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        """The piece [offset, offset + size_bytes), counted from where the source stood when it was opened."""
        raise NotImplementedError


class BytesSource(SizedSource):
    """Bytes-like data, and text as UTF-8."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.size_bytes = len(data)

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        if size_bytes == self.size_bytes:
            return BytesChunk(self._data)
        return BytesChunk(memoryview(self._data)[offset : offset + size_bytes])

    def close(self) -> None:
        # A view that lives on would keep the caller from resizing a bytearray or closing an mmap.
        if isinstance(self._data, memoryview):
            self._data.release()


class FileSource(SizedSource):
    """A regular file, read by offset: its own position is never used, so parts may be read side by side."""

    def __init__(
        self, descriptor: int, start: int, name: str, *, file: BinaryIO | None = None, path: str | None = None
    ) -> None:
        self.name = name
        self.path = path
        self.descriptor = descriptor
        self._start = start
        self._file = file
        self._identity = _identity(descriptor)
        self.size_bytes = max(0, self._identity[0] - start)

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        return FileChunk(self, self._start + offset, size_bytes)

    def check_unchanged(self) -> None:
        if _identity(self.descriptor) != self._identity:
            raise SourceChanged(
                f'{self.name} changed while it was uploaded; nothing was published. Upload it again when it is at rest'
            )

    def is_still_at(self, path: str) -> bool:
        """Whether the path still leads to the very file that was read, unchanged since it was opened."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev) == self._identity

    def finish(self) -> None:
        if self._file is not None:
            self._file.seek(self._start + self.size_bytes)

    def close(self) -> None:
        if self._file is None:
            os.close(self.descriptor)


class FileChunk:
    """A range of a FileSource."""

    __slots__ = ('offset', 'size_bytes', 'source')

    def __init__(self, source: FileSource, offset: int, size_bytes: int) -> None:
        self.source = source
        self.offset = offset
        self.size_bytes = size_bytes

    def read(self) -> bytes:
        read = _read_range
        if self.size_bytes > OFFLOAD_BYTES:
            data = offload(read, self.source.descriptor, self.offset, self.size_bytes, self.source.name)
        else:
            data = read(self.source.descriptor, self.offset, self.size_bytes, self.source.name)
        if len(data) < self.size_bytes:
            raise _shrank(self.source.name)
        # Looked at after reading and before sending: what is sent is the file as it was at one moment.
        self.source.check_unchanged()
        return data


class SeekableSource(SizedSource):
    """A file object that can seek but is no plain file on disk: BytesIO, a spooled file, a member of an archive."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        # Parts share the one position of the file.
        self._lock = gevent.lock.RLock()
        with local_errors('read', name):
            self._start = file.tell()
            self.size_bytes = max(0, self._end() - self._start)
            file.seek(self._start)

    def chunk(self, offset: int, size_bytes: int) -> Chunk:
        return SeekableChunk(self, self._start + offset, size_bytes)

    def read_at(self, position: int, size_bytes: int) -> bytes:
        """The bytes at an absolute position of the file.

        Raises:
            SourceChanged: The file ends before them.
        """
        with self._lock, local_errors('read', self.name):
            self._file.seek(position)
            data = _read_fully(self._file.read, size_bytes)
            if len(data) < size_bytes:
                raise _shrank(self.name)
            self.check_unchanged()
        return data

    def check_unchanged(self) -> None:
        with self._lock, local_errors('read', self.name):
            if self._end() != self._start + self.size_bytes:
                raise SourceChanged(f'{self.name} changed its length while it was uploaded; nothing was published')

    def finish(self) -> None:
        self._file.seek(self._start + self.size_bytes)

    def _end(self) -> int:
        return self._file.seek(0, os.SEEK_END) or self._file.tell()


class SeekableChunk:
    """A range of a SeekableSource."""

    __slots__ = ('position', 'size_bytes', 'source')

    def __init__(self, source: SeekableSource, position: int, size_bytes: int) -> None:
        self.source = source
        self.position = position
        self.size_bytes = size_bytes

    def read(self) -> bytes:
        return self.source.read_at(self.position, self.size_bytes)


class StreamSource(Source):
    """A source of unknown length that is read once, in order."""

    def __init__(self, pieces: Iterator[bytes], name: str, *, close: Callable[[], None] | None = None) -> None:
        self.name = name
        self._pieces = pieces
        self._close = close
        self._held: list[bytes] = []
        self._held_bytes = 0

    def next_chunk(self, size_bytes: int) -> BytesChunk:
        """The next size_bytes of the stream; fewer, or none, only at its end."""
        while self._held_bytes < size_bytes:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held.append(piece)
            self._held_bytes += len(piece)
        data = self._held[0] if len(self._held) == 1 else b''.join(self._held)
        rest = data[size_bytes:]
        self._held, self._held_bytes = ([rest] if rest else []), len(rest)
        return BytesChunk(data[:size_bytes] if rest else data)

    def close(self) -> None:
        if self._close is not None:
            self._close()


def open_source(source: Any) -> SizedSource | StreamSource:
    """Find out what kind of source this is.

    Args:
        source: Bytes-like, str (sent as UTF-8), os.PathLike, a binary or text file object (from its present position), or an
            iterable of bytes.

    Raises:
        ConfigurationError: It is none of these.
        LocalError: The path or file cannot be read.
    """
    if isinstance(source, bytes):
        return BytesSource(source)
    if isinstance(source, str):
        return BytesSource(_encode(source))
    if isinstance(source, os.PathLike):
        return _open_path(source)
    if hasattr(source, 'read'):
        return _open_file(source)
    view = _view(source)
    if view is not None:
        return BytesSource(view)
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return StreamSource(_checked_pieces(iter(source)), 'the iterable')
    raise ConfigurationError(
        f'source must be bytes, str, a pathlib.Path, a readable file or an iterable of bytes, not {type(source).__name__}'
    )


def _view(source: Any) -> memoryview | None:
    """A flat view of anything that has the buffer protocol, else None."""
    try:
        view = memoryview(source)
    except TypeError:
        return None
    try:
        return view.cast('B')
    except TypeError as error:
        raise ConfigurationError('source has a buffer that is not contiguous; give bytes(source) instead') from error


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f'source is a str that has no UTF-8 form ({error}); give bytes instead') from error


def _open_path(source: os.PathLike[Any]) -> SizedSource | StreamSource:
    path = os.fsdecode(source)
    with local_errors('upload', path):
        # Non-blocking, or opening a named pipe would wait for its writer before it could be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        refuse_special_file(os.fstat(descriptor).st_mode, 'upload', path)
        found = FileSource(descriptor, 0, path, path=path)
        # Files of /proc and the like say 0 bytes and have more.
        if found.size_bytes or not _read_range(descriptor, 0, 1, path):
            return found
        return StreamSource(_descriptor_pieces(descriptor, path), path, close=found.close)
    except BaseException:
        os.close(descriptor)
        raise


def _open_file(source: Any) -> SizedSource | StreamSource:
    name = f'the file object {getattr(source, "name", None) or type(source).__name__}'
    if getattr(source, 'closed', False):
        raise ConfigurationError(f'source: {name} is closed')
    if isinstance(source, io.IOBase) and not source.readable():
        raise ConfigurationError(f"source: {name} is not open for reading; open it with mode 'rb'")
    source = _binary_layer(source, name)
    if isinstance(source, io.TextIOBase):
        return BytesSource(_encode(source.read()))
    if _is_plain_file(source):
        if isinstance(source, io.BufferedRandom):
            source.flush()
        return FileSource(source.fileno(), source.tell(), name, file=source)
    if _can_seek(source):
        return SeekableSource(source, name)
    return StreamSource(_checked_pieces(_reads(source, name), is_text_allowed=True), name)


def _binary_layer(source: Any, name: str) -> Any:
    """The bytes below a text file, positioned where the text stands; other files as they are."""
    if not isinstance(getattr(source, 'encoding', None), str) or not hasattr(source, 'buffer'):
        return source
    try:
        if source.seekable():
            # The text layer reads ahead; this sets the binary one back to where the text stands.
            source.seek(source.tell())
    except OSError as error:
        raise ConfigurationError(
            f"source: {name} cannot tell its position while it is iterated; open it with mode 'rb'"
        ) from error
    return source.buffer


def _is_plain_file(source: Any) -> bool:
    """Whether reading the descriptor gives what reading the object gives.

    A GzipFile, for one, has a fileno() too: that of the compressed file.
    """
    if type(source) not in (io.FileIO, io.BufferedReader, io.BufferedRandom):
        return False
    raw = getattr(source, 'raw', source)
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _can_seek(source: Any) -> bool:
    """Whether positions of the file count its bytes."""
    try:
        if hasattr(source, 'seekable'):
            if not source.seekable():
                return False
        else:
            source.seek(source.tell())
    except (AttributeError, OSError, ValueError):
        return False
    # Text files without a binary layer (codecs.open) count in something else.
    return not isinstance(source.read(0), str)


def _reads(source: Any, name: str) -> Iterator[Any]:
    while True:
        with local_errors('read', name):
            piece = source.read(STREAM_READ_BYTES)
        if piece is None:
            raise ConfigurationError(f'source: {name} is non-blocking and has no data now; give a blocking file object')
        if not len(piece):
            return
        yield piece


def _checked_pieces(pieces: Iterator[Any], *, is_text_allowed: bool = False) -> Iterator[bytes]:
    """The pieces as bytes; text is an error where it may be a mistake (an iterable of lines, say)."""
    for piece in pieces:
        if isinstance(piece, bytes):
            data = piece
        elif isinstance(piece, str) and is_text_allowed:
            data = _encode(piece)
        else:
            view = None if isinstance(piece, str | int) else _view(piece)
            if view is None:
                hint = '; encode the text first' if isinstance(piece, str) else ''
                raise ConfigurationError(f'source: an iterable must give bytes, not {type(piece).__name__}{hint}')
            # A copy: the caller may fill the same buffer again for the next piece.
            data = bytes(view)
        if data:
            yield data


def _descriptor_pieces(descriptor: int, name: str) -> Iterator[bytes]:
    offset = 0
    while data := _read_range(descriptor, offset, STREAM_READ_BYTES, name):
        offset += len(data)
        yield data


def _read_range(descriptor: int, offset: int, size_bytes: int, name: str) -> bytes:
    """Up to size_bytes from an offset; fewer only at the end of the file."""
    pieces = []
    with local_errors('read', name):
        while size_bytes:
            piece = os.pread(descriptor, size_bytes, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b''.join(pieces)


def _read_fully(read: Callable[[int], bytes | None], size_bytes: int) -> bytes:
    """Up to size_bytes; fewer only at the end. (An unbuffered file may give less than was asked for.)"""
    pieces = []
    while size_bytes:
        piece = read(size_bytes)
        if not piece:
            break
        if isinstance(piece, str):
            raise ConfigurationError("source gives text when it is read; open it with mode 'rb'")
        pieces.append(piece)
        size_bytes -= len(piece)
    return pieces[0] if len(pieces) == 1 else b''.join(pieces)


def _identity(descriptor: int) -> tuple[int, int, int, int]:
    found = os.fstat(descriptor)
    return (found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def _shrank(name: str) -> SourceChanged:
    return SourceChanged(
        f'{name} became shorter while it was uploaded; nothing was published. Upload it again when it is at rest'
    )


def delete_original(source: FileSource) -> None:
    """Delete the file behind a path source, unless the path leads to something else by now.

    Raises:
        LocalError: It cannot be deleted.
    """
    assert source.path is not None
    if not source.is_still_at(source.path):
        raise LocalError(
            f'{source.path} was uploaded, but not deleted: it changed meanwhile. Upload it again to delete it',
            filename=source.path,
        )
    with local_errors('delete', source.path):
        os.unlink(source.path)
