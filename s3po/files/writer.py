"""Writing an object as a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, NoReturn

import gevent
import gevent.event
import gevent.queue

from s3po.body import SizedSource, StreamSource
from s3po.body.sources import BytesSource
from s3po.config import KIB
from s3po.errors import ConfigurationError, S3poError
from s3po.files import unclosed
from s3po.model import ObjectRef, TransferResult
from s3po.runtime import Task, process

__all__ = ['S3Writer', 'Send']

# Uploads one source.
Send = Callable[[SizedSource | StreamSource], TransferResult]

END: Final = None
FORKED: Final = '{}: the file was opened by the parent process, which publishes it; open one in each process'
# Pieces below this are put together, so much at a time.
SMALL_BYTES: Final = 4 * KIB
GATHERED_BYTES: Final = 64 * KIB


class S3Writer(io.BufferedIOBase):
    """An object, opened for writing in binary. It is published by close(), whole; abort() publishes nothing.

    What is smaller than a part is one PUT when it is closed. With the first part that is full an upload begins, whose parts go
    up while more is written. An exception in the `with` aborts. It belongs to the native thread that fills the first part.

    Attributes:
        result: The TransferResult, once it is closed; None before, and of one that was aborted.
    """

    def __init__(self, ref: ObjectRef, send: Send, *, part_bytes: int, mode: str = 'wb') -> None:
        """
        Args:
            ref: The object.
            send: Uploads what is written.
            part_bytes: How much is held before it is handed on.
            mode: 'wb' or 'xb', to be told.
        """
        super().__init__()
        self.result: TransferResult | None = None
        self._ref = ref
        self._send = send
        self._part_bytes = part_bytes
        self._mode = mode
        self._held: list[bytes] = []
        self._held_bytes = 0
        # The small ones at its end.
        self._small = self._small_bytes = 0
        self._position = 0
        self._upload: _Upload | None = None
        # Set by a write() that raised: some of its bytes may be missing, so nothing is published.
        self._failure: S3poError | None = None
        self._process = process.mark
        unclosed.watch(self)

    def __repr__(self) -> str:
        return f'<S3Writer {self._ref} at {self._position:,}{" closed" if self.closed else ""}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('an open S3Writer cannot be pickled; pickle the Connection, and open the object again')

    @property
    def name(self) -> str:
        """The object as a URL."""
        return str(self._ref)

    @property
    def mode(self) -> str:
        """'wb' or 'xb'"""
        return self._mode

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        self._check_open()
        return self._position

    def write(self, data: Any, /) -> int:
        """Take all of the data. Blocks while more parts are full than are sent at once.

        Returns:
            How many bytes were taken.

        Raises:
            TypeError: It is no bytes-like object.
            S3poError: The upload failed, or an earlier write() was interrupted; nothing is published. close() raises it again.
        """
        self._check_open()
        if self._process is not process.mark:
            raise ConfigurationError(FORKED.format(self._ref))
        self._check_failed()
        if not isinstance(data, bytes):
            if isinstance(data, str):
                raise TypeError(f"{self._ref}: a bytes-like object is required, not 'str'; open it with mode 'w' for text")
            # A copy: the caller may fill the same buffer again.
            data = memoryview(data).tobytes()
        if data:
            try:
                self._take(data)
            except BaseException as error:
                # A gevent.Timeout, for example. A caller that catches it and writes on would publish a hole.
                self._failure = S3poError(f'{self._ref}: a write() was interrupted by {error!r}; nothing is published')
                self._failure.__cause__ = error
                raise
        return len(data)

    def flush(self) -> None:
        """Nothing: an object is published whole, and its parts go up by themselves."""
        self._check_open()

    def close(self) -> None:
        """Publish the object, and wait until the store has confirmed it. Called again, it does nothing.

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
            # Without effect where it succeeded.
            self._give_up()
            super().close()

    def abort(self) -> None:
        """Publish nothing, and leave nothing behind. Blocks until that is so; called again, it does nothing."""
        if not self.closed:
            try:
                self._give_up()
            finally:
                super().close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None and self._process is process.mark:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # A writer is half made when its arguments were wrong; one of the parent process is closed there.
        # At the end of the interpreter, greenlets can no longer be ended; `unclosed` has aborted it.
        if getattr(self, '_ref', None) is None or self.closed or self._process is not process.mark or sys.is_finalizing():
            return
        unclosed.tell(self)
        if self._upload is not None:
            # This may run anywhere, so nothing is waited for.
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
        """Put small pieces together, some of them at a time: each object takes more memory than a few bytes do."""
        self._small += 1
        self._small_bytes += size_bytes
        if self._small_bytes >= GATHERED_BYTES:
            # (Large ones may stand between them; then a little more is copied.)
            tail = self._held[-self._small :]
            self._held[-self._small :] = [b''.join(tail)]
            self._small = self._small_bytes = 0

    def _hand_on_parts(self) -> None:
        if self._upload is None:
            self._upload = _Upload(self._ref, self._send)
        # Before they are handed on: what fails there is not to be written twice. They are cut where the parts begin.
        pieces, self._held = self._held, []
        self._held_bytes = self._small = self._small_bytes = 0
        self._upload.put(pieces)

    def _give_up(self) -> None:
        self._held, self._held_bytes = [], 0
        if self._upload is not None:
            self._upload.give_up()


