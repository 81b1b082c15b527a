"""Forks in the middle of transfers (F65): a child never changes what its parent transfers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import s3po
from s3po.config import MIB
from tests.conftest import BUCKET
from tests.support.kinds import Kind
from tests.support.programs import Program, Runner
from tests.support.servers import Authority, Store

pytestmark = pytest.mark.slow

PART = 5 * MIB
DELAY = {'delay_s': 0.3}

# The parent's work: uploads (also in parts and from streams), downloads in parts, an open reader and an open writer.
# FORK is called in the middle of it, at one of several places.
PROGRAM = """
    import concurrent.futures, multiprocessing, random, sys, time
    import s3po
    import gevent

    PART, SMALL = 5 * 1024 * 1024, 12
    conn = s3po.Connection(
        endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret,
        transport=os.environ['TRANSPORT'],
        config=s3po.TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=3),
    )
    parent, children = os.getpid(), []
    large = random.Random(65).randbytes(3 * PART)
    calls = os.open('calls', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    where, how = os.environ['WHERE'], os.environ['HOW']

    def call(name, _):
        os.write(calls, f'{name} {os.getpid() == parent}\\n'.encode())
        if name == 'small3' and where == 'callback':
            fork()

    def behave():
        time.sleep(0.7)
        gevent.spawn(gevent.sleep, 0.1).join()
        conn.upload('bucket', f'child-{os.getpid()}', b'child')
        assert conn.download('bucket', 'large')[:100] == large[:100]
        time.sleep(0.3)

    def fork():
        if how == 'process':
            process = multiprocessing.get_context('fork').Process(target=behave)
            process.start()
            children.append(process)
            return
        if how == 'executor':
            executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork'))
            children.append(executor.submit(behave))
            return
        pid = os.fork()
        if pid:
            children.append(pid)
            return
        behave()
        if how == 'exit':
            os._exit(0)
        elif how == 'sys.exit':
            sys.exit(0)
        elif how == 'raise':
            raise ValueError('in the child')

    def pieces():
        for number in range(3):
            if number == 2 and where == 'source':
                fork()
            yield large[number * PART : (number + 1) * PART]

    class File:
        def read(self, size):
            if where == 'file':
                fork()
            data, self.read = b'from a file', lambda size: b''
            return data

    def finish():
        statuses = []
        for child in children:
            if how == 'process':
                while child.exitcode is None:
                    time.sleep(0.05)
                statuses.append(child.exitcode)
            elif how == 'executor':
                while not child.done():
                    time.sleep(0.05)
                statuses.append(0 if child.exception() is None else child.exception())
            else:
                while not (found := os.waitpid(child, os.WNOHANG))[0]:
                    time.sleep(0.05)
                statuses.append(os.waitstatus_to_exitcode(found[1]))
        return statuses

    def fork_at_random():
        for _ in range(6):
            gevent.sleep(chance.uniform(0.05, 0.5))
            fork()

    conn.upload('bucket', 'large', large)
    chance = random.Random(os.environ['SEED'])
    if where == 'random':
        forking = gevent.spawn(fork_at_random)
    with conn.batch(8) as batch:
        with conn.open('bucket', 'written', 'wb') as writer, conn.open('bucket', 'large', block_size=1024 * 1024) as reader:
            batch.upload('bucket', 'streamed', pieces(), callback=lambda _: call('streamed', _))
            batch.upload('bucket', 'filed', File(), callback=lambda _: call('filed', _))
            for number in range(SMALL):
                name = f'small{number}'
                batch.upload('bucket', name, name.encode(), callback=lambda _, name=name: call(name, _))
            batch.upload('bucket', 'parts', large, callback=lambda _: call('parts', _))
            for number in range(2):
                name = f'file{number}'
                batch.download('bucket', 'large', name, callback=lambda _, name=name: call(name, _))
            first = reader.read(1024 * 1024)
            writer.write(large[:PART])
            time.sleep(0.4)
            if where == 'main':
                fork()
            if os.getpid() == parent:
                writer.write(large[PART:])
                assert first + reader.read() == large
    if os.getpid() != parent:
        # A child that came back leaves both blocks, and waits for nothing.
        for use in (batch.results, batch.wait, lambda: batch.upload('bucket', 'no', b''), lambda: writer.write(b'')):
            try:
                use()
            except (s3po.ConfigurationError, ValueError):
                continue
            raise AssertionError
        conn.upload('bucket', f'child-{os.getpid()}', b'child')
        sys.exit(7)
    if where == 'random':
        forking.get()
    statuses = finish()
    for name in ('parts', 'streamed', 'written'):
        assert conn.download('bucket', name) == large, name
    for number in range(SMALL):
        assert conn.download('bucket', f'small{number}') == f'small{number}'.encode()
    assert [open(f'file{number}', 'rb').read() == large for number in range(2)] == [True] * 2
    print('statuses', statuses, 'names', sorted(os.listdir()))
"""


@pytest.fixture
def run(store: Store, authority: Authority, tmp_path: Path, conn: s3po.Connection, kind: Kind) -> Callable[..., Program]:
    """Runs the program with a fork at one place, and checks the requests that the store received."""
    for operation in ('PutObject', 'UploadPart', 'GetObject', 'CreateMultipartUpload'):
        store.script({'operation': operation, 'times': None, 'action': DELAY})
    runner = Runner(authority, store.endpoint_url, tmp_path)

    def run_it(where: str, how: str, **environment: str) -> Program:
        program = runner(PROGRAM, **{'WHERE': where, 'HOW': how, 'TRANSPORT': kind.name, 'SEED': '0', **environment})
        check(store, tmp_path, children=6 if where == 'random' else 1)
        return program

    return run_it


def check(store: Store, directory: Path, *, children: int) -> None:
    """Assert that the parent put each object and sent each part once, aborted nothing, and called each callback once."""
    puts = Counter(each['key'] for each in store.log('PutObject'))
    theirs = [key for key in puts if key.startswith('child-')]
    names = {f'small{number}' for number in range(12)} | {'filed'}
    assert {key: count for key, count in puts.items() if key not in theirs} == dict.fromkeys(names, 1)
    assert len(theirs) == children
    parts = Counter((each['key'], each['query'].get('partNumber')) for each in store.log('UploadPart'))
    assert set(parts.values()) == {1}
    assert len(store.log('CompleteMultipartUpload')) == 4
    assert store.log('AbortMultipartUpload') == []
    called = Counter((directory / 'calls').read_text().splitlines())
    expected = [*names, 'parts', 'streamed', 'file0', 'file1']
    assert called == Counter(f'{name} True' for name in expected)
    assert list(directory.glob('.s3po-*')) == []


@pytest.mark.fault('F65')
@pytest.mark.parametrize('how', ['process', 'executor', 'exit', 'sys.exit', 'raise', 'return'])
def test_callback(run: Callable[..., Program], how: str) -> None:
    """A child that is forked in a callback never continues the batch, whichever way the child ends."""
    program = run('callback', how)
    assert f'statuses [{ {"raise": 1, "return": 1}.get(how, 0) }]' in program.out
    assert ('forked, and then returned in the child' in program.err) == (how == 'return')


@pytest.mark.fault('F65')
@pytest.mark.parametrize('how', ['process', 'exit', 'return'])
def test_main_greenlet(run: Callable[..., Program], how: str) -> None:
    """A child of the main greenlet that leaves the blocks of the batch and of open files affects neither."""
    program = run('main', how)
    assert f'statuses [{7 if how == "return" else 0}]' in program.out, program.err


@pytest.mark.fault('F65')
@pytest.mark.parametrize('where', ['source', 'file'])
def test_source(run: Callable[..., Program], where: str) -> None:
    """A child that is forked in a source and returns from it sends nothing of the parent's upload."""
    program = run(where, 'return')
    assert 'statuses [1]' in program.out


@pytest.mark.fault('F65')
@pytest.mark.parametrize('seed', range(2))
def test_at_any_moment(run: Callable[..., Program], seed: int) -> None:
    """A fork in any greenlet of the program, at any moment, does not change the parent's transfers."""
    program = run('random', 'exit', SEED=str(seed))
    assert 'statuses [0, 0, 0, 0, 0, 0]' in program.out


@pytest.mark.fault('F65')
def test_everything_patched(run: Callable[..., Program]) -> None:
    """A fork changes nothing either if all of the standard library is patched and os.fork() is gevent's."""
    run('callback', 'exit', S3PO_PATCH='all')
    assert BUCKET == 'bucket'


INHERITED = """
    import socket
    import s3po
    import gevent

    conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', access_key_id='a', secret_access_key=secret)

    def fork(_):
        ours, theirs = socket.socketpair()
        theirs.setblocking(True)
        # Both have waited under the parent's event loop.
        gevent.spawn_later(0, ours.sendall, b'x')
        theirs.recv(1)
        child = os.fork()
        if not child:
            ours.close()
            theirs.sendall(b'done')
            theirs.close()
            gevent.sleep(90)
            os._exit(0)
        theirs.close()
        received = b''.join(iter(lambda: ours.recv(10), b''))
        os.kill(child, 9)
        os.waitpid(child, 0)
        print('received', received)

    with conn.batch(2) as batch:
        batch.upload('bucket', 'forks', b'data', callback=fork)
        batch.upload('bucket', 'other', b'data')
"""


@pytest.mark.fault('F65')
@pytest.mark.parametrize('patch', ['narrow', 'all'])
def test_inherited_socket(conn: s3po.Connection, store: Store, authority: Authority, tmp_path: Path, patch: str) -> None:
    """If a child closes sockets that it inherited, the parent receives their end while the child still runs."""
    store.script({'operation': 'PutObject', 'key': 'other', 'times': 1, 'action': DELAY})

    program = Runner(authority, store.endpoint_url, tmp_path)(INHERITED, S3PO_PATCH=patch if patch == 'all' else '')

    assert "received b'done'" in program.out
