"""S3Client inside a running asyncio loop: the loop goes on, responses are awaited, and async iterables never hang."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

import s3po
from s3po import S3Client
from s3po.compat.aiohttp_s3_client import ClientResponse
from s3po.config import MIB
from s3po.errors import AccessDenied, Cancelled, ConfigurationError, NotFound
from tests.conftest import BUCKET, impatient
from tests.support.canaries import SECRET_ACCESS_KEY
from tests.support.servers import Store

KEYS = {'access_key_id': 'key', 'secret_access_key': SECRET_ACCESS_KEY, 'region': 'us-east-1'}
KEY = f'{BUCKET}/key'
PATIENCE_S = 10.0


@pytest.fixture
def client(store: Store, conn: s3po.Connection) -> Iterator[S3Client]:
    with S3Client(store.endpoint_url, **KEYS, connection={'retry': impatient(1)}) as found:
        yield found


def run(main: Callable[[], Awaitable[None]], *, debug: bool = False) -> None:
    """Run a coroutine function, for a limited time."""

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()

    asyncio.run(limited(), debug=debug)


async def eventually(is_done: Callable[[], bool]) -> None:
    """Wait for a condition without blocking the loop."""
    until = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


def own_threads() -> int:
    return len(os.listdir('/proc/self/task'))


# ---------------------------------------------------------------------- awaiting


@pytest.mark.parametrize('debug', [False, True])
def test_tasks(client: S3Client, debug: bool) -> None:
    """A call is what asyncio's functions take: create_task, gather, wait_for, as_completed, TaskGroup and shield."""

    async def use() -> None:
        assert (await asyncio.create_task(client.put(KEY, b'data'))).status_code == 200
        assert [each.content for each in await asyncio.gather(*[client.get(KEY) for _ in range(3)])] == [b'data'] * 3
        assert (await asyncio.wait_for(client.head(KEY), PATIENCE_S)) == 200
        assert [await each for each in asyncio.as_completed([client.get(KEY), client.get(f'{BUCKET}/none')])] in (
            [200, 404],
            [404, 200],
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.get(KEY)) for _ in range(3)]
        assert [task.result().text for task in tasks] == ['data'] * 3
        assert (await asyncio.shield(client.delete(KEY))) == 204

    run(use, debug=debug)


@pytest.mark.skipif(sys.version_info < (3, 12), reason='eager tasks are new in Python 3.12')
def test_eager_tasks(client: S3Client) -> None:
    """Calls work as eager tasks."""

    async def use() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        assert await asyncio.gather(client.put(KEY, b'x'), client.get(f'{BUCKET}/none')) == [200, 404]

    run(use)


def test_the_loop_goes_on(client: S3Client, store: Store) -> None:
    """While requests wait for the store, the loop runs other tasks."""
    client.put(KEY, b'data')
    store.script({'operation': 'GetObject', 'times': None, 'action': {'delay_s': 0.3}})

    async def use() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticker = asyncio.create_task(tick())
        assert await asyncio.gather(*[client.get(KEY) for _ in range(20)]) == [200] * 20
        ticker.cancel()
        assert ticks >= 10

    run(use)


def test_a_response_in_the_loop(client: S3Client) -> None:
    """It can be awaited several times, read without await, hashed, pickled, and closed."""

    async def use() -> None:
        response = client.put(KEY, b'data')
        assert {response: 1}[response] == 1
        assert 'pending' in repr(response) or 'ended' in repr(response)
        assert (await response) is (await response)
        assert response == 200 == await response
        assert 'ended' in repr(response)
        response.close()
        got = client.get(KEY)
        assert (got.content, got.text, got.status_code, got.error) == (b'data', 'data', 200, None)
        for kept in (got, await got):
            assert pickle.loads(pickle.dumps(kept)).content == b'data'
        with pytest.raises(AttributeError, match='no attribute'):
            got.missing  # noqa: B018
        missing = client.get(f'{BUCKET}/none')
        with pytest.raises(NotFound):
            missing.raise_for_status()
        with pytest.raises(NotFound):
            await client.rename(f'{BUCKET}/none', KEY)
        with pytest.raises(ConfigurationError):
            client.get(KEY, headers={'Range': 'lines'})

    run(use)
    assert asyncio.run(client.head(KEY)) == 200


