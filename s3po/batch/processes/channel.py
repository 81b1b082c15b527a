"""Messages between two processes, over one stream socket.

Messages that are sent in one turn of the event loop travel together, so that a job costs no system call of its own. Everything
happens in callbacks of the event loop: no greenlet waits here.

A frame is the number of its blocks, their sizes, and the blocks: a pickled list of messages, and the large bodies in it.
"""

from __future__ import annotations

import collections
import contextlib
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

import gevent

from s3po.config import KIB, MIB

__all__ = ['LARGE_BYTES', 'Channel', 'Message', 'body']

# A tuple of plain values; the first one is its kind.
Message = tuple[Any, ...]

# Larger bodies are sent as blocks of their own, which saves a copy.
LARGE_BYTES: Final = 64 * KIB
# The buffer of one read, and how much is read before other work of the event loop.
READ_BYTES: Final = 256 * KIB
TURN_BYTES: Final = 2 * MIB

COUNT: Final = struct.Struct('<I')
READ_EVENT: Final = 1
WRITE_EVENT: Final = 2


def body(data: bytes) -> Any:
    """Data as a value of a message."""
    return pickle.PickleBuffer(data) if len(data) > LARGE_BYTES else data


class Channel:
    """One end. Belongs to the thread that made it.

    Attributes:
        is_closed: Whether close() was called, or the other end has closed.
    """

    def __init__(self, sock: Any, on_messages: Callable[[list[Message]], object], on_end: Callable[[], object]) -> None:
        """
        Args:
            sock: A connected stream socket, not one of gevent's. The channel closes it.
            on_messages: Called in the event loop with messages that arrived together. Must not wait.
            on_end: Called in the event loop when the other end has closed, but not after close().
        """
        sock.setblocking(False)
        self._sock = sock
        self._on_messages = on_messages
        self._on_end = on_end
        self.is_closed = False
        self._loop: Any = gevent.get_hub().loop
        self._reading: Any = self._loop.io(sock.fileno(), READ_EVENT)
        self._writing: Any = self._loop.io(sock.fileno(), WRITE_EVENT)
        self._queued: list[Message] = []
        self._unsent: collections.deque[memoryview] = collections.deque()
        self._buffer = bytearray(READ_BYTES)
        self._incoming = _Incoming()
        self._reading.start(self._read)

    def send(self, message: Message) -> None:
        """Send a message, with all others of this turn of the event loop. Does not wait. Ignored after the end."""
        if self.is_closed:
            return
        if not self._queued:
            self._loop.run_callback(self.flush)
        self._queued.append(message)

    def flush(self) -> None:
        """Send all messages now, as far as the socket takes them; the rest follows when it takes more."""
        queued, self._queued = self._queued, []
        if self.is_closed or not queued:
            return
        large: list[pickle.PickleBuffer] = []
        try:
            packed = pickle.dumps(queued, 5, buffer_callback=large.append)
        except BaseException:
            self._fail()
            raise
        blocks = [packed, *(each.raw() for each in large)]
        head = struct.pack(f'<I{len(blocks)}Q', len(blocks), *map(len, blocks))
        is_waiting = bool(self._unsent)
        self._unsent.append(memoryview(head + packed))
        self._unsent.extend(each.raw() for each in large)
        if not is_waiting:
            self._write()

    @property
    def is_sent(self) -> bool:
        """Whether everything was sent, or can never be sent."""
        return not self._queued and not self._unsent

    def finish(self) -> None:
        """Tell the other end that nothing follows. It can still send."""
        if not self.is_closed:
            self.flush()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end. What was not sent yet is dropped."""
        if not self.is_closed:
            self.is_closed = True
            self._queued.clear()
            self._unsent.clear()
            self._reading.close()
            self._writing.close()
            self._sock.close()

    def disown(self) -> None:
        """Close the copy of the socket in a forked child. The watchers belong to an event loop that is gone."""
        self.is_closed = True
        self._sock.close()

    def _fail(self) -> None:
        """End as if the other end had closed. After an exception too, such as one of a signal handler: messages are lost."""
        if not self.is_closed:
            self.close()
            self._on_end()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                sent = self._sock.send(unsent[0])
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except BlockingIOError:
            self._writing.start(self._write)
            return
        except OSError:
            # The other end is gone. The end is found, and reported, by reading.
            unsent.clear()
        self._writing.stop()

    def _read(self) -> None:
        try:
            self._read_some()
        except BaseException:
            self._fail()
            raise

    def _read_some(self) -> None:
        taken = 0
        while taken < TURN_BYTES and not self.is_closed:
            large = self._incoming.room()
            try:
                count = self._sock.recv_into(self._buffer if large is None else large)
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if not count:
                self._fail()
                return
            incoming = self._incoming
            messages = incoming.feed(memoryview(self._buffer)[:count]) if large is None else incoming.fill(count)
            if messages:
                self._on_messages(messages)
            if count < READ_BYTES:
                # Probably all. If not, the event loop calls again.
                return
            taken += count


class _Incoming:
    """The bytes of frames that are not complete yet."""

    def __init__(self) -> None:
        self._held = b''
        # A large frame, and how much of it has arrived.
        self._large: bytearray | None = None
        self._filled = 0

    def room(self) -> memoryview | None:
        """Where the next bytes belong; None for feed()."""
        return None if self._large is None else memoryview(self._large)[self._filled :]

    def fill(self, count: int) -> list[Message]:
        """Bytes were written into room(). Returns the messages that are complete."""
        self._filled += count
        large = self._large
        if large is None or self._filled < len(large):
            return []
        self._large = None
        return _messages(memoryview(large))

    def feed(self, data: memoryview) -> list[Message]:
        """Take bytes. Returns the messages that are complete."""
        view = memoryview(self._held + data) if self._held else data
        messages: list[Message] = []
        while (size := _frame_bytes(view)) and size <= len(view):
            messages += _messages(view[:size])
            view = view[size:]
        if size > READ_BYTES:
            self._large = bytearray(size)
            self._filled = len(view)
            self._large[: len(view)] = view
            self._held = b''
        else:
            self._held = bytes(view)
        return messages


def _frame_bytes(view: memoryview) -> int:
    """The size of the first frame; 0 if its head has not arrived."""
    if len(view) < COUNT.size:
        return 0
    (count,) = COUNT.unpack_from(view)
    head = COUNT.size + 8 * count
    return head + sum(struct.unpack_from(f'<{count}Q', view, COUNT.size)) if len(view) >= head else 0


def _messages(frame: memoryview) -> list[Message]:
    (count,) = COUNT.unpack_from(frame)
    sizes = struct.unpack_from(f'<{count}Q', frame, COUNT.size)
    position = COUNT.size + 8 * count
    blocks: list[memoryview] = []
    for size in sizes:
        blocks.append(frame[position : position + size])
        position += size
    # From a process that this one started, or that started this one.
    messages: list[Message] = pickle.loads(blocks[0], buffers=[bytes(block) for block in blocks[1:]])  # noqa: S301
    return messages
