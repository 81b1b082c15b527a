"""One Connection in several native threads, after a fork, and in other processes: no socket is ever shared.

A script reports by its exit code; the log of the store shows which connection was used by whom.
"""

from __future__ import annotations

import pathlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import s3po
from tests.conftest import BUCKET
from tests.support.kinds import KINDS, Kind
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

pytestmark = pytest.mark.slow

Connect = Callable[..., s3po.Connection]

# The value of S3PO_PATCH.
PATCHED_OR_NOT = {'': 'patched', 'all': 'fully patched', '0': 'unpatched'}

PRELUDE = """
    import os
    import sys
    import traceback
    import gevent
    import s3po

    config = s3po.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret, verify=ca,
                           config=config, transport=os.environ['KIND'])

    def work(name):
        large = os.urandom(6 << 20)
        conn.upload('bucket', f'{name}/large', large)
        assert conn.download('bucket', f'{name}/large') == large
        work_a_little(name)

    def work_a_little(name):
        for number in range(10):
            body = os.urandom(40_000 * number)
            conn.upload('bucket', f'{name}/{number}', body)
            assert conn.download('bucket', f'{name}/{number}') == body
        bodies, got = {f'{name}/batch/{number}': os.urandom(number) for number in range(40)}, {}
        with conn.batch(4) as batch:
            for key, body in bodies.items():
                batch.upload('bucket', key, body, callback=lambda result: batch.download(
                    'bucket', result.key, callback=lambda data, key=result.key: got.__setitem__(key, data)))
        assert got == bodies
        assert batch.report().retries == 0
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture(scope='module')
def _secure_server(authority: Authority) -> Iterator[Store]:
    with Store(authority) as server:
        yield server


@pytest.fixture(params=['http', 'https'])
def served(request: pytest.FixtureRequest, store: Store) -> Store:
    """A store with a bucket, with and without TLS."""
    if request.param == 'https':
        store = request.getfixturevalue('_secure_server')
        store.reset()
    store.create_bucket(BUCKET)
    return store


@pytest.fixture
def run(authority: Authority, served: Store, kind: Kind, tmp_path: pathlib.Path) -> Callable[..., object]:
    """Runs a script that uses the store."""
    runner = Runner(authority, served.endpoint_url, tmp_path)
    # Without coverage: with threads and greenlets at once, its callbacks sometimes lose exceptions.
    return lambda *pieces, **environment: runner(PRELUDE, *pieces, KIND=kind.name, COVERAGE_PROCESS_CONFIG='', **environment)


def connections(store: Store) -> dict[str, set[int]]:
    """The connections that were used for the keys of each name."""
    found: dict[str, set[int]] = defaultdict(set)
    for seen in store.log():
        if seen['key']:
            found[seen['key'].partition('/')[0]].add(seen['connection'])
    return found


# --- native threads

THREADS = """
    from gevent import monkey
    start, allocate_lock = (monkey.get_original('_thread', name) for name in ('start_new_thread', 'allocate_lock'))

    def run_in_threads(count, work):
        failures, ends = [], [allocate_lock() for _ in range(count)]

        def run(number):
            try:
                work(f'thread-{number}')
            except BaseException:
                failures.append(traceback.format_exc())
            finally:
                ends[number].release()

        for number, end in enumerate(ends):
            end.acquire()
            start(run, (number,))
        for end in ends:
            end.acquire()
        assert not failures, '\\n'.join(failures)
"""
AT_ONCE = """
    run_in_threads(8, work)
"""
ONE_AFTER_THE_OTHER = """
    def count():
        return len(os.listdir('/dev/fd'))

    run_in_threads(1, work_a_little)
    before = count()
    for _ in range(12):
        run_in_threads(1, work_a_little)
    # One may be on its way out still.
    assert count() < before + 10, (count(), before)
"""


@pytest.mark.parametrize('patch', PATCHED_OR_NOT, ids=PATCHED_OR_NOT.get)
def test_native_threads(run: Any, served: Store, patch: str) -> None:
    """Eight native threads use one Connection at once: each gets its own bytes, over connections of its own."""
    run(THREADS, AT_ONCE, S3PO_PATCH=patch)
    used = connections(served)

    assert sorted(used) == [f'thread-{number}' for number in range(8)]
    assert sum(map(len, used.values())) == len(set().union(*used.values()))


@pytest.mark.parametrize('served', ['https'], indirect=True)
@pytest.mark.parametrize('patch', PATCHED_OR_NOT, ids=PATCHED_OR_NOT.get)
def test_native_threads_that_end(run: Any, patch: str) -> None:
    """The connections and event loops of a thread end with it, so a server with a thread per request accumulates none."""
    run(THREADS, ONE_AFTER_THE_OTHER, S3PO_PATCH=patch)


# --- forks

FORK = """
    def work_in_child(name, end):
        child = os.fork()
        if child:
            return child
        try:
            work_a_little(name)
            conn.close()
            work_a_little(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        end(0)

    # As many connections as are in use at once later on: the store takes its time.
    with conn.batch(4) as batch:
        for number in range(4):
            batch.upload('bucket', f'before/{number}', b'data')
    # Unpatched, boto's requests do not overlap, but a download keeps its connection while others begin.
    work_a_little('before')
    children = [work_in_child('first', os._exit), work_in_child('second', sys.exit)]
    work_a_little('parent')
    for child in children:
        assert os.waitpid(child, 0) == (child, 0)
    work_a_little('parent')
"""


@pytest.mark.parametrize('patch', PATCHED_OR_NOT, ids=PATCHED_OR_NOT.get)
def test_fork(run: Any, served: Store, patch: str) -> None:
    """After a fork, parent and children work at once: the parent with its old connections, each child with new ones."""
    served.script({'operation': 'PutObject', 'times': 4, 'action': {'delay_s': 0.3}})
    run(FORK, S3PO_PATCH=patch)
    used = connections(served)

    assert used['parent'] <= used['before']
    assert not used['first'] & used['second']
    assert not (used['first'] | used['second']) & used['before']
