"""Blocking code in callbacks: it lets other transfers run, or is logged while it blocks, with the stack and the remedy.

Each case runs in a process of its own with a time limit, since some would otherwise never end. The cases take long, but no
duration is asserted. The cases that are logged run two at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.programs import Program, Runner
from tests.support.servers import Authority, Store

pytestmark = pytest.mark.slow

SLOW_GET = {'operation': 'GetObject', 'action': {'delay_s': 4}}

CONNECT = """
    import concurrent.futures, contextlib, logging, os, queue, subprocess, sys, threading, time
    import s3po
    import gevent

    conn = s3po.Connection(endpoint_url=endpoint, verify=ca, region='us-east-1', access_key_id='a', secret_access_key=secret,
                           transport=os.environ.get('TRANSPORT', 'auto'))
    with contextlib.suppress(s3po.S3poError):
        conn.create_bucket('bucket')
    conn.upload('bucket', 'k', b'data')

    def call_back(callback, jobs):
        with conn.batch(jobs) as batch:
            for _ in range(jobs):
                batch.download('bucket', 'k', callback=callback)
        return batch.results()
"""

# The process ends as soon as something was logged, or after 30 s, whatever its main thread does.
WATCHED = """
    named = threading.Event()

    class Told(logging.Handler):
        def emit(self, record):
            print(record.levelname, record.getMessage(), flush=True)
            named.set()

    logging.getLogger('s3po').addHandler(Told())

    def end():
        until = time.monotonic() + 30
        while time.monotonic() < until and not named.is_set():
            monkey.get_original('time', 'sleep')(0.1)
        monkey.get_original('time', 'sleep')(1)
        os._exit(0)

    from gevent import monkey
    monkey.get_original('_thread', 'start_new_thread')(end, ())
"""

LOCK = """
    lock = threading.Lock()
    def block(body):
        with lock:
            conn.head('bucket', 'k')
"""
QUEUE = """
    def block(body):
        queue.Queue().get()
"""
FUTURE = """
    executor = concurrent.futures.ThreadPoolExecutor()
    never = threading.Event()
    def block(body):
        executor.submit(never.wait).result()
"""
THREAD = """
    def block(body):
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        thread.join()
"""
PROCESS = """
    def block(body):
        subprocess.run([sys.executable, '-c', 'import time; time.sleep(20)'])
"""
COMPUTES = """
    def block(body):
        while True:
            pass
