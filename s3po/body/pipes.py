"""A bounded pipe between two threads or greenlets.

Invariants:

- At most `buffer_size` bytes are buffered, whatever the size of the pieces.
- A read returns all requested bytes, unless the stream has ended.
- An end without close() is an error, so that a transfer never publishes an incomplete stream.
- Neither side waits for one that has ended, and neither blocks the other greenlets of its thread.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import gevent

from s3po.checks import is_whole
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError, S3poError, SourceChanged, TransferError
from s3po.runtime import Changes

__all__ = ['Data', 'Pipe', 'joined']

Data = bytes | bytearray | memoryview

# Smaller pieces are joined: each bytes object costs about 60 bytes, so a buffer of 3-byte pieces would be all overhead.
SMALL_BYTES: Final = 64 * KIB
# Interval at which a waiting side checks whether the other one still exists.
LOOK_S: Final = 0.2


class _Side:
    """One side of a pipe.

    Attributes:
        runner: The greenlet or thread that last used it; None before.
        seen_at: The time of its last use.
    """

    __slots__ = ('runner', 'seen_at')

    def __init__(self) -> None:
        self.runner: Any = None
        self.seen_at = time.monotonic()

    def note(self) -> None:
        current = gevent.getcurrent()
        self.runner = current if isinstance(current, gevent.Greenlet) else threading.current_thread()
        self.seen_at = time.monotonic()

    def has_ended(self) -> bool:
        runner = self.runner
        if isinstance(runner, gevent.Greenlet):
            return bool(runner.dead)
        return runner is not None and not runner.is_alive()


class Pipe:
    """A bounded pipe with a writing and a reading side, each in its own thread or greenlet.

    Attributes:
        file_size: The length of the stream in bytes; None for any length.
        buffer_size: The most bytes in the pipe.
    """

    # The error class if no narrower one applies.
    _failure: type[TransferError]
    # False if the end of a side is reported in another way.
    _is_watched = True

    def __init__(
        self, file_size: int | None = None, buffer_size: int | None = None, *, stall_timeout_s: float | None = 300.0
    ) -> None:
        """
        Args:
            file_size: The length of the stream in bytes: fewer or more bytes are an error. None for any length.
            buffer_size: The most bytes in the pipe; the writer waits while it is full. None for 16 MiB.
            stall_timeout_s: How long a writer waits for a reader that does not read, and a reader for a writer that has not
                written yet; None for ever. (The end of a thread is noticed at once.)

        Raises:
            ConfigurationError: An argument is not such a number.
        """
        for name, value, least in (('file_size', file_size, 0), ('buffer_size', buffer_size, 1)):
            if value is not None and not is_whole(value, least):
                raise ConfigurationError(f'{name} must be a whole number of bytes from {least}, not {value!r}')
        if stall_timeout_s is not None and not stall_timeout_s > 0:
            raise ConfigurationError(f'stall_timeout_s must be a number of seconds above 0, or None, not {stall_timeout_s!r}')
        self.file_size = file_size
        self.buffer_size = 16 * MIB if buffer_size is None else buffer_size
        self._stall_timeout_s = math.inf if stall_timeout_s is None else stall_timeout_s
        self._changed = Changes()
        self._pieces: collections.deque[Data] = collections.deque()
        self._buffered = self._written = self._taken = 0
        # The number of bytes that the reader waits for.
        self._wanted = 0
        self._is_closed = self._is_at_end = False
        self._error: BaseException | None = None
        self._writer, self._reader = _Side(), _Side()

    def __repr__(self) -> str:
        state = 'failed' if self._error is not None else 'closed' if self._is_closed else 'open'
        return f'<{type(self).__name__} {state} written={self._written} buffered={self._buffered}>'

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the stream; after an exception in the `with` block fail it, so that nothing is published."""
        if error is not None:
            self.fail(error)
        else:
            self.close()

    @property
    def error(self) -> BaseException | None:
        """The error of the stream; None if it has not failed."""
        with self._changed:
            # It records the error that it raises.
            with contextlib.suppress(S3poError):
                self._refuse_ended()
            return self._error

    @error.setter
    def error(self, error: object) -> None:
        """Fail the stream, like fail(). A value that is no exception is ignored."""
        if isinstance(error, BaseException):
            self.fail(error)

    @property
    def closed(self) -> bool:
        """Whether close() was called; what was written before can still be read."""
        return self._is_closed

    @property
    def processed(self) -> int:
        """The number of bytes that were read."""
        return self._taken

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._taken

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """False: bytes that were read are not kept."""
        return False

    def fail(self, error: BaseException) -> None:
        """Mark the stream as failed: both sides raise from now on. The first error is kept."""
        with self._changed:
            if self._error is None:
                self._error = error
                self._pieces.clear()
                self._buffered = 0
                self._changed.notify_all()

    def check_failed(self) -> None:
        """Raise the error of the stream, if it has failed."""
        if isinstance(self._error, S3poError):
            raise self._error
        if self._error is not None:
            raise self._failure(f'the stream has failed: {self._error!r}') from self._error

    def close(self) -> None:
        """Mark the end of the data. Does not wait; further calls do nothing.

        A stream that is closed before file_size bytes has failed: the reader raises SourceChanged.
        """
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
            if self.file_size is not None and self._written < self.file_size:
                short = f'the stream was closed after {self._written:,} bytes of {self.file_size:,} (file_size)'
                self.fail(SourceChanged(short))

    def write(self, data: Data) -> int:
        """Write all of the data; blocks while the buffer is full. (Bytes are not copied, other data is.)

        Returns:
            The number of bytes, always all.

        Raises:
            ValueError: The stream is closed, or would become longer than file_size (which fails it).
            S3poError: The stream has failed, or its reader has ended.
        """
        view = memoryview(data).cast('B')
        size = left = len(view)
        with self._changed:
            self._writer.note()
            self._check_writable(size)
            try:
                while left:
                    self._wait(self._has_room, self._reader)
                    room = min(left, self.buffer_size - self._buffered)
                    self._add(view[size - left : size - left + room])
                    left -= room
            except BaseException as error:
                if left < size:
                    # (For example a gevent.Timeout.) The caller cannot know how many bytes are in the stream.
                    self.fail(error)
                raise
            self._written += size
        return size

    def read(self, size: int | None = -1) -> bytes:
        """Read exactly `size` bytes, or all; fewer only at the end of the stream. Blocks until they are there.

        Raises:
            S3poError: The stream has failed: it is incomplete.
        """
        return self._read(math.inf if size is None or size < 0 else size, is_full=True)

    def read1(self, size: int = MIB) -> bytes:
        """Read up to `size` available bytes; blocks while there are none. Returns b'' only at the end of the stream.

        Raises:
            S3poError: As for read().
        """
        return self._read(size, is_full=False)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the data as it arrives, in pieces of up to 1 MiB."""
        while piece := self.read1():
            yield piece

    # --- the lock is held in all methods below

    def _read(self, size: float, *, is_full: bool) -> bytes:
        taken: list[Data] = []
        left = size
        with self._changed:
            self._reader.note()
            try:
                while left > 0:
                    # A full buffer is emptied even if it has fewer bytes than requested: the writer would wait for ever.
                    self._wanted = int(min(left, self.buffer_size)) if is_full else 1
                    self._wait(self._has_wanted, self._writer)
                    left -= self._take(left, taken)
                    if self._is_closed or not is_full:
                        break
            except BaseException as error:
                if taken:
                    self.fail(error)
                raise
            self.check_failed()
            self._is_at_end = not self._buffered and (self._is_closed or self._written == self.file_size)
            self._reader.note()
        return joined(taken)

    def _check_writable(self, size: int) -> None:
        self.check_failed()
        if self._is_closed:
            raise ValueError('write() to a stream after close()')
        self._refuse_ended()
        if self.file_size is not None and self._written + size > self.file_size:
            error = ValueError(f'write() of {self._written + size:,} bytes in total exceeds file_size={self.file_size:,}')
            self.fail(error)
            raise error

    def _has_room(self) -> bool:
        return self._buffered < self.buffer_size

    def _has_wanted(self) -> bool:
        return self._is_closed or self._buffered >= self._wanted

    def _add(self, piece: memoryview) -> None:
        if len(piece) < SMALL_BYTES:
            last = self._pieces[-1] if self._pieces else None
            if not isinstance(last, bytearray) or len(last) >= SMALL_BYTES:
                last = bytearray()
                self._pieces.append(last)
            last += piece
        else:
            self._pieces.append(piece if type(piece.obj) is bytes else bytes(piece))
        self._buffered += len(piece)
        if self._buffered >= self._wanted:
            self._changed.notify_all()

    def _take(self, most: float, taken: list[Data]) -> int:
        size = 0
        while self._pieces and size < most:
            piece = self._pieces.popleft()
            if len(piece) > most - size:
                view, cut = memoryview(piece), int(most - size)
                self._pieces.appendleft(view[cut:])
                piece = view[:cut]
            taken.append(piece)
            size += len(piece)
        self._buffered -= size
        self._taken += size
        self._changed.notify_all()
        return size

    def _wait(self, is_met: Callable[[], bool], other: _Side) -> None:
        began_at = time.monotonic()
        while True:
            self.check_failed()
            if is_met():
                return
            self._refuse_ended()
            is_awaited = other is self._reader or other.runner is None
            if is_awaited and time.monotonic() - max(began_at, other.seen_at) > self._stall_timeout_s:
                name = 'reads from' if other is self._reader else 'writes to'
                self.fail(self._failure(f'no thread {name} the stream for {self._stall_timeout_s} s (stall_timeout_s)'))
                continue
            self._changed.wait(LOOK_S)

    def _refuse_ended(self) -> None:
        if not self._is_watched or self._error is not None:
            return
        if not self._is_at_end and self._reader.has_ended():
            self.fail(self._failure('the reading thread ended before the stream'))
        elif not self._is_closed and self._writer.has_ended():
            self.fail(self._failure('the writing thread ended without close(); the stream is incomplete'))
        self.check_failed()


def joined(pieces: list[Data]) -> bytes:
    """Join pieces; a single one that is a whole bytes object is not copied."""
    if len(pieces) != 1:
        return b''.join(pieces)
    piece = pieces[0]
    whole = piece.obj if isinstance(piece, memoryview) and len(piece) == len(memoryview(piece.obj)) else piece
    return whole if type(whole) is bytes else bytes(piece)
