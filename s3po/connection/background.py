"""Uploads in the background: a native thread with its own batch.

Invariants: a queued upload is carried out or is in `failed`, also at the end of the program. A forked child inherits none of
them.
"""

from __future__ import annotations

import atexit
import collections
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.event
from gevent import monkey

from s3po.batch import Batch, FailedJob
from s3po.errors import BatchError, DeadlineExceeded, S3poError
from s3po.model import ObjectRef
from s3po.runtime import wait_until

if TYPE_CHECKING:
    from s3po.connection.facade import Connection

__all__ = ['Background', 'Queued']

log = logging.getLogger(__name__)

# Polling interval of a thread that waits for another one: gevent's locks do not work between threads.
LOOK_S: Final = 0.01

# Native, also in a patched program: a greenlet would not run while the program computes.
_start_new_thread: Any = monkey.get_original('_thread', 'start_new_thread')
_allocate_lock: Any = monkey.get_original('_thread', 'allocate_lock')


class Queued:
    """An upload in the background.

    Attributes:
        ref: The object.
        exception: Its error; None if it has not failed.
        value: The TransferResult after success.
    """

    def __init__(self, ref: ObjectRef) -> None:
        self.ref = ref
        self.exception: BaseException | None = None
        self.value: Any = None
        self._is_ready = False

    def __repr__(self) -> str:
        state = 'waits' if not self._is_ready else 'done' if self.exception is None else 'failed'
        return f'<Queued {self.ref} {state}>'

    def ready(self) -> bool:
        """Whether it has ended, with success or not."""
        return self._is_ready

    def get(self, timeout_s: float | None = None) -> Any:
        """Wait for the TransferResult and return it.

        Raises:
            S3poError: The upload failed.
            DeadlineExceeded: It did not end within timeout_s.
        """
        if not wait_until(self.ready, timeout_s):
            raise DeadlineExceeded(f'the upload to {self.ref} is not done within {timeout_s} s')
        if self.exception is not None:
            raise self.exception
        return self.value

    def succeed(self, value: Any) -> Any:
        """Store the result: the batch's callback."""
        self.value, self._is_ready = value, True
        return value

    def fail(self, error: BaseException) -> None:
        """Store the error: the batch's errback."""
        self.exception, self._is_ready = error, True


class Background:
    """Carries out the queued uploads in their order, several at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = _allocate_lock()
        self._queue: collections.deque[tuple[str, Queued, Any, dict[str, Any]]] = collections.deque()
        self._failed: list[FailedJob] = []
        self._runner: _Runner | None = None

    @property
    def failed(self) -> list[FailedJob]:
        """The failures that were not raised yet."""
        runner = self._runner
        return [*self._failed, *([] if runner is None else runner.failed)]

    def submit(self, operation: str, ref: ObjectRef, source: Any, options: dict[str, Any]) -> Queued:
        """Queue an upload. Any thread may call this."""
        self._forget_parent()
        queued = Queued(ref)
        with self._lock:
            if not self._queue and self._runner is None:
                atexit.register(self._drain)
            self._queue.append((operation, queued, source, options))
            if self._runner is not None:
                self._runner.wake()
        return queued

    def start(self) -> None:
        """Start the thread that carries out the uploads; no effect if it runs."""
        self._forget_parent()
        with self._lock:
            if self._runner is None:
                atexit.register(self._drain)
                self._runner = _Runner(self._connection, self._queue)

    def stop(self) -> None:
        """Wait for all queued uploads, and raise BatchError if any failed."""
        failed = [job for job in self._finish() if not job.is_silent]
        if failed:
            first = failed[0]
            raise BatchError(f'{len(failed)} uploads in the background failed; the first: {first.ref}: {first.error}', failed)

    def _finish(self) -> list[FailedJob]:
        self._forget_parent()
        with self._lock:
            has_work = bool(self._queue)
        if has_work:
            self.start()
        runner = self._runner
        if runner is not None:
            runner.finish()
            with self._lock:
                if self._runner is runner:
                    self._runner = None
                    self._failed += runner.failed
        if not self._queue:
            atexit.unregister(self._drain)
        failed, self._failed = self._failed, []
        return failed

    def _drain(self) -> None:
        """Finish at the end of the program, and log the failures: no caller is left to raise them to."""
        for job in self._finish():
            if not job.is_silent:
                log.error('the upload to %s in the background failed: %s', job.ref, job.error)

    def _forget_parent(self) -> None:
        if self._process != os.getpid():
            # The parent carries out its own queue; its thread does not exist in this process.
            self._begin()


class _Runner:
    """The native thread of the uploads."""

    def __init__(self, connection: Connection, queue: collections.deque[Any]) -> None:
        self._connection = connection
        self._queue = queue
        self._batch: Batch | None = None
        self._is_stopping = self._has_ended = False
        self._lock = _allocate_lock()
        self._watcher: Any = None
        self._error: BaseException | None = None
        try:
            _start_new_thread(self._run, ())
        except RuntimeError:
            # At the end of the program, from Python 3.12 on, no thread can be started: the caller only waits for the uploads.
            self._is_stopping = True
            self._run()

    @property
    def failed(self) -> list[FailedJob]:
        """The failures so far."""
        return [] if self._batch is None else list(self._batch.failed)

    def wake(self) -> None:
        """Make the thread check the queue. Any thread may call this."""
        with self._lock:
            if self._watcher is not None:
                self._watcher.send()

    def finish(self) -> None:
        """Wait until the queue is empty and all uploads have ended."""
        self._is_stopping = True
        while not self._has_ended:
            self.wake()
            gevent.sleep(LOOK_S)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            something = gevent.event.Event()
            watcher = gevent.get_hub().loop.async_()
            watcher.start(something.set)
            self._watcher = watcher
            # (The other resources of this thread's event loop are released by s3po when the thread ends.)
            with self._connection.batch(on_error='collect', keep_results=False) as self._batch:
                while not self._is_stopping or self._queue:
                    something.clear()
                    while self._queue:
                        self._submit(self._batch, *self._queue.popleft())
                    if not self._is_stopping:
                        something.wait()
        except BaseException as error:  # noqa: BLE001  (raised by finish())
            self._error = error
        finally:
            with self._lock:
                watcher, self._watcher = self._watcher, None
            if watcher is not None:
                watcher.close()
            self._has_ended = True

    def _submit(self, batch: Batch, operation: str, queued: Queued, source: Any, options: dict[str, Any]) -> None:
        try:
            call = getattr(batch, operation)
            call(queued.ref.bucket, queued.ref.key, source, **options, callback=queued.succeed, errback=queued.fail)
        except S3poError as error:
            queued.fail(error)
            log.error('the upload to %s could not be queued: %s', queued.ref, error)
