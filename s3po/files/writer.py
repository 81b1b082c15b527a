"""Writes an object as a file."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol

import gevent
import gevent.event
import gevent.queue

from s3po.body import SizedSource, StreamSource
from s3po.body.sources import BytesSource
from s3po.config import KIB
from s3po.errors import ConfigurationError, S3poError
from s3po.files import unclosed
from s3po.files.boto3_objects import boto3_object
from s3po.model import ObjectRef, TransferResult
from s3po.runtime import Captured, Task, process

__all__ = ['AbortedOnError', 'S3Writer', 'Send']

# A function that uploads one source.
Send = Callable[[SizedSource | StreamSource], TransferResult]

END: Final = None
FORKED: Final = '{}: the file was opened by the parent process, which publishes it; open one in each process'
# Pieces below SMALL_BYTES are joined, GATHERED_BYTES at a time.
SMALL_BYTES: Final = 4 * KIB
GATHERED_BYTES: Final = 64 * KIB


class Abortable(Protocol):
    """A file that close() publishes."""

    def close(self) -> None:
        """Publish it."""

    def abort(self) -> None:
        """Discard its data."""


class AbortedOnError:
    """Base class of such files: an exception inside the `with` aborts it."""

    def __exit__(
        self: Abortable, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def terminate(self: Abortable) -> None:
        """Like abort(). (smart_open's name.)"""
        self.abort()


class S3Writer(AbortedOnError, io.BufferedIOBase):
    """An object opened for writing in binary mode. close() publishes it completely; abort() publishes nothing.

    Less than one part is sent as one PUT in close(). The first full part begins a multipart upload, whose parts are sent while
    more is written. An exception inside the `with` aborts it. The writer belongs to the native thread that fills the first
    part.

    Attributes:
        result: The TransferResult after close(); None before, and after abort().
        name: The object's URL, s3://bucket/key.
        blocksize: The size of a part in bytes.
        mode: 'wb' or 'xb'
    """

    def __init__(self, ref: ObjectRef, send: Send, *, part_bytes: int, mode: str = 'wb') -> None:
        """
        Args:
            ref: The object.
            send: Uploads a source.
            part_bytes: The size of a part; as many bytes are buffered before they are sent.
            mode: 'wb' or 'xb'.
        """
        super().__init__()
        self.result: TransferResult | None = None
        self._ref = ref
        self._send = send
        self._part_bytes = self.blocksize = part_bytes
        self.name, self.mode = str(ref), mode
        self._held: list[bytes] = []
        self._held_bytes = 0
        # Number and size of the small pieces at the end of _held.
        self._small = self._small_bytes = 0
        self._position = 0
        self._upload: _Upload | None = None
        # Set if a write() raised: some of its bytes may be missing, so nothing is published.
        self._failure: S3poError | None = None
        self._process = process.mark
        unclosed.watch(self)

    def __repr__(self) -> str:
        return f'<S3Writer {self._ref} at {self._position:,}{" closed" if self.closed else ""}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('an open S3Writer cannot be pickled; pickle the Connection, and open the object again')

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        self._check_open()
        return self._position

    def write(self, data: Any) -> int:
        """Write all of the data. Blocks while as many parts are full as are sent in parallel.

        Returns:
            The number of bytes written.

        Raises:
            TypeError: The data is not bytes-like.
            S3poError: The upload failed, or an earlier write() was interrupted; nothing is published. close() raises it again.
        """
        self._check_open()
        if self._process is not process.mark:
            raise ConfigurationError(FORKED.format(self._ref))
        self._check_failed()
        if not isinstance(data, bytes):
            if isinstance(data, str):
                raise TypeError(f"{self._ref}: a bytes-like object is required, not 'str'; open it with mode 'w' for text")
            # A copy: the caller may reuse the buffer.
            data = memoryview(data).tobytes()
        if data:
            try:
                self._take(data)
            except BaseException as error:
                # For example a gevent.Timeout. If the caller catches it and continues, bytes would be missing in the middle.
                self._failure = S3poError(f'{self._ref}: a write() was interrupted by {error!r}; nothing is published')
                self._failure.__cause__ = error
                raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: full parts are sent automatically, and the object appears in close()."""
        self._check_open()

    def close(self) -> None:
        """Publish the object and wait until the store confirms it. Further calls do nothing.

        Raises:
            S3poError: The upload failed; nothing is published.
        """
        if self.closed:
            return
        if self._process is not process.mark:
            self.abort()
            raise ConfigurationError(FORKED.format(self._ref))
        try:
            self._check_failed()
            if self._upload is None:
                self.result = self._send(BytesSource(b''.join(self._held)))
            else:
                if self._held:
                    self._upload.put(self._held)
                self.result = self._upload.finish()
        finally:
            # No effect after success.
            self._give_up()
            super().close()

    def abort(self) -> None:
        """Discard the data and abort the upload. Blocks until it is aborted; further calls do nothing."""
        if not self.closed:
            try:
                self._give_up()
            finally:
                super().close()

    def to_boto3(self, resource: Any) -> Any:
        """The object in boto3: an Object of a `boto3.resource('s3')`. It exists after close()."""
        return boto3_object(resource, self._ref)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None and self._process is process.mark:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # _ref is missing if the constructor raised; a writer of the parent process is closed there. During interpreter
        # shutdown, greenlets can no longer be killed, and `unclosed` has already aborted the writer.
        if getattr(self, '_ref', None) is None or self.closed or self._process is not process.mark or sys.is_finalizing():
            return
        unclosed.tell(self)
        if self._upload is not None:
            # The garbage collector may call this anywhere, so do not wait.
            self._upload.give_up_later()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f'{self._ref}: the file is closed')

    def _check_failed(self) -> None:
        if self._upload is not None:
            self._upload.check()
        if self._failure is not None:
            raise self._failure

    def _take(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        self._position += len(data)
        if len(data) < SMALL_BYTES:
            self._gather(len(data))
        if self._held_bytes >= self._part_bytes:
            self._hand_on_parts()

    def _gather(self, size_bytes: int) -> None:
        """Join small pieces from time to time: each bytes object has an overhead."""
        self._small += 1
        self._small_bytes += size_bytes
        if self._small_bytes >= GATHERED_BYTES:
            # Large pieces between them are copied too.
            tail = self._held[-self._small :]
            self._held[-self._small :] = [b''.join(tail)]
            self._small = self._small_bytes = 0

    def _hand_on_parts(self) -> None:
        if self._upload is None:
            self._upload = _Upload(self._ref, self._send)
        # Cleared before put(): after a failure there, the pieces must not be sent again. The upload cuts them into parts.
        pieces, self._held = self._held, []
        self._held_bytes = self._small = self._small_bytes = 0
        self._upload.put(pieces)

    def _give_up(self) -> None:
        self._held, self._held_bytes = [], 0
        if self._upload is not None:
            self._upload.give_up()


class _Upload:
    """A running upload in its own greenlet, which takes parts from a queue."""

    def __init__(self, ref: ObjectRef, send: Send) -> None:
        self._ref = ref
        self._parts: gevent.queue.Queue[list[bytes] | None] = gevent.queue.Queue(maxsize=1)
        self._outcome: Captured[TransferResult] = Captured()
        self._has_ended = gevent.event.Event()
        source = StreamSource(self._pieces(), f'what was written to {ref}')
        source.is_written = True
        self._greenlet = Task(self._outcome.capture, functools.partial(send, source))
        # A link is also called if other code kills the greenlet before it starts.
        self._greenlet.link(self._note_end)
        self._greenlet.start()

    def put(self, pieces: list[bytes]) -> None:
        """Add a part; blocks while the previous one is still in the queue."""
        self._check_thread()
        # After a failure the queue has no consumer, so put() would block for ever.
        self.check()
        self._parts.put(pieces)
        self.check()

    def check(self) -> None:
        """Raise the error of the upload, if it failed."""
        if self._greenlet.ready():
            self._result()

    def finish(self) -> TransferResult:
        """Mark the end of the data and wait for the store's confirmation."""
        self.put(END)  # type: ignore[arg-type]  # END is not a part
        self._has_ended.wait()
        return self._result()

    def give_up(self) -> None:
        """Cancel it and wait until it is aborted; without waiting, if another thread or the parent process owns it."""
        if self._greenlet.process is process.mark and self._greenlet.hub is gevent.get_hub():
            self._greenlet.kill()
        else:
            self.give_up_later()

    def give_up_later(self) -> None:
        """Cancel it without waiting. Any thread may call this."""
        self._greenlet.end_later()

    def _check_thread(self) -> None:
        if self._greenlet.hub is not gevent.get_hub():
            raise ConfigurationError(
                f'{self._ref}: the upload was started in another thread; write and close an S3Writer in one thread'
            )

    def _result(self) -> TransferResult:
        if isinstance(self._outcome.error, gevent.GreenletExit):
            raise S3poError(f'{self._ref}: the upload was killed; nothing was published') from self._outcome.error
        return self._outcome.unwrap()

    def _note_end(self, _: object) -> None:
        # Wake a put() that waits for room in the queue: it then raises the failure.
        while not self._parts.empty():
            self._parts.get_nowait()
        self._has_ended.set()

    def _pieces(self) -> Iterator[bytes]:
        while (pieces := self._parts.get()) is not END:
            yield from pieces
