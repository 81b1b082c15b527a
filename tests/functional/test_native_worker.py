"""NativeWorker: functions in greenlets of another native thread, which ends when it is closed or freed."""

from __future__ import annotations

import atexit
import contextvars
import gc
import os
import threading
import time
from collections.abc import Callable

import gevent
import pytest

from s3po.connection import NativeWorker, native, wait_until
from s3po.errors import Cancelled

PATIENCE_S = 10.0


def test_results_and_errors() -> None:
    """A function runs in another native thread, with the caller's context variables; its error is raised by get()."""
    name = contextvars.ContextVar('name', default='none')
    name.set('caller')
    worker = NativeWorker(int)
    assert worker.submit(lambda: (threading.get_native_id(), name.get())).get() != (threading.get_native_id(), 'none')
    assert worker.submit(name.get).get() == 'caller'
    failed = worker.submit(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed.get()
    # SystemExit ends neither the thread nor the program.
    with pytest.raises(SystemExit):
        worker.submit(exit).get()
    assert worker.submit(lambda: 5).get() == 5
    worker.close()


def test_greenlets_run_side_by_side() -> None:
    """One function that waits does not hold up another."""
    worker = NativeWorker(int)
    event: list[gevent.event.Event] = []

    def wait() -> bool:
        event.append(gevent.event.Event())
        return event[0].wait(PATIENCE_S)

    waiting = worker.submit(wait)
    assert wait_until(lambda: bool(event), PATIENCE_S)
    worker.submit(event[0].set).get()
    assert waiting.get() is True
    worker.close()


def test_cancelled_work() -> None:
    """Cancelled work ends with Cancelled, at any time; its `finally` blocks run."""
    worker = NativeWorker(int)
    ended: list[str] = []

    def hang() -> None:
        try:
            gevent.sleep(60)
        finally:
            ended.append('x')

    began = worker.submit(hang)
    worker.submit(lambda: gevent.sleep(0.01)).get()
    for work in (began, *[worker.submit(hang) for _ in range(10)]):
        work.cancel()
        with pytest.raises(Cancelled):
            work.get()
        work.cancel()
    assert 1 <= len(ended) <= 11
    worker.close()


@pytest.mark.parametrize('end', [lambda worker: worker.close(), lambda worker: None], ids=['closed', 'freed'])
def test_the_thread_ends(end: Callable[[NativeWorker], object]) -> None:
    """After close(), and when the worker is freed, `on_end` is called in the thread, and the thread ends."""
    called: list[int] = []
    worker = NativeWorker(lambda: called.append(threading.get_native_id()))
    thread = worker.submit(threading.get_native_id).get()
    assert str(thread) in os.listdir('/proc/self/task')
    end(worker)
    del worker
    gc.collect()

    assert wait_until(lambda: str(thread) not in os.listdir('/proc/self/task'), PATIENCE_S)
    assert called == [thread]


def test_used_again_after_close() -> None:
    """close() cancels the work in progress; a new function starts a new thread."""
    worker = NativeWorker(int)
    assert worker.close() is None
    hanging = worker.submit(lambda: gevent.sleep(60))
    began = time.monotonic()
    ended = worker.close()
    assert ended is not None
    ended.get()
    assert time.monotonic() - began < PATIENCE_S
    with pytest.raises(Cancelled):
        hanging.get()
    assert worker.submit(lambda: 5).get() == 5
    worker.close()


def test_an_error_at_the_end() -> None:
    """An error of `on_end` is raised by a wait for the end of the thread."""
    worker = NativeWorker(lambda: 1 // 0)
    worker.submit(int).get()
    ended = worker.close()
    assert ended is not None
    with pytest.raises(ZeroDivisionError):
        ended.get()


def test_many_threads() -> None:
    """Native threads that submit at the same time share one thread of the worker."""
    worker = NativeWorker(int)
    found: list[int] = []

    def use() -> None:
        found.extend([worker.submit(threading.get_native_id).get() for _ in range(50)])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 200
    assert len(set(found)) == 1
    worker.close()


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread, work is carried out in the calling thread, and the end of the program waits for nothing."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(native, '_start_new_thread', refuse)
    registered: list[object] = []
    monkeypatch.setattr(atexit, 'register', registered.append)
    monkeypatch.setattr(atexit, 'unregister', registered.remove)
    worker = NativeWorker(int)
    assert worker.submit(threading.get_native_id).get() == threading.get_native_id()
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 // 0).get()
    assert registered == []
    monkeypatch.undo()
    assert worker.submit(threading.get_native_id).get() != threading.get_native_id()
    worker.close()
