"""Determines the kind of a caller's source."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from s3po.body.chunks import read_range
from s3po.body.local import check_path, close_file, local_errors, printable, refuse_special_file
from s3po.body.pipes import Pipe
from s3po.body.sources import BytesSource, FileSource, SeekableSource, SizedSource
from s3po.body.streams import StreamSource
from s3po.config import MIB
from s3po.errors import ConfigurationError, LocalError
from s3po.runtime import patiently

__all__ = ['open_path', 'open_source']

# Bytes per read() of a stream.
STREAM_READ_BYTES = MIB


def open_source(source: Any) -> SizedSource | StreamSource:
    """Return the Source for what a caller uploads.

    Args:
        source: Bytes-like, str (sent as UTF-8), os.PathLike, a binary or text file object (read from its current position), or
            an iterable of bytes.

    Raises:
        ConfigurationError: The source is none of these.
        LocalError: The path or file cannot be read.
    """
    if isinstance(source, bytes):
        return BytesSource(source)
    if isinstance(source, str):
        return BytesSource(_encode(source))
    if isinstance(source, os.PathLike):
        return open_path(os.fsdecode(source))
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
    """A flat view of an object that supports the buffer protocol, else None."""
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
        raise ConfigurationError(f'source is a str that cannot be encoded as UTF-8 ({error}); give bytes instead') from error


def open_path(path: str) -> SizedSource | StreamSource:
    """Return the Source for a file; the errors are those of open_source()."""
    check_path(path, 'source')
    with local_errors('upload', path):
        # Non-blocking: opening a named pipe would otherwise wait for its writer before the pipe can be rejected.
        descriptor = patiently(os.open, path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        refuse_special_file(os.fstat(descriptor).st_mode, 'upload', path)
        found = FileSource(descriptor, 0, printable(path), path=path)
        # Files of /proc and similar file systems report 0 bytes and contain more.
        if found.size_bytes or not read_range(descriptor, 0, 1, path):
            return found
        return StreamSource(_descriptor_pieces(descriptor, path), path, close=found.close)
    except BaseException:
        close_file(descriptor)
        raise


def _open_file(source: Any) -> SizedSource | StreamSource:
    name = f'the file object {getattr(source, "name", None) or type(source).__name__}'
    # (What was written to a Pipe can be read after close().)
    if getattr(source, 'closed', False) and not isinstance(source, Pipe):
        raise ConfigurationError(f'source: {name} is closed')
    if isinstance(source, io.IOBase) and not source.readable():
        raise ConfigurationError(f"source: {name} is not open for reading; open it with mode 'rb'")
    source = _binary_layer(source, name)
    found: SizedSource | StreamSource | None
    if not isinstance(source, io.TextIOBase) and (found := _sized(source, name)) is not None:
        return found
    start = _start_of(source)
    if isinstance(source, io.TextIOBase):
        text = source.read()
        try:
            found = BytesSource(_encode(text))
        except ConfigurationError:
            if start is not None:
                source.seek(start)
            raise
    else:
        found = StreamSource(_checked_pieces(_reads(source, name), is_text_allowed=True), name)
    if start is not None:
        _set_back_after_failure(found, source, start)
    return found


def _start_of(source: Any) -> int | None:
    """The position of a file of the io module, to which it can seek; None for other files."""
    try:
        return int(source.tell()) if isinstance(source, io.IOBase) and source.seekable() else None
    except (OSError, ValueError):
        return None


def _set_back_after_failure(found: SizedSource | StreamSource, file: Any, start: int) -> None:
    """Make a source set its file back, unless all of it was sent: the same call then sends everything again."""
    sent: list[bool] = []

    def set_back() -> None:
        if not sent:
            # If it cannot seek any more, the caller has closed it, for example.
            with contextlib.suppress(OSError, ValueError):
                file.seek(start)

    found.finish = functools.partial(sent.append, True)  # type: ignore[method-assign]
    found.close = set_back  # type: ignore[method-assign]


def _sized(source: Any, name: str) -> SizedSource | None:
    """The file object as a source of known length; None if the length is known only after reading it.

    Files of /proc, and devices, report a size of 0 and contain more. An empty file costs one read.
    """
    if _is_plain_file(source):
        if isinstance(source, io.BufferedRandom):
            source.flush()
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return None
        return FileSource(source.fileno(), source.tell(), name, file=source)
    if not _can_seek(source):
        return None
    try:
        found = SeekableSource(source, name)
    except LocalError as error:
        # Files of /proc again, in classes other than io's: seeking to their end fails, and the position has not changed.
        if error.errno != errno.EINVAL:
            raise
        return None
    return found if found.size_bytes else None


def _binary_layer(source: Any, name: str) -> Any:
    """The binary layer of a text file, set to the text's position; other files unchanged."""
    if not isinstance(getattr(source, 'encoding', None), str) or not hasattr(source, 'buffer'):
        return source
    try:
        if source.seekable():
            # The text layer reads ahead; this moves the binary layer back to the text's position.
            source.seek(source.tell())
    except OSError as error:
        raise ConfigurationError(f"source: {name} has no position while it is iterated; open it with mode 'rb'") from error
    return source.buffer


def _is_plain_file(source: Any) -> bool:
    """Whether reading the descriptor and reading the object return the same bytes.

    Counterexample: a GzipFile has a fileno() too, that of the compressed file.
    """
    if type(source) not in (io.FileIO, io.BufferedReader, io.BufferedRandom):
        return False
    return type(getattr(source, 'raw', source)) is io.FileIO


def _can_seek(source: Any) -> bool:
    """Whether the file can seek, with positions that count bytes."""
    try:
        if hasattr(source, 'seekable'):
            if not source.seekable():
                return False
        else:
            source.seek(source.tell())
    except (AttributeError, OSError, ValueError):
        return False
    # Text files without a binary layer (codecs.open) count something else.
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
    """The pieces as bytes; text is rejected where it may be a mistake (such as an iterable of lines)."""
    for piece in pieces:
        if isinstance(piece, bytes):
            data = piece
        elif isinstance(piece, str) and is_text_allowed:
            data = _encode(piece)
        else:
            view = None if isinstance(piece, str | int) else _view(piece)
            if view is None:
                hint = '; encode the text first' if isinstance(piece, str) else ''
                raise ConfigurationError(f'source: an iterable must return bytes, not {type(piece).__name__}{hint}')
            # A copy: the caller may reuse the buffer for the next piece.
            data = bytes(view)
        if data:
            yield data


def _descriptor_pieces(descriptor: int, name: str) -> Iterator[bytes]:
    offset = 0
    while data := read_range(descriptor, offset, STREAM_READ_BYTES, name):
        offset += len(data)
        yield data