def test_pages_and_with(client: S3Client, store: Store) -> None:
    """Pages are requested beside the loop, for `async for` and `for`; leaving `async with` ends the thread."""

    async def use() -> None:
        await asyncio.gather(*[client.put(f'{BUCKET}/a/{n}', b'x') for n in range(5)])
        assert [len(page) async for page in client.list_objects_v2(BUCKET, max_keys=2)] == [2, 2, 1]
        assert [len(page) for page in client.list_objects_v2(BUCKET, max_keys=3)] == [3, 2]
        with pytest.raises(s3po.NoSuchBucket):
            [page async for page in client.list_objects_v2('nobucket')]
        pages = client.list_objects_v2(BUCKET, max_keys=2)
        await anext(pages)
        client.close()
        with pytest.raises(Cancelled, match='list again'):
            await anext(pages)
        before = own_threads()
        async with client:
            assert (await client.get(f'{BUCKET}/a/1')) == 200
        await eventually(lambda: own_threads() < before)

    run(use)


def test_listing_after_a_failure(client: S3Client, store: Store) -> None:
    """A listing raises after a failed or cancelled page: it does not end as if it had no more keys."""
    for number in range(3):
        client.put(f'{BUCKET}/{number}', b'')

    async def use() -> None:
        pages = client.list_objects_v2(BUCKET, max_keys=1)
        assert [each.key for each in await anext(pages)] == ['0']
        store.script({'operation': 'ListObjectsV2', 'action': {'hang_s': 60}})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(pages), 0.3)
        for _ in range(2):
            with pytest.raises(Cancelled):
                await anext(pages)

    run(use)
    store.reset()
    store.script({'operation': 'ListObjectsV2', 'times': None, 'action': {'status': 403, 'code': 'AccessDenied'}})
    refused = client.list_objects_v2(BUCKET, max_keys=1)
    for _ in range(2):
        with pytest.raises(AccessDenied):
            next(refused)


def test_mock() -> None:
    """A mock holds in the client's thread too."""
    conn = s3po.Connection(endpoint_url='http://127.0.0.1:1')

    async def use() -> None:
        async with S3Client('http://127.0.0.1:1', **KEYS) as client:
            assert (await client.put(KEY, b'data')) == 200
            assert (await client.get(KEY)).content == b'data'

    with conn.mock():
        conn.create_bucket(BUCKET)
        run(use)


# ---------------------------------------------------------------------- async iterables


def test_an_iterable_that_waits_for_the_loop(client: S3Client) -> None:
    """It is consumed in the caller's loop, in one task, with the caller's context variables."""
    name = contextvars.ContextVar('name', default='none')
    tasks: set[object] = set()

    async def use() -> None:
        name.set('caller')
        queue: asyncio.Queue[bytes] = asyncio.Queue(1)

        async def pieces() -> AsyncIterator[bytes]:
            async with asyncio.timeout(PATIENCE_S):
                while piece := await queue.get():
                    tasks.add(asyncio.current_task())
                    yield piece
                yield name.get().encode()

        for send in (client.put, client.put_multipart):
            tasks.clear()
            task = asyncio.create_task(send(KEY, pieces()))
            for _ in range(7):
                await queue.put(b'x' * MIB)
            await queue.put(b'')
            assert (await task) == 200
            assert (await client.get(KEY)).content == b'x' * 7 * MIB + b'caller'
            assert len(tasks) == 1

    run(use)


@pytest.mark.parametrize('as_piece', [bytearray, memoryview])
def test_an_iterable_that_reuses_its_buffer(client: S3Client, as_piece: Callable[[bytearray], Any]) -> None:
    """Each piece is copied before the iterable continues."""

    async def pieces() -> AsyncIterator[Any]:
        buffer = bytearray(3)
        for digit in (b'0', b'1', b'2'):
            buffer[:] = digit * 3
            yield as_piece(buffer)

    async def use() -> None:
        await client.put(KEY, pieces())
        assert (await client.get(KEY)).content == b'000111222'

    run(use)
    client.put(KEY, pieces())
    assert client.get(KEY).content == b'000111222'


