"""Async iterables as sources of uploads: consumed in the caller's event loop, or in a separate one."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncIterable, Callable, Iterator
from typing import Any, Final

import gevent
import gevent.event
from gevent import monkey

from s3po.config import MIB
from s3po.connection.native import running_loop
from s3po.errors import Cancelled, ConfigurationError

__all__ = ['LoopPieces', 'pieces_of']

# Pieces are passed to the other thread in batches of at least this size.
BATCH_BYTES: Final = MIB
# How often a waiting thread checks whether the event loop still exists.
LOOK_S: Final = 0.2

_allocate_lock: Any = monkey.get_original('_thread', 'allocate_lock')


def pieces_of(content: AsyncIterable[bytes]) -> AsyncPieces | LoopPieces:
    """The pieces of an async iterable, for `for`: those of the running event loop, if there is one."""
    loop = running_loop()
    return AsyncPieces(content) if loop is None else LoopPieces(content, loop)


class AsyncPieces:
    """The pieces of an async iterable, in a separate event loop that runs in the calling thread."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        # Imported here: asyncio takes as long to import as all of s3po.
        import asyncio

        loop = asyncio.new_event_loop()
        pieces = aiter(self._pieces)

        async def step() -> bytes:
            return await anext(pieces)

        try:
            while True:
                try:
                    piece = loop.run_until_complete(step())
                except StopAsyncIteration:
                    return
                yield piece
        finally:
            close = getattr(pieces, 'aclose', None)
            if close is not None:
                loop.run_until_complete(close())
            loop.close()


class LoopPieces:
    """The pieces of an async iterable, for another thread than that of its event loop.

    One task of the loop consumes the iterable, so that it may use what belongs to a task, such as time limits and task groups.
    """

    def __init__(self, pieces: AsyncIterable[bytes], loop: Any) -> None:
        self._pieces = pieces
        self._loop = loop
        self._context = contextvars.copy_context()
        self._lock = _allocate_lock()
        self._batch: list[bytes] = []
        self._size = 0
        self._error: BaseException | None = None
        self._has_ended = False
        # In the thread that uses the pieces:
        self._watcher: Any = None
        self._something = gevent.event.Event()
        # In the loop's thread:
        self._task: Any = None
        self._room: Any = None

    def __iter__(self) -> Iterator[bytes]:
        if self._loop is running_loop():
            raise ConfigurationError('the async iterable needs its event loop, which this upload blocks: no thread was started')
        self._watcher = gevent.get_hub().loop.async_()
        self._watcher.start(self._something.set)
        self._call(self._start)
        try:
            while batch := self._next():
                yield from batch
        finally:
            if not self._has_ended:
                self._call(self._stop)
            with self._lock:
                watcher, self._watcher = self._watcher, None
            watcher.close()

    def check_served(self) -> None:
        """Check that the event loop can produce the pieces while the calling thread waits.

        Raises:
            ConfigurationError: It cannot: it runs in this thread, or does not run.
        """
        if not self._has_ended and (self._loop is running_loop() or not self._loop.is_running()):
            raise ConfigurationError('the async iterable needs its event loop, so the response must be awaited there first')

    def _next(self) -> list[bytes]:
        """Wait for the next pieces; none at the end."""
        while not self._has_ended and self._size < BATCH_BYTES:
            if self._loop.is_closed():
                raise Cancelled('the event loop of the async iterable was closed before its end')
            self._something.wait(LOOK_S)
            self._something.clear()
        if self._error is not None:
            raise self._error
        with self._lock:
            batch, self._batch, self._size = self._batch, [], 0
        if not self._has_ended:
            self._call(self._room.set)
        return batch

    def _call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop's thread, unless the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(function, context=self._context)
        except RuntimeError:
            # _next() notices it.
            return

    # --- in the loop's thread

    def _start(self) -> None:
        import asyncio

        self._room = asyncio.Event()
        self._task = self._loop.create_task(self._consume())

    def _stop(self) -> None:
        self._task.cancel()

    async def _consume(self) -> None:
        import asyncio

        error: BaseException | None = None
        try:
            pieces = aiter(self._pieces)
            try:
                async for piece in pieces:
                    self._add(piece)
                    while self._is_full():
                        await self._room.wait()
            finally:
                close = getattr(pieces, 'aclose', None)
                if close is not None:
                    await close()
        except asyncio.CancelledError:
            error = Cancelled('the task that consumes the async iterable was cancelled')
            raise
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):
                raise
        finally:
            with self._lock:
                self._error, self._has_ended = error, True
                self._wake()

    def _add(self, piece: bytes) -> None:
        if not isinstance(piece, bytes):
            # A copy: the iterable may reuse the buffer for the next piece. (The upload rejects what is no buffer.)
            with contextlib.suppress(TypeError):
                piece = bytes(memoryview(piece))
        size = len(piece) if isinstance(piece, bytes) else BATCH_BYTES
        with self._lock:
            self._batch.append(piece)
            self._size += size
            if self._size >= BATCH_BYTES:
                self._wake()

    def _is_full(self) -> bool:
        with self._lock:
            is_full = self._size >= BATCH_BYTES
            if is_full:
                # Under the lock: the other thread sets it after it has taken the batch.
                self._room.clear()
            return is_full

    def _wake(self) -> None:
        if self._watcher is not None:
            self._watcher.send()
