"""Shielded work runs to its end after a kill, its result is never lost, and its caller does not wait long."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.threadpool
import pytest

from s3po import runtime
from s3po.runtime import cleanups

LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Fails a test that hangs."""
    with gevent.Timeout(LIMIT_S):
        yield


@pytest.fixture
def thread() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Calls functions in one other native thread, and returns their results."""
    pool = gevent.threadpool.ThreadPool(1)
    yield lambda function: pool.spawn(function).get()
    pool.kill()


def eventually(condition: Callable[[], bool]) -> bool:
    while not condition():
        gevent.sleep(0)
    return True


class Creation:
    """A function for shielded() that ends when may_end is set, with the results that arrived late."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.may_end = gevent.event.Event()
        self.late: list[str] = []

    def create(self) -> str:
        self.may_end.wait()
        if self.error is not None:
            raise self.error
        return 'upload id'

    def start(self) -> gevent.Greenlet[..., str]:
        greenlet = gevent.spawn(runtime.CleanUps().shielded, self.create, self.late.append, 'it')
        gevent.sleep(0)
        return greenlet


def test_shielded_returns_what_the_function_returned() -> None:
    creation = Creation()
    greenlet = creation.start()
    creation.may_end.set()

    assert greenlet.get() == 'upload id'
    assert creation.late == []


def test_shielded_raises_what_the_function_raised(capfd: pytest.CaptureFixture[str]) -> None:
    late: list[int] = []

    with pytest.raises(ZeroDivisionError):
        runtime.CleanUps().shielded(lambda: 1 // 0, late.append, 'it')

    assert capfd.readouterr().err == ''
    assert late == []


def test_shielded_when_killed_hands_the_result_over_and_then_dies() -> None:
    creation = Creation()
    greenlet = creation.start()

    greenlet.kill(block=False)
    gevent.sleep(0)
    was_waiting = not greenlet.dead
    creation.may_end.set()
    greenlet.join()

    assert was_waiting
    assert creation.late == ['upload id']
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_shielded_waits_on_through_further_kills() -> None:
    creation = Creation()
    greenlet = creation.start()

    for _ in range(3):
        greenlet.kill(block=False)
        gevent.sleep(0)
    was_waiting = not greenlet.dead
    creation.may_end.set()
    greenlet.join()

    assert was_waiting
    assert creation.late == ['upload id']


def test_shielded_raises_the_timeout_that_interrupted_it() -> None:
    creation = Creation()
    gevent.spawn_later(0.02, creation.may_end.set)

    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.001) as timeout:
        runtime.CleanUps().shielded(creation.create, creation.late.append, 'it')

    assert caught.value is timeout
    assert creation.late == ['upload id']


@pytest.mark.parametrize(
    ('interruptions', 'expected'),
    [
        ((gevent.Timeout, gevent.GreenletExit), gevent.GreenletExit),
        ((gevent.GreenletExit, gevent.Timeout), gevent.GreenletExit),
        ((gevent.GreenletExit, KeyboardInterrupt), KeyboardInterrupt),
        ((KeyboardInterrupt, gevent.GreenletExit), KeyboardInterrupt),
    ],
)
def test_shielded_raises_the_gravest_of_several_interruptions(
    interruptions: tuple[type[BaseException], ...], expected: type[BaseException]
) -> None:
    creation = Creation()
    caught: list[type[BaseException]] = []

    def run() -> None:
        try:
            runtime.CleanUps().shielded(creation.create, creation.late.append, 'it')
        except BaseException as error:
            caught.append(type(error))

    greenlet = gevent.spawn(run)
    gevent.sleep(0)
    for interruption in interruptions:
        greenlet.kill(interruption, block=False)
        gevent.sleep(0)
    creation.may_end.set()
    greenlet.join()

    assert caught == [expected]
    assert creation.late == ['upload id']


def test_shielded_gives_up_waiting_at_a_second_ctrl_c_but_still_hands_the_result_over() -> None:
    creation = Creation()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            runtime.CleanUps().shielded(creation.create, creation.late.append, 'it')
        except KeyboardInterrupt as error:
            caught.append(error)

    greenlet = gevent.spawn(run)
    gevent.sleep(0)
    for _ in range(2):
        greenlet.kill(KeyboardInterrupt, block=False)
        gevent.sleep(0)

    assert greenlet.dead
    assert len(caught) == 1
    creation.may_end.set()
    assert eventually(lambda: creation.late == ['upload id'])