def test_a_read_that_would_hang(client: S3Client) -> None:
    """Reading the response without await, while its iterable needs the blocked loop, is refused at once; await works."""

    async def use() -> None:
        go_on = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield b'a'
            await go_on.wait()
            yield b'b'

        response = client.put(KEY, pieces())
        with pytest.raises(ConfigurationError, match='must be awaited'):
            response.status_code  # noqa: B018
        go_on.set()
        assert (await response) == 200
        assert response.status_code == 200
        assert (await client.get(KEY)).content == b'ab'

    run(use)


def test_errors_of_an_iterable(client: S3Client) -> None:
    """The error of the iterable reaches the await; nothing is published; the iterable is closed."""
    closed: list[str] = []

    async def use() -> None:
        async def failing() -> AsyncIterator[bytes]:
            try:
                yield b'x' * 6 * MIB
                await asyncio.sleep(0)
                raise ZeroDivisionError
            finally:
                closed.append('failing')

        async def text() -> AsyncIterator[Any]:
            try:
                while True:
                    yield 'text'
            finally:
                closed.append('text')

        with pytest.raises(ZeroDivisionError):
            await client.put_multipart(KEY, failing())
        with pytest.raises(ConfigurationError):
            await client.put(KEY, text())
        await eventually(lambda: len(closed) == 2)
        assert (await client.head(KEY)) == 404

    run(use)


def test_a_loop_that_ends(client: S3Client) -> None:
    """If the loop ends before the iterable, the upload fails, and reading the response does not wait for ever."""
    responses: list[Any] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b'x' * MIB

    async def use() -> None:
        responses.append(client.put_multipart(KEY, endless()))
        await asyncio.sleep(0.1)

    run(use)
    with pytest.raises((Cancelled, ConfigurationError)):
        responses[0].status_code  # noqa: B018
    assert client.head(KEY) == 404


# ---------------------------------------------------------------------- cancelling and ending


def test_cancelled_upload(client: S3Client, conn: s3po.Connection, store: Store) -> None:
    """Cancelling the task ends the upload, and the multipart upload is aborted."""
    started = threading.Event()

    async def use() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b'x' * 5 * MIB
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(client.put_multipart(KEY, pieces()))
        await eventually(lambda: started.is_set() and len(store.log('UploadPart')) > 0)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 10
        await eventually(lambda: len(store.log('AbortMultipartUpload')) == 1)

    run(use)
    assert client.head(KEY) == 404


def test_closed_client(client: S3Client, store: Store) -> None:
    """close() cancels the calls in progress; the client may be used again."""
    store.script({'operation': 'GetObject', 'times': 2, 'action': {'hang_s': 60}})

    async def use() -> None:
        awaited, kept = asyncio.create_task(client.get(KEY)), client.get(KEY)
        await eventually(lambda: len(store.log('GetObject')) == 2)
        client.close()
        with pytest.raises(Cancelled):
            await awaited
        with pytest.raises(Cancelled):
            kept.status_code  # noqa: B018
        assert (await client.get(KEY)) == 404

    run(use)


def test_cancelled_before_the_start(client: S3Client) -> None:
    """A call that is cancelled at once ends with Cancelled."""

    async def use() -> None:
        for _ in range(20):
            response = client.get(KEY)
            response.close()
            with pytest.raises((Cancelled, asyncio.CancelledError)):
                await response
        task = asyncio.create_task(client.get(KEY))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(use)


@pytest.mark.parametrize('is_wrapped', [False, True])
def test_task_cancelled_before_its_first_step(client: S3Client, store: Store, is_wrapped: bool) -> None:
    """Cancelling a task that has not begun to await cancels the request, which began at the call."""
    store.script({'operation': 'PutObject', 'times': None, 'action': {'hang_s': 60}})

    async def use() -> None:
        pending = client.put(KEY, b'data')
        task = asyncio.create_task(ClientResponse(pending) if is_wrapped else pending)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: repr(pending) == '<PendingResponse ended>')

    run(use)
    assert client.head(KEY) == 404