"""

# The text that the log has besides the stack. Blocking does not depend on the transport, so one case over boto is enough.
NAMED: Mapping[str, tuple[str, str]] = {
    'lock': (LOCK, 'gevent.lock'),
    'queue': (QUEUE, 'gevent.queue'),
    'future': (FUTURE, 'a future of another thread'),
    'thread': (THREAD, 'another thread'),
    'process': (PROCESS, 'a process'),
    'computes': (COMPUTES, 'It computes: call gevent.sleep(0)'),
}

CASES = [*((name, 'wire') for name in NAMED), ('lock', 'boto')]


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(scope='module')
def running(authority: Authority) -> Iterator[Store]:
    with Store(authority) as store:
        yield store


@pytest.fixture(scope='module')
def programs(authority: Authority, running: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Program]:
    """The output of each case that is logged."""

    def run(case: tuple[str, str]) -> Program:
        name, transport = case
        runner = Runner(authority, running.endpoint_url, tmp_path_factory.mktemp(name))
        call = '\nfor _ in range(2): call_back(block, 2)'
        return runner(CONNECT, WATCHED, NAMED[name][0], call, TRANSPORT=transport)

    # Long enough for the second greenlet to reach the lock.
    running.reset()
    running.script({'operation': 'HeadObject', 'action': {'delay_s': 2}})
    with ThreadPoolExecutor(2) as executor:
        return dict(zip(CASES, executor.map(run, CASES), strict=True))


@pytest.fixture
def store(running: Store) -> Store:
    running.reset()
    return running


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


@pytest.mark.fault('F80')
@pytest.mark.parametrize(('name', 'transport'), CASES)
def test_what_blocks_is_named(programs: dict[tuple[str, str], Program], name: str, transport: str) -> None:
    """A callback that blocks is logged once, while it blocks, with its name and the remedy."""
    out = programs[name, transport].out

    assert out.startswith('WARNING the callback __main__:block has blocked the event loop for 1 s')
    assert out.count('WARNING') == 1
    assert NAMED[name][1] in out
    assert 'threadpool.apply' in out


WAYS = {
    'requests': """
        import requests
        def fetch(body):
            return requests.get(endpoint + '/bucket/k', verify=ca).content
    """,
    'boto3': """
        client = make_client()
        def fetch(body):
            return client.get_object(Bucket='bucket', Key='k')['Body'].read()
    """,
    'boto3 download_file': """
        client = make_client()
        numbers = iter(range(100))
        def fetch(body):
            path = f'file{next(numbers)}'
            client.download_file('bucket', 'k', path)
            return open(path, 'rb').read()
    """,
    'threadpool': """
        import requests
        def get():
            return requests.get(endpoint + '/bucket/k', verify=ca).content
        def fetch(body):
            return gevent.get_hub().threadpool.apply(get)
    """,
    'time.sleep': """
        def fetch(body):
            time.sleep(1)
            return conn.download('bucket', 'k')
    """,
}


@pytest.mark.parametrize('way', WAYS)
def test_other_transfers_run_meanwhile(run: Runner, store: Store, way: str) -> None:
    """Callbacks that wait for the store run concurrently, each with its own connection."""
    store.script(SLOW_GET)

    run(CONNECT, WAYS[way], 'assert call_back(fetch, 8) == [b"data"] * 8')

    # The batch has eight connections, which the callback of the last row reuses. If they ran one by one, there would be nine.
    assert store.stats()['peak_open'] >= (8 if way == 'time.sleep' else 12)


def test_upload_file_of_boto3_runs_meanwhile(run: Runner, store: Store) -> None:
    store.script({'operation': 'PutObject', 'key': 'other', 'action': {'delay_s': 4}})

    run(
        CONNECT,
        """
        client = make_client()
        open('file', 'wb').write(b'data')
        call_back(lambda body: client.upload_file('file', 'bucket', 'other'), 8)
        """,
    )

    assert store.stats()['peak_open'] >= 12


def test_a_loop_that_waits_is_not_blocked(run: Runner, store: Store) -> None:
    """Slow responses, many short computations and a waiting body do not block the event loop, and are not logged."""
    store.script({'operation': 'GetObject', 'action': {'delay_s': 7}})

    program = run(
        CONNECT,
        """
        def compute():
            while True:
                until = time.monotonic() + 0.05
                while time.monotonic() < until:
                    pass
                gevent.sleep(0)

        computing = gevent.spawn(compute)
        with conn.batch(5) as batch:
            batch.download('bucket', 'k')
            gevent.sleep(1)
        """,
    )

    assert 'blocked' not in program.err


def test_a_program_that_was_stopped_is_not_blocked(run: Runner) -> None:
    """A program that was stopped (SIGSTOP, or a laptop in sleep mode) was not blocked, and nothing is logged."""
    program = run(
        CONNECT,
        """
        stopper = '''
        import os, signal, sys, time
        pid = int(sys.argv[1])
        os.kill(pid, signal.SIGSTOP)
        time.sleep(7)
        os.kill(pid, signal.SIGCONT)
        '''
        import textwrap
        with conn.batch(5) as batch:
            batch.download('bucket', 'k', callback=lambda _: gevent.sleep(3))
            gevent.sleep(1)
            subprocess.Popen([sys.executable, '-c', textwrap.dedent(stopper), str(os.getpid())])
        """,
    )

    assert 'blocked' not in program.err


def test_other_code_that_blocks_is_named(run: Runner) -> None:
    """Other code than a callback is logged after 5 s, with its stack."""
    program = run(
        CONNECT,
        WATCHED,
        """
        def block():
            monkey.get_original('time', 'sleep')(20)

        with conn.batch(5) as batch:
            batch.download('bucket', 'k', callback=lambda _: gevent.sleep(30))
            gevent.sleep(1)
            block()
        """,
    )

    assert program.out.startswith('WARNING a call has blocked the event loop for 5 s')
    assert 'in block' in program.out


def test_a_progress_function_that_blocks_is_named(run: Runner) -> None:
    program = run(
        CONNECT,
        WATCHED,
        """
        def show(event):
            monkey.get_original('time', 'sleep')(20)

        with conn.batch(5, progress=show) as batch:
            batch.download('bucket', 'k', callback=lambda _: gevent.sleep(30))
        """,
    )

    assert program.out.startswith('WARNING the callback __main__:show has blocked the event loop for 1 s')


def test_idle_batches_may_be_left_open(run: Runner) -> None:
    """An idle batch has no jobs that could be blocked, so nothing is logged."""
    program = run(
        CONNECT,
        """
        from gevent import monkey
        with conn.batch(5) as batch:
            batch.download('bucket', 'k')
            batch.wait()
            monkey.get_original('time', 'sleep')(7)
        """,
    )

    assert 'blocked' not in program.err


@pytest.mark.parametrize('patch', ['all', '0'])
def test_computing_is_named_however_much_is_patched(run: Runner, patch: str) -> None:
    """A computation is logged whichever modules are patched: the monitor runs in a native thread."""
    program = run(
        CONNECT,
        WATCHED,
        COMPUTES,
        '\ncall_back(block, 2)',
        S3PO_PATCH=patch,
    )

    assert 'It computes' in program.out
