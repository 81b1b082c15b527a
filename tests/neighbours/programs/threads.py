"""Threads: `threads pipes` is ThreadPoolExecutor with os.pipe; `threads asyncio` is event loops in threads."""

from tests.neighbours.programs.shared import import_s3po, transfer

import_s3po('first')

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import_s3po('second')

COUNT = 4


def read(descriptor):
    """Read to the end: a native wait, which must not block the writing threads."""
    with os.fdopen(descriptor, 'rb') as file:
        return file.read()


def write(descriptor, data):
    with os.fdopen(descriptor, 'wb') as file:
        file.write(data)


def through_pipes(pool, name):
    """Send bytes through pipes. Their readers wait for as many writers in the same pool, some of which transfer first."""
    pipes = [os.pipe() for _ in range(COUNT)]
    readers = [pool.submit(read, reading) for reading, _ in pipes]
    transfers = [pool.submit(transfer, f'{name}/{number}') for number in range(COUNT // 2)]
    data = bytes(1_000_000)
    for _, writing in pipes:
        pool.submit(write, writing, data)
    assert [reader.result(20) for reader in readers] == [data] * COUNT
    for number, each in enumerate(transfers):
        assert each.result(20) == f'{name}/{number}'


def use_pipes():
    with ThreadPoolExecutor(2 * COUNT) as pool:
        assert list(pool.map(len, ['', 'a'])) == [0, 1]
        for name in ('before', 'after'):
            through_pipes(pool, name)
            transfer(name, is_large=True)


async def answer(reader, writer):
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()


async def ask_itself():
    """A server and a client in the same event loop."""
    server = await asyncio.start_server(answer, '127.0.0.1', 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b'line\n')
        assert await reader.read() == b'line\n'
        writer.close()
        await writer.wait_closed()


async def work(name):
    loop = asyncio.get_running_loop()
    await ask_itself()
    await asyncio.sleep(0.01)
    assert await loop.run_in_executor(None, len, 'ab') == 2
    names = [f'{name}/{number}' for number in range(COUNT)]
    assert await asyncio.gather(*[asyncio.to_thread(transfer, each) for each in names], ask_itself()) == [*names, None]
    program = await asyncio.create_subprocess_exec(sys.executable, '-c', 'print(1)', stdout=asyncio.subprocess.PIPE)
    assert (await program.communicate())[0] == b'1\n'
    await ask_itself()


def use_asyncio():
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(asyncio.run, work('thread'))
        transfer('main', is_large=True)
        inside.result(20)
    # And in the event loop of the main thread.
    asyncio.run(work('main'))
    # A running event loop, to which other threads submit work.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(work('forever'), loop).result(20)
    transfer('main again')
    asyncio.run_coroutine_threadsafe(work('forever again'), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


if __name__ == '__main__':
    globals()[f'use_{sys.argv[1]}']()
    print('done', flush=True)