class _Upload:
    """An upload under way, in a greenlet of its own that takes part after part from a queue."""

    def __init__(self, ref: ObjectRef, send: Send) -> None:
        self._ref = ref
        self._hub = gevent.get_hub()
        self._parts: gevent.queue.Queue[list[bytes] | None] = gevent.queue.Queue(maxsize=1)
        self._failure: BaseException | None = None
        self._result: TransferResult | None = None
        self._has_ended = gevent.event.Event()
        self._greenlet = Task(self._run, send)
        # Called too where other code kills it before it began.
        self._greenlet.link(self._note_end)
        self._greenlet.start()

    def put(self, pieces: list[bytes]) -> None:
        """Hand on a part; blocks while there is one that was not taken yet."""
        self._check_thread()
        # Nobody takes a part any more when it has failed.
        self.check()
        self._parts.put(pieces)
        self.check()

    def check(self) -> None:
        """Raise what the upload failed of."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> TransferResult:
        """Say that there are no more parts, and wait for the store."""
        self.put(END)  # type: ignore[arg-type]  # the end is no part
        self._has_ended.wait()
        self.check()
        assert self._result is not None
        return self._result

    def give_up(self) -> None:
        """End it, and wait until it has cleaned up. (Another thread's cannot be waited for, and a parent's goes on there.)"""
        if self._greenlet.process is process.mark and self._hub is gevent.get_hub():
            self._greenlet.kill()
        else:
            self.give_up_later()

    def give_up_later(self) -> None:
        """End it, without waiting. Any thread may call this."""
        self._greenlet.end_later()

    def _check_thread(self) -> None:
        if self._hub is not gevent.get_hub():
            raise ConfigurationError(
                f'{self._ref}: the upload was begun in another thread; an S3Writer is written and closed by one thread'
            )

    def _run(self, send: Send) -> None:
        try:
            self._result = send(StreamSource(self._pieces(), f'what was written to {self._ref}'))
        except gevent.GreenletExit:
            raise
        except BaseException as error:  # noqa: BLE001  (raised where the writer goes on)
            self._failure = error

    def _note_end(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        if self._result is None and self._failure is None:
            self._failure = S3poError(f'{self._ref}: the upload was killed; nothing was published')
            self._failure.__cause__ = greenlet.value if isinstance(greenlet.value, BaseException) else None
        # Whoever waits to hand on another part is to see what has happened.
        while not self._parts.empty():
            self._parts.get_nowait()
        self._has_ended.set()

    def _pieces(self) -> Iterator[bytes]:
        while (pieces := self._parts.get()) is not END:
            yield from pieces