def test_shielded_hands_the_result_over_when_the_kill_comes_between_success_and_return() -> None:
    late: list[str] = []

    def create() -> str:
        greenlet.kill(block=False)  # is delivered before the notice that this function has returned
        return 'upload id'

    greenlet = gevent.spawn(runtime.CleanUps().shielded, create, late.append, 'it')
    greenlet.join()

    assert late == ['upload id']
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_shielded_runs_the_function_of_a_caller_killed_before_it_began() -> None:
    late: list[str] = []
    greenlet = gevent.spawn(runtime.CleanUps().shielded, lambda: 'upload id', late.append, 'it')
    gevent.spawn(greenlet.kill, block=False)  # runs after the caller, before the function

    greenlet.join()

    assert late == ['upload id'] or greenlet.value == 'upload id'


def test_shielded_hands_nothing_over_when_the_function_fails_late() -> None:
    creation = Creation(error=OSError('no'))
    greenlet = creation.start()

    greenlet.kill(block=False)
    creation.may_end.set()
    greenlet.join()

    assert creation.late == []
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_shielded_logs_a_failing_clean_up_and_raises_the_interruption(caplog: pytest.LogCaptureFixture) -> None:
    creation = Creation()

    def fail(result: str) -> None:
        raise OSError(f'cannot abort {result}')

    greenlet = gevent.spawn(runtime.CleanUps().shielded, creation.create, fail, 'it')
    gevent.sleep(0)
    greenlet.kill(block=False)
    with caplog.at_level(logging.WARNING, logger=cleanups.__name__):
        creation.may_end.set()
        greenlet.join()

    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert 'cannot abort upload id' in caplog.text


def test_shielded_in_a_thread_where_nothing_can_happen_any_more_raises_loop_exit(
    thread: Callable[[Callable[[], Any]], Any],
) -> None:
    def wait_for_nothing() -> str:
        ups = runtime.CleanUps()
        try:
            ups.shielded(Creation().create, print, 'it')
        except gevent.exceptions.LoopExit:
            ups.end()
            return 'raised'
        return 'returned'

    assert thread(wait_for_nothing) == 'raised'


def test_shielded_returns_control_while_the_work_goes_on() -> None:
    creation = Creation()
    greenlet = creation.start()

    greenlet.kill(timeout=2)
    was_over = greenlet.dead
    creation.may_end.set()

    assert was_over
    assert eventually(lambda: creation.late == ['upload id'])


def test_shielded_gives_late_work_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cleanups, 'LATE_S', 0.01)
    ups, creation = runtime.CleanUps(), Creation()
    greenlet = gevent.spawn(ups.shielded, creation.create, creation.late.append, 'creating it')
    gevent.sleep(0)

    greenlet.kill()

    assert ups.wait(2) == []
    assert creation.late == []
    assert 'creating it got no response within 0.01 s' in caplog.text


def test_clean_up_that_ends_soon_is_waited_for() -> None:
    done: list[int] = []

    assert runtime.CleanUps().run(lambda: (gevent.sleep(0.01), done.append(1)), 'it')
    assert done == [1]


def test_clean_up_raises_what_it_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        runtime.CleanUps().run(lambda: 1 // 0, 'it')


def test_clean_up_that_takes_long_goes_on() -> None:
    ups, may_end = runtime.CleanUps(), gevent.event.Event()

    assert not ups.run(may_end.wait, 'the end', patience_s=0.01)
    assert ups.running() == ['the end']
    may_end.set()
    assert ups.wait(2) == []


def test_clean_up_with_patience_that_is_interrupted_returns_control() -> None:
    ups, may_end = runtime.CleanUps(), gevent.event.Event()

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        ups.run(may_end.wait, 'the end', patience_s=math.inf)

    assert ups.running() == ['the end']
    ups.end()
    assert ups.wait(2) == []


def test_clean_up_that_fails_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ups, may_end = runtime.CleanUps(), gevent.event.Event()

    def fail() -> None:
        may_end.wait()
        raise OSError('no')

    with caplog.at_level(logging.INFO, logger=cleanups.__name__):
        ups.run(fail, 'it', patience_s=0)
        may_end.set()
        assert ups.wait(2) == []

    assert "failed: OSError('no')" in caplog.text
