"""Native threads in a patched process: they import concurrently, start, end and fork."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import Runner
from tests.support.servers import Authority

SLOW_MODULE = """
from gevent import monkey, sleep
# Time for other threads, and then for the other greenlets of this one.
monkey.get_original('time', 'sleep')(0.3)
sleep(0.1)
value = 42
"""

IMPORT_SIDE_BY_SIDE = """
    import gevent
    from gevent import monkey
    start, allocate_lock = (monkey.get_original('_thread', name) for name in ('start_new_thread', 'allocate_lock'))
    found, ends = [], [allocate_lock() for _ in range(4)]

    def read():
        import slow
        found.append(slow.value)

    def read_twice(end):
        try:
            # Without greenlets at first.
            if end is ends[0]:
                read()
            gevent.joinall([gevent.spawn(read) for _ in range(2)])
        finally:
            end.release()

    for end in ends:
        end.acquire()
        start(read_twice, (end,))
    gevent.joinall([gevent.spawn(read) for _ in range(2)], raise_error=True)
    while any(end.locked() for end in ends):
        gevent.sleep(0.01)
    assert found == [42] * 11, found
"""


@pytest.fixture
def run(authority: Authority, tmp_path: Path) -> Runner:
    (tmp_path / 'slow.py').write_text(SLOW_MODULE)
    return Runner(authority, '', tmp_path)


@pytest.mark.parametrize(
    'patch',
    [
        'import s3po; s3po.patch_all()',
        'from gevent import monkey; monkey.patch_all(); import s3po',
        'from gevent import monkey; monkey.patch_all(); import s3po; s3po.patch_all()',
    ],
    ids=['by s3po', 'by the program', 'by both'],
)
@pytest.mark.sampled(1)
def test_native_threads_import_at_once(run: Runner, patch: str) -> None:
    """Native threads can import concurrently; gevent's own locks would raise LoopExit, or wait forever."""
    # Without coverage: with threads and greenlets at once, its callbacks sometimes lose exceptions.
    run(f'\n{patch}\n', IMPORT_SIDE_BY_SIDE, COVERAGE_PROCESS_CONFIG='')


@pytest.mark.parametrize('patch', ['', '0'], ids=['narrowly', 'unpatched'])
@pytest.mark.slow
def test_threads_that_are_not_patched_keep_their_locks(run: Runner, patch: str) -> None:
    """If threads are not patched, the import system is not changed."""
    run(
        """
        import sys
        before = sys.modules['_frozen_importlib']._thread
        import s3po
        assert sys.modules['_frozen_importlib']._thread is before
        """,
        S3PO_PATCH=patch,
    )


NATIVE = """
    import os, time
    from gevent import monkey
    import s3po
    import gevent, gevent.socket
    from s3po.runtime import PerHub

    start, allocate_lock = (monkey.get_original('_thread', name) for name in ('start_new_thread', 'allocate_lock'))
    values, ended = PerHub(object, on_end=lambda value: ended.append(value)), []

    def run(function):
        end = allocate_lock()
        end.acquire()
        found = []
        def call():
            try:
                found.append(function())
            finally:
                end.release()
        start(call, ())
        end.acquire()
        # It may be on its way out still.
        time.sleep(0.05)
        return found[0]

    def use_hub():
        # With the thread that looks names up, and its descriptors.
        gevent.socket.getaddrinfo('localhost', 80)
        return gevent.get_hub()
"""


@pytest.mark.parametrize('patch', ['', 'all', '0'], ids=['narrowly', 'fully', 'unpatched'])
@pytest.mark.sampled(1)
def test_native_threads_take_their_hubs_with_them(run: Runner, patch: str) -> None:
    """At the end of a native thread its values are notified in time; its hub is destroyed when the next thread starts."""
    run(
        NATIVE,
        """
        def work():
            return values.get(), use_hub()

        first, hub = run(work)
        assert ended == [first]
        assert hub.loop is not None
        before = len(os.listdir('/dev/fd'))
        for _ in range(10):
            run(work)
        assert len(ended) == 11
        assert hub.loop is None
        assert len(os.listdir('/dev/fd')) <= before + 2
        """,
        S3PO_PATCH=patch,
        COVERAGE_PROCESS_CONFIG='',
    )


@pytest.mark.slow
def test_hubs_that_their_threads_destroy(run: Runner) -> None:
    """A thread may destroy its own hub, as gevent recommends; then nothing is left to do."""
    run(
        NATIVE,
        """
        def work():
            values.get()
            gevent.get_hub().destroy(destroy_loop=True)
            values.get()
            use_hub().destroy(destroy_loop=True)

        for _ in range(3):
            run(work)
        assert run(values.get) is not None
        """,
        COVERAGE_PROCESS_CONFIG='',
    )


@pytest.mark.slow
def test_sockets_that_outlive_their_thread(run: Runner) -> None:
    """Sockets that outlive their thread can be closed by other threads, although their hub is destroyed."""
    run(
        NATIVE,
        """
        def work():
            values.get()
            one, other = gevent.socket.socketpair()
            reading = gevent.spawn(one.recv, 1)
            gevent.sleep(0.01)
            other.send(b'x')
            assert reading.get() == b'x'
            return one, other, gevent.get_hub()

        one, other, hub = run(work)
        run(values.get)
        assert hub.loop is None
        for each in (one, other):
            descriptor = each.fileno()
            each.close()
            try:
                os.fstat(descriptor)
            except OSError:
                continue
            raise AssertionError('it is open still')
        """,
        COVERAGE_PROCESS_CONFIG='',
    )


@pytest.mark.parametrize('patch', ['', 'all', '0'], ids=['narrowly', 'fully', 'unpatched'])
@pytest.mark.sampled(1)
def test_names_are_found_in_a_forked_child(run: Runner, patch: str) -> None:
    """Host names can be resolved in a forked child, where the parent's resolver threads do not exist."""
    run(
        NATIVE,
        """
        use_hub()
        child = os.fork()
        if not child:
            use_hub()
            os._exit(7)
        # Not for ever: a child that hangs holds our output open.
        for _ in range(1000):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            time.sleep(0.01)
        else:
            os.kill(child, 9)
        assert os.waitstatus_to_exitcode(status) == 7
        """,
        S3PO_PATCH=patch,
    )


@pytest.mark.slow
def test_a_fork_ends_idle_threads_and_they_start_again(run: Runner) -> None:
    """A fork ends idle threads, which start again later: from Python 3.12 on, forking with threads warns."""
    run("""
        import os, sys
        import s3po, gevent
        pool = gevent.get_hub().threadpool
        gevent.joinall([gevent.spawn(pool.apply, len, ('ab',)) for _ in range(5)], raise_error=True)
        assert len(sys._current_frames()) > 1
        child = os.fork()
        if not child:
            os._exit(pool.apply(len, ('abc',)))
        assert len(sys._current_frames()) == 1
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert pool.apply(len, ('ab',)) == 2
    """)
