"""Tools of the runtime: work outside of the event loop, values per hub, and work that a kill does not interrupt."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.socket
import gevent.threadpool
import pytest
from gevent import monkey

from s3po import runtime
from s3po.runtime.locks import YieldingLock

allocate_native_lock: Any = monkey.get_original('_thread', 'allocate_lock')


get_native_ident: Any = monkey.get_original('_thread', 'get_ident')


start_native_thread: Any = monkey.get_original('_thread', 'start_new_thread')


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


def run_in_short_thread(function: Callable[[], object]) -> None:
    """Call a function in a native thread of its own, which is ending when this returns."""
    lock = allocate_native_lock()
    lock.acquire()

    def run() -> None:
        try:
            function()
        finally:
            lock.release()

    start_native_thread(run, ())
    lock.acquire()


def run_in_child(check: Callable[[], bool]) -> bool:
    """Call a function in a fork of this process; returns whether it returned True."""
    pid = os.fork()
    if pid == 0:
        is_good = False
        try:
            is_good = check()
        finally:
            os._exit(0 if is_good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def eventually(condition: Callable[[], bool]) -> bool:
    while not condition():
        gevent.sleep(0)
    return True


class Value:
    pass


def test_offload_returns_what_the_function_returned() -> None:
    assert runtime.offload(divmod, 17, 5) == (3, 2)


def test_offload_raises_what_the_function_raised_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    gevent.sleep(0)

    with pytest.raises(ZeroDivisionError):
        runtime.offload(divmod, 17, 0)
    gevent.sleep(0)

    assert capfd.readouterr().err == ''


def test_offload_lets_other_greenlets_run_meanwhile() -> None:
    lock = allocate_native_lock()
    lock.acquire()
    releaser = gevent.spawn(lock.release)

    assert runtime.offload(lock.acquire)
    assert releaser.successful()


def test_offload_runs_in_another_native_thread_where_greenlets_are() -> None:
    gevent.sleep(0)

    assert runtime.offload(get_native_ident) != get_native_ident()


def test_offload_runs_directly_where_no_greenlets_are() -> None:
    seen: list[int] = []

    run_in_short_thread(lambda: seen.extend((runtime.offload(get_native_ident), get_native_ident())))

    assert seen[0] == seen[1]


def test_offload_may_be_nested() -> None:
    assert runtime.offload(lambda: runtime.offload(divmod, 17, 5)) == (3, 2)


def test_offload_killed_meanwhile_raises_only_when_the_function_has_returned() -> None:
    lock = allocate_native_lock()
    lock.acquire()
    waiter = gevent.spawn(runtime.offload, lock.acquire)
    gevent.sleep(0)

    waiter.kill(block=False)
    waiter.kill(block=False)
    gevent.sleep(0.01)
    was_waiting = not waiter.dead
    lock.release()
    waiter.join()

    assert was_waiting
    assert isinstance(waiter.value, gevent.GreenletExit)


def test_offload_timed_out_raises_the_timeout() -> None:
    lock = allocate_native_lock()
    lock.acquire()
    gevent.spawn_later(0.05, lock.release)

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
        runtime.offload(lock.acquire)

    assert not lock.acquire(blocking=False)


def test_has_greenlets_is_false_in_a_thread_that_only_made_a_hub(thread: Callable[[Callable[[], Any]], Any]) -> None:
    assert not thread(runtime.has_greenlets)
    assert not thread(lambda: bool(gevent.get_hub()) or runtime.has_greenlets())
    assert thread(lambda: gevent.spawn(int) is not None and runtime.has_greenlets())


def test_per_hub_makes_one_value_for_all_greenlets_of_a_thread() -> None:
    per_hub = runtime.PerHub(Value)

    values = [gevent.spawn(per_hub.get).get() for _ in range(3)]

    assert values == [per_hub.get()] * 3
    assert per_hub.values() == [per_hub.get()]


def test_per_hub_keeps_instances_apart() -> None:
    assert runtime.PerHub(Value).get() is not runtime.PerHub(Value).get()


def test_per_hub_makes_another_value_for_another_native_thread(thread: Callable[[Callable[[], Any]], Any]) -> None:
    per_hub = runtime.PerHub(Value)

    here, there = per_hub.get(), thread(per_hub.get)

    assert here is not there
    assert thread(per_hub.get) is there
    assert per_hub.get() is here
    assert set(per_hub.values()) == {here, there}


def test_per_hub_drops_the_values_of_threads_that_ended() -> None:
    class Owner:
        """An object that refers to its hub, like all objects with gevent's sockets."""

        def __init__(self) -> None:
            self.hub = gevent.get_hub()

    per_hub = runtime.PerHub(Owner)
    here = per_hub.get()
    counts: list[int] = []

    run_in_short_thread(lambda: counts.append(len({id(per_hub.get()), id(here)})))

    assert counts == [2]
    assert eventually(lambda: per_hub.values() == [here])


def test_per_hub_clear_forgets_the_values_of_all_threads(thread: Callable[[Callable[[], Any]], Any]) -> None:
    per_hub = runtime.PerHub(Value)
    before = {per_hub.get(), thread(per_hub.get)}

    per_hub.clear()

    assert per_hub.values() == []
    assert before.isdisjoint({per_hub.get(), thread(per_hub.get)})


