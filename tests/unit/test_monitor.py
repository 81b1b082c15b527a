"""The monitor: one native thread while batches are open, which ends with the last one, and at a fork."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from gevent import monkey

from s3po.runtime import monitor, watch_hub

_sleep_natively: Any = monkey.get_original('time', 'sleep')


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(monitor, 'CALL_EVERY_S', 0.02)
    monkeypatch.setattr(monitor, 'MISSED_CALLS', 5)
    # Other tests may have left batches open.
    monitor._monitor.end_thread()
    monitor._monitor.renew()
    yield
    monitor._monitor.end_thread()


@pytest.fixture
def busy() -> gevent.event.Event:
    return gevent.event.Event()


def is_running() -> bool:
    return monitor._monitor._ending is not None


def eventually(condition: Callable[[], bool]) -> bool:
    with gevent.Timeout(20, False):
        while not condition():
            gevent.sleep(0.01)
        return True
    return False


def block() -> None:
    _sleep_natively(0.5)


def test_what_blocks_is_named_once(busy: gevent.event.Event, caplog: pytest.LogCaptureFixture) -> None:
    watch = watch_hub(busy)
    for _ in range(2):
        gevent.sleep(0.1)
        block()
    watch.close()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert 'in block\n' in caplog.text
    assert 'It waits natively' in caplog.text


def test_two_places_are_two_reports(busy: gevent.event.Event, caplog: pytest.LogCaptureFixture) -> None:
    watch = watch_hub(busy)
    for function in (block, lambda: _sleep_natively(0.5)):
        gevent.sleep(0.1)
        function()
    watch.close()

    assert len(caplog.records) == 2


def call(function: Callable[[], object]) -> None:
    function()


CALLERS = (call.__code__,)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only callbacks are reported."""
    monkeypatch.setattr(monitor, 'MISSED_CALLS', 1_000_000)


def call_until_reported(callback: Callable[[], object], caplog: pytest.LogCaptureFixture, count: int, times: int = 20) -> None:
    """On a busy machine the monitor may miss a block."""
    for _ in range(times):
        gevent.sleep(0.1)
        call(callback)
        if len(caplog.records) == count:
            return


class Blocking:
    def __call__(self) -> None:
        block()


@pytest.mark.usefixtures('patient')
@pytest.mark.parametrize(
    ('callback', 'name'),
    [
        (block, f'{__name__}:block'),
        (functools.partial(block), f'{__name__}:block'),
        (Blocking(), f'{__name__}:Blocking.__call__'),
        (functools.partial(_sleep_natively, 0.5), 'time:sleep'),
    ],
)
def test_a_callback_is_named_once(
    busy: gevent.event.Event, caplog: pytest.LogCaptureFixture, callback: Callable[[], object], name: str
) -> None:
    """A callback that blocks the loop is named early; it is not reported again as a call that blocks longer."""
    watch = watch_hub(busy, CALLERS)
    call_until_reported(callback, caplog, 1)
    watch.close()

    (record,) = caplog.records
    assert record.message.startswith(f'the callback {name} has blocked the event loop')
    assert 'It waits natively' in record.message


@pytest.mark.usefixtures('patient')
def test_two_callbacks_are_two_reports(busy: gevent.event.Event, caplog: pytest.LogCaptureFixture) -> None:
    watch = watch_hub(busy, CALLERS)
    call_until_reported(block, caplog, 1)
    call_until_reported(Blocking(), caplog, 2)
    call_until_reported(block, caplog, 3, times=1)
    watch.close()

    assert [record.message.split()[2] for record in caplog.records] == [f'{__name__}:block', f'{__name__}:Blocking.__call__']


def test_many_short_callbacks_are_not_named(
    busy: gevent.event.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They block the loop together, none of them for long."""
    monkeypatch.setattr(monitor, 'CALL_EVERY_S', 0.1)
    watch = watch_hub(busy, CALLERS)
    gevent.sleep(0.1)
    for _ in range(1000):
        call(lambda: _sleep_natively(0.001))
    watch.close()

    assert [record.message.partition(' has blocked')[0] for record in caplog.records] == ['a call']


def test_waiting_is_not_blocking(busy: gevent.event.Event, caplog: pytest.LogCaptureFixture) -> None:
    watch = watch_hub(busy)
    gevent.sleep(0.5)
    busy.set()
    block()
    watch.close()
    busy.clear()
    block()

    assert not caplog.records


def test_the_thread_ends_with_the_last_batch(busy: gevent.event.Event) -> None:
    first, second = watch_hub(busy), watch_hub(busy)
    assert is_running()
    first.close()
    gevent.sleep(0.1)
    assert is_running()
    second.close()

    assert eventually(lambda: not is_running())
    third = watch_hub(busy)
    assert is_running()
    third.close()


def test_a_batch_that_is_forgotten_is_not_watched(busy: gevent.event.Event) -> None:
    watch = watch_hub(busy)
    del watch
    gc.collect()

    assert eventually(lambda: not is_running())


def test_a_loop_that_is_gone_is_not_watched(busy: gevent.event.Event) -> None:
    """An event loop that was destroyed, or whose thread has ended, is no longer watched."""
    watches: list[monitor.Watch] = []

    def run() -> None:
        watches.append(watch_hub(busy))
        gevent.get_hub().destroy(destroy_loop=True)

    monkey.get_original('_thread', 'start_new_thread')(run, ())

    assert eventually(lambda: bool(watches) and not is_running())


def threads() -> int:
    return len(sys._current_frames())


def test_a_fork_finds_no_thread(busy: gevent.event.Event) -> None:
    """The monitor's thread ends before a fork: Python 3.12 warns about threads, whose locks stay locked in the child."""
    watch = watch_hub(busy)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            assert not is_running()
            assert threads() == 1
            watch.close()
            watch_hub(busy)
            assert is_running()
            status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_running()
    assert eventually(lambda: threads() > 1)
    watch.close()
