"""Reads an object as a file.

The reader keeps one block in memory and a queue of ranges that are fetched ahead of it. Sequential reads prefetch more with
each block. A seek fetches little more than the requested bytes, because most programs that seek once seek again.
"""

from __future__ import annotations

import collections
import errno
import functools
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NoReturn

import gevent

from s3po.checks import is_whole
from s3po.config import KIB, MIB
from s3po.errors import ConfigurationError, S3poError
from s3po.files.boto3_objects import boto3_object
from s3po.files.ranges import Ranges
from s3po.memory import Room
from s3po.runtime import Captured, spawn
from s3po.s3.expected import is_strong

__all__ = ['S3Reader']

# The shortest range: a smaller one costs about the same, because of the request.
LEAST_BYTES: Final = 64 * KIB
# The length of the first request, enough for the whole of a small object.
FIRST_BYTES: Final = 128 * KIB
# Sequential ranges grow by this factor, up to block_size.
GROWTH: Final = 4
# A read of more than this is fetched in one call, which saves a copy.
AT_ONCE_BYTES: Final = 8 * MIB


class NegativePosition(OSError, ValueError):
    """A seek to a position before the beginning."""


class S3Reader(io.BufferedIOBase):
    """An object opened for reading in binary mode, for any code that reads files: csv, zipfile, pandas, pyarrow.

    All bytes are of the version that was opened (If-Match): if the object is replaced, reads raise SourceChanged. After a
    dropped connection the next attempt continues at the first missing byte. Any native thread may use the reader, but only one
    at a time.

    Attributes:
        info: The store's description of the object.
        size: The object's size in bytes.
        blocksize: The block_size with which it was opened.
        name: The object's URL, s3://bucket/key.
        mode: 'rb'
    """

    mode: Final = 'rb'

    def __init__(self, ranges: Ranges, *, block_size: int, read_ahead: int, on_close: Callable[[], None] | None = None) -> None:
        """
        Args:
            ranges: Fetches the object's bytes.
            block_size: The largest range that is fetched ahead, in bytes; values below 64 KiB mean 64 KiB.
            read_ahead: How many ranges are fetched ahead in parallel; 0 for none.
            on_close: Called once by close(); None for nothing.

        Raises:
            NotFound: The object does not exist.
        """
        super().__init__()
        self.blocksize = block_size
        self._on_close = on_close
        self._block_size = max(block_size, LEAST_BYTES)
        self._read_ahead = read_ahead
        self._block: bytes | bytearray
        self.info, self._block = ranges.first(min(FIRST_BYTES, self._block_size))
        self.size, self.name = self.info.size_bytes, str(ranges.ref)
        etag = self.info.etag
        self._ranges = replace(ranges, if_match=etag if is_strong(etag) else None, opened=self.info)
        # The memory of all its blocks and buffers.
        self._room = Room(ranges.memory(), is_callers=True)
        self._room.grow(len(self._block))
        # Start and end of the block (its buffer may be longer), position of the next read, length of the next range.
        self._start, self._stop, self._position = 0, len(self._block), 0
        self._next_bytes = FIRST_BYTES
        # Unused buffers of block_size. Allocating memory for each range would take longer than filling it.
        self._spare: list[bytearray] = []
        self._ahead: collections.deque[_Ahead] = collections.deque()

    def __repr__(self) -> str:
        return f'<S3Reader {self.name} at {self._position:,} of {self.size:,}{" closed" if self.closed else ""}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('an open S3Reader cannot be pickled; pickle the Connection, and open the object again')

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read; sends no request. Reads beyond the end return b''.

        Raises:
            ValueError: The position is negative. It is an OSError (EINVAL) too, as for files on disk.
        """
        self._check_open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f'whence must be os.SEEK_SET, SEEK_CUR or SEEK_END, not {whence!r}')
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise NegativePosition(errno.EINVAL, f'a position cannot be negative: {base + offset}')
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to size bytes, fewer only at the end; all remaining bytes if size is None or negative. Blocks.

        Raises:
            SourceChanged: The object was replaced since it was opened.
            DownloadError: The retries were used up.
        """
        self._check_open()
        position = self._position
        left = max(0, self.size - position)
        try:
            return self._read(left if size is None or size < 0 else min(size, left))
        except BaseException:
            # Nothing was returned, so the caller's next read must return the same bytes.
            self._position = position
            raise

    def _read(self, wanted: int) -> bytes:
        if wanted > AT_ONCE_BYTES and wanted > len(self._in_block()) and not self._ahead:
            data = self._ranges.get(self._position, self._position + wanted, waits=True)
            self._position += wanted
            # Leave an empty block at the new position, so that the next read counts as sequential.
            self._drop_block(self._position)
            return data
        pieces = []
        while wanted:
            piece = self._take(wanted)
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def read1(self, size: int | None = -1) -> bytes:
        """Return up to size bytes that are in memory; fetches a block only if there are none."""
        self._check_open()
        if size == 0:
            return b''
        return self._take(self._block_size if size is None or size < 0 else size)

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), fewer only at the end. The position stays. Several threads may call it at once.

        (The block in memory is used, so no other method may be called meanwhile.)
        """
        self._check_open()
        stop = min(stop, self.size)
        if start >= stop:
            return b''
        if self._start <= start and stop <= self._stop:
            return self._piece(start - self._start, stop - self._start)
        return self._ranges.get(start, stop)

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer; returns the number of bytes, fewer than its length only at the end."""
        view = memoryview(buffer).cast('B')
        filled, position = 0, self._position
        try:
            while filled < len(view) and (count := self.readinto1(view[filled:])):
                filled += count
        except BaseException:
            self._position = position
            raise
        return filled

    def readinto1(self, buffer: Any, /) -> int:
        """Like readinto(), but waits for one block at most."""
        self._check_open()
        view = memoryview(buffer).cast('B')
        if not len(view) or not self._load(len(view)):
            return 0
        block = self._in_block()[: len(view)]
        view[: len(block)] = block
        self._position += len(block)
        return len(block)

    def peek(self, size: int = 0) -> bytes:
        """Return the next bytes without moving the position: at least one byte, unless at the end."""
        self._check_open()
        return bytes(self._in_block()) if self._load(max(1, size)) else b''

    def readline(self, size: int | None = -1) -> bytes:
        """Return bytes up to and including the next line feed, or to the end, or size bytes."""
        self._check_open()
        position = self._position
        try:
            return self._read_line(-1 if size is None else size)
        except BaseException:
            self._position = position
            raise

    def _read_line(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        while limit and self._load(FIRST_BYTES):
            begin = self._position - self._start
            length = self._stop - self._start
            end = self._block.find(b'\n', begin, length) + 1 or length
            if limit > 0:
                end = min(end, begin + limit)
                limit -= end - begin
            pieces.append(self._piece(begin, end))
            self._position += end - begin
            if pieces[-1].endswith(b'\n'):
                break
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def iter_chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Iterate over the remaining bytes.

        Args:
            chunk_size: The length of each piece in bytes, except the last; None for pieces as they arrive.
        """
        if chunk_size is not None and not is_whole(chunk_size, 1):
            raise ConfigurationError(f'chunk_size must be a whole number of bytes from 1, or None, not {chunk_size!r}')
        while piece := self.read1() if chunk_size is None else self.read(chunk_size):
            yield piece

    def to_boto3(self, resource: Any) -> Any:
        """The object in boto3: an Object of a `boto3.resource('s3')`, or an ObjectVersion if a version was opened."""
        return boto3_object(resource, self._ranges.ref)

    def close(self) -> None:
        """Cancel prefetching and free the memory. May be called twice."""
        if not self.closed:
            self._forget_ahead()
            self._drop_block(0)
            self._spare.clear()
            self._room.close()
            if self._on_close is not None:
                self._on_close()
        super().close()

    def __del__(self) -> None:
        # During interpreter shutdown, greenlets can no longer be killed.
        if sys.is_finalizing():
            return
        # The attribute is missing if the constructor failed.
        for ahead in getattr(self, '_ahead', ()):
            ahead.give_up()
        if hasattr(self, '_room'):
            self._room.close_later()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f'{self.name}: the file is closed')

    def _in_block(self) -> memoryview:
        """The bytes of the block from the position on."""
        if self._start <= self._position < self._stop:
            return memoryview(self._block)[self._position - self._start : self._stop - self._start]
        return memoryview(b'')

    def _piece(self, begin: int, end: int) -> bytes:
        """A slice of the block; no copy if it is the whole block."""
        return bytes(memoryview(self._block)[begin:end]) if isinstance(self._block, bytearray) else self._block[begin:end]

    def _take(self, wanted: int) -> bytes:
        """At least one byte, unless at the end."""
        if not self._load(wanted):
            return b''
        begin = self._position - self._start
        piece = self._piece(begin, min(begin + wanted, self._stop - self._start))
        self._position += len(piece)
        return piece

    def _load(self, wanted: int) -> bool:
        """Make the block contain the position; False at or after the end."""
        position = self._position
        if self._start <= position < self._stop:
            return True
        if position >= self.size:
            return False
        while self._ahead and not self._ahead[0].holds(position):
            self._give_up_first()
        if not self._ahead and position != self._stop:
            self._seek_to(position, wanted)
        else:
            self._read_on(position, wanted)
        return True

    def _seek_to(self, position: int, wanted: int) -> None:
        self._drop_block(position)
        length = max(min(FIRST_BYTES, self._block_size), min(wanted, self._block_size))
        if not self._room.try_fit(self._room.size_bytes + length):
            length = min(FIRST_BYTES, self._block_size)
            self._room.grow(length)
        stop = min(self.size, position + length)
        try:
            self._block, self._stop = self._ranges.get(position, stop), stop
        finally:
            self._room.shrink(self._room.size_bytes - length + len(self._block))
        self._next_bytes = FIRST_BYTES

    def _read_on(self, position: int, wanted: int) -> None:
        """Take the next range as the block, and start prefetching the following ranges."""
        self._drop_block(position)
        stop = self._ahead[-1].stop if self._ahead else position
        while stop < self.size and len(self._ahead) <= self._read_ahead:
            start, next_bytes = stop, min(self._block_size, max(self._next_bytes * GROWTH, wanted))
            buffer = self._buffer(min(next_bytes, self.size - start))
            if buffer is None and self._ahead:
                break
            if buffer is None:
                # There is no room, so the range is as short as the first one.
                next_bytes = min(FIRST_BYTES, self._block_size)
                buffer = bytearray(min(next_bytes, self.size - start))
                self._room.grow(len(buffer))
            stop, self._next_bytes = min(self.size, start + next_bytes), next_bytes
            self._ahead.append(_Ahead(self._ranges, start, stop, buffer))
        ahead = self._ahead.popleft()
        try:
            self._block, self._start, self._stop = ahead.result(), ahead.start, ahead.stop
        except BaseException:
            self._free(ahead.buffer)
            raise

    def _buffer(self, size_bytes: int) -> bytearray | None:
        """A buffer for a range; None if there is no room for it."""
        is_large = size_bytes > self._block_size // GROWTH
        if self._spare and is_large:
            return self._spare.pop()
        length = self._block_size if is_large else size_bytes
        return bytearray(length) if self._room.try_fit(self._room.size_bytes + length) else None

    def _drop_block(self, position: int) -> None:
        """Replace the block by an empty one at a position, so that a read from there counts as sequential."""
        block = self._block
        if isinstance(block, bytearray) and len(block) == self._block_size and not self._room.budget.is_scarce:
            self._spare.append(block)
        else:
            self._free(block)
        self._block, self._start, self._stop = b'', position, position

    def _forget_ahead(self) -> None:
        while self._ahead:
            self._give_up_first()

    def _give_up_first(self) -> None:
        ahead = self._ahead.popleft()
        ahead.give_up()
        self._free(ahead.buffer)

    def _free(self, block: bytes | bytearray) -> None:
        self._room.shrink(self._room.size_bytes - len(block))


class _Ahead:
    """A range that is being fetched in its own greenlet."""

    def __init__(self, ranges: Ranges, start: int, stop: int, buffer: bytearray) -> None:
        self._ref = ranges.ref
        self.start = start
        self.stop = stop
        self.buffer = buffer
        self._outcome: Captured[None] = Captured()
        # Without a reference to the reader: an unreferenced reader must be garbage collected.
        self._greenlet = spawn(self._outcome.capture, functools.partial(ranges.get_into, start, stop, buffer))

    def holds(self, position: int) -> bool:
        """Whether it has the position and belongs to this thread's event loop: other loops cannot be waited for."""
        return self.start <= position < self.stop and self._greenlet.hub is gevent.get_hub()

    def result(self) -> bytearray:
        """Wait for the range; returns the buffer, which begins with its bytes.

        Raises:
            S3poError: The error of Ranges.get_into().
        """
        try:
            self._greenlet.join()
        except BaseException:
            self.give_up()
            raise
        if isinstance(self._outcome.error, gevent.GreenletExit):
            raise S3poError(f'{self._ref}: other code killed the greenlet that fetched bytes {self.start:,} to {self.stop:,}')
        self._outcome.unwrap()
        return self.buffer

    def give_up(self) -> None:
        """Cancel the fetch without waiting. (The buffer may still be written to.) Any thread may call this."""
        self._greenlet.end_later()