def test_per_hub_makes_a_fresh_value_in_a_forked_child() -> None:
    per_hub = runtime.PerHub(Value)
    before = per_hub.get()

    def check() -> bool:
        is_empty = per_hub.values() == []
        return is_empty and per_hub.get() is not before and per_hub.values() == [per_hub.get()]

    assert run_in_child(check)
    assert per_hub.get() is before


def test_per_hub_makes_a_fresh_value_in_a_child_forked_by_another_thread(
    thread: Callable[[Callable[[], Any]], Any],
) -> None:
    per_hub = runtime.PerHub(Value)
    here, there = per_hub.get(), thread(per_hub.get)

    assert run_in_child(lambda: per_hub.get() not in (here, there) and len(per_hub.values()) == 1)
    assert set(per_hub.values()) == {here, there}


def test_per_hub_makes_a_fresh_value_for_a_new_hub_of_the_same_thread(
    thread: Callable[[Callable[[], Any]], Any],
) -> None:
    per_hub = runtime.PerHub(Value)
    before = thread(per_hub.get)

    # A server destroys its hub when it no longer uses gevent in this thread.
    thread(lambda: gevent.get_hub().destroy(destroy_loop=True))

    assert thread(per_hub.get) is not before


def test_per_hub_keeps_the_first_value_when_its_factory_yields() -> None:
    def make() -> Value:
        gevent.sleep(0)
        return Value()

    per_hub = runtime.PerHub(make)
    getters = [gevent.spawn(per_hub.get) for _ in range(3)]

    assert {getter.get() for getter in getters} == {per_hub.get()}


def test_per_hub_passes_on_what_its_factory_raises() -> None:
    per_hub: runtime.PerHub[float] = runtime.PerHub(lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        per_hub.get()


def test_per_hub_calls_on_end_in_the_thread_of_the_value() -> None:
    ended: list[tuple[object, int]] = []
    per_hub: Any = runtime.PerHub(get_native_ident, on_end=lambda value: ended.append((value, get_native_ident())))
    here = per_hub.get()

    run_in_short_thread(per_hub.get)
    assert eventually(lambda: len(ended) == 1)
    [(there, ident)] = ended
    per_hub.clear()

    assert ident == there != here
    assert ended[1:] == [(here, here)]


def test_per_hub_calls_on_end_when_it_is_collected() -> None:
    """on_end is called for a value that is collected together with its PerHub, even if the value refers to it."""
    ended: list[object] = []
    holder: list[Any] = []
    holder.append(runtime.PerHub(holder.copy, on_end=lambda value: ended.append(len(value))))
    holder[0].get()
    holder.clear()
    gc.collect()

    assert ended == [1]


def test_per_hub_does_not_call_on_end_in_a_forked_child() -> None:
    ended: list[object] = []
    per_hub = runtime.PerHub(Value, on_end=ended.append)
    per_hub.get()

    def check() -> bool:
        per_hub.get()
        gc.collect()
        return ended == []

    assert run_in_child(check)


def test_hubs_of_threads_that_ended_are_destroyed_by_the_next_one() -> None:
    per_hub = runtime.PerHub(gevent.get_hub)
    hubs: list[Any] = []
    run_in_short_thread(lambda: hubs.append(per_hub.get()))

    def next_thread_destroyed_it() -> bool:
        run_in_short_thread(lambda: (per_hub.get(), gevent.sleep(0.001)))
        return hubs[0].loop is None

    assert eventually(next_thread_destroyed_it)
    assert gevent.get_hub().loop is not None


def test_sockets_whose_hub_is_destroyed_can_be_closed() -> None:
    per_hub = runtime.PerHub(Value)
    left: list[Any] = []
    run_in_short_thread(lambda: (per_hub.get(), left.extend(gevent.socket.socketpair())))

    def next_thread_destroyed_it() -> bool:
        run_in_short_thread(per_hub.get)
        return left[0].hub.loop is None

    assert eventually(next_thread_destroyed_it)
    left[0].close()

    assert left[1].recv(1) == b''
    left[1].close()
    assert [each.fileno() for each in left] == [-1, -1]


def test_import_lock_is_waited_for_by_greenlets_and_by_threads_without_any() -> None:
    lock = YieldingLock()
    order: list[str] = []

    def take(name: str) -> None:
        with lock:
            order.append(name)

    with lock:
        assert not lock.acquire(blocking=False)
        waiter = gevent.spawn(take, 'greenlet')
        ended = allocate_native_lock()
        ended.acquire()
        start_native_thread(lambda: (take('thread'), ended.release()), ())
        gevent.sleep(0.02)
        assert order == []
    waiter.join()
    assert runtime.offload(ended.acquire)

    assert sorted(order) == ['greenlet', 'thread']


def test_other_threads_run_sees_native_threads() -> None:
    lock = allocate_native_lock()
    lock.acquire()
    start_native_thread(lock.acquire, ())
    try:
        assert eventually(runtime.other_threads_run)
    finally:
        lock.release()


def test_late_import_warning_is_a_runtime_warning() -> None:
    assert issubclass(runtime.LateImportWarning, RuntimeWarning)


def test_repr_of_a_task() -> None:
    """repr() omits the arguments, since the hub prints it with a task's error."""

    class Own(runtime.Task):
        def __init__(self) -> None:
            super().__init__(self.work)

        def work(self) -> None:
            """Do nothing."""

    task = Own()
    assert repr(task).startswith('<Own at 0x')