def test_two_loops_in_two_threads(client: S3Client) -> None:
    """One client serves the loops of several threads; a response may be awaited in another loop."""
    shared: list[Any] = []
    errors: list[BaseException] = []

    async def use() -> None:
        for number in range(20):
            name = f'{BUCKET}/{threading.get_ident()}-{number}'
            assert await asyncio.gather(client.put(name, name), client.get(f'{BUCKET}/none')) == [200, 404]
            assert (await client.get(name)).text == name
        shared.append(client.get(f'{BUCKET}/none'))

    def thread() -> None:
        try:
            run(use)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []

    async def await_all() -> None:
        assert [await each for each in shared] == [404] * 3

    run(await_all)


def test_nothing_is_left(store: Store, conn: s3po.Connection) -> None:
    """After many calls and clients, closed or only forgotten, the number of threads and descriptors is bounded."""

    async def use(*, is_closed: bool) -> None:
        client = S3Client(store.endpoint_url, **KEYS)
        for _ in range(5):
            assert await asyncio.gather(*[client.get(KEY) for _ in range(20)]) == [404] * 20
        if is_closed:
            await client.__aexit__(None, None, None)

    def is_bounded() -> bool:
        # The look-up threads of the last event loop end with the next client.
        return own_threads() <= threads + 11 and len(os.listdir('/proc/self/fd')) <= descriptors + 16

    async def settle() -> None:
        await eventually(is_bounded)

    threads, descriptors = own_threads(), len(os.listdir('/proc/self/fd'))
    for number in range(8):
        asyncio.run(use(is_closed=number % 2 == 0))
        gc.collect()
    asyncio.run(settle())


def test_fork(client: S3Client) -> None:
    """A forked child has a thread of its own; the parent's call is refused there, and goes on in the parent."""

    async def use() -> None:
        assert (await client.put(KEY, b'data')) == 200
        response = client.get(KEY)
        child = os.fork()
        if not child:
            status = 1
            try:
                with pytest.raises(s3po.S3poError, match='parent of this process'):
                    response.status_code  # noqa: B018
                # The loop of the parent is still the running one.
                assert client.get(KEY).content == b'data'
                client.close()
                status = 0
            finally:
                os._exit(status)
        assert (await response).content == b'data'
        await eventually(lambda: os.waitpid(child, os.WNOHANG) == (child, 0))

    run(use)


PROGRAM = """
import asyncio, os, sys
import s3po
from s3po import S3Client

client = S3Client(sys.argv[1], access_key_id='key', secret_access_key='secret', region='us-east-1')

async def pieces():
    for _ in range(3):
        await asyncio.sleep(0.01)
        yield b'some bytes'

async def main():
    assert (await client.put('bucket/key', pieces())) == 200
    assert (await asyncio.create_task(client.get('bucket/key'))).content == b'some bytes' * 3
    await client.put('bucket/other', b'x')
    assert [len(page) async for page in client.list_objects_v2('bucket', max_keys=1)] == [1, 1]
    if sys.argv[2] == 'exit':
        async def endless():
            while True:
                await asyncio.sleep(0.01)
                yield b'x' * 1000000
        client.put_multipart('bucket/endless', endless())
        client.get('bucket/hangs')
        await asyncio.sleep(0.3)

asyncio.run(main())
print('done')
"""


@pytest.mark.parametrize('patch', ['', 'all', '0'])
@pytest.mark.parametrize('how', ['plain', 'exit'])
def test_programs(store: Store, conn: s3po.Connection, tmp_path: pathlib.Path, patch: str, how: str) -> None:
    """A program ends in time, with calls in progress too, whatever s3po patches; and prints no traceback."""
    store.script({'operation': 'GetObject', 'times': None, 'key': 'hangs', 'action': {'hang_s': 60}})
    began = time.monotonic()
    environment = {**os.environ, 'S3PO_PATCH': patch} if patch else os.environ
    ended = subprocess.run(
        [sys.executable, '-c', PROGRAM, store.endpoint_url, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ('done\n', 0), ended.stderr
    assert 'Traceback' not in ended.stderr
    assert time.monotonic() - began < 20
