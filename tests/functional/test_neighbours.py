"""Five programs that use other libraries with s3po, each in its own process. More are in tests/neighbours."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program, run_command

pytestmark = pytest.mark.slow

Run = Callable[..., Program]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a script, with warnings as errors."""

    def run_script(script: str, **environment: Any) -> Program:
        (tmp_path / 'script.py').write_text(textwrap.dedent(script))
        return run_command([sys.executable, '-W', 'error', 'script.py'], environment, tmp_path)

    return run_script


METHODS = ('fork', 'spawn', 'forkserver')


@pytest.mark.parametrize('method', METHODS)
def test_pool(run: Run, method: str) -> None:
    run(
        """
        import s3po
        import concurrent.futures, multiprocessing, sys

        def double(number):
            return 2 * number

        if __name__ == '__main__':
            context = multiprocessing.get_context(sys.argv[1] if sys.argv[1:] else METHOD)
            with context.Pool(2) as pool:
                assert pool.map(double, range(10)) == [2 * each for each in range(10)]
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
                assert list(executor.map(double, range(10))) == [2 * each for each in range(10)]
        """.replace('METHOD', repr(method))
    )


@pytest.mark.parametrize('method', METHODS)
def test_pipe(run: Run, method: str) -> None:
    run(
        """
        import s3po
        import multiprocessing, multiprocessing.connection, time

        def echo(pipe, queue):
            while (found := pipe.recv()) is not None:
                queue.put(found)

        def answer(address, ends):
            with multiprocessing.connection.Client(address, authkey=b'k') as client:
                client.send('hello')
                ends.send(client.recv())

        if __name__ == '__main__':
            context = multiprocessing.get_context(METHOD)
            here, there = context.Pipe()
            queue = context.Queue()
            child = context.Process(target=echo, args=(there, queue))
            child.start()
            time.sleep(0.2)  # the child waits
            here.send('x' * 1_000_000)
            assert queue.get(timeout=30) == 'x' * 1_000_000
            here.send(None)
            child.join()
            with context.Manager() as manager:
                shared = manager.dict()
                shared['key'] = 'value'
                assert dict(shared) == {'key': 'value'}
            with multiprocessing.connection.Listener(('localhost', 0), authkey=b'k') as listener:
                child = context.Process(target=answer, args=(listener.address, there))
                child.start()
                with listener.accept() as connection:
                    time.sleep(0.1)
                    connection.send(connection.recv())
                assert here.recv() == 'hello'
                child.join()
        """.replace('METHOD', repr(method))
    )


@pytest.mark.parametrize('when', ['first', 'inside the loop', 'in a thread'])
def test_asyncio_to_thread(run: Run, when: str) -> None:
    imports = {
        'first': ('import s3po', ''),
        'inside the loop': ('', 'import s3po'),
        'in a thread': ('', 'await asyncio.to_thread(__import__, "s3po")'),
    }
    first, inside = imports[when]
    run(f"""
        {first}
        import asyncio, subprocess, threading, time

        async def main():
            loop = asyncio.get_running_loop()
            assert await asyncio.to_thread(lambda: 41) == 41
            {inside}
            slow = [loop.run_in_executor(None, time.sleep, 0.2) for _ in range(4)]
            assert await asyncio.to_thread(lambda: 42) == 42
            await asyncio.gather(*slow)
            server = await asyncio.start_server(lambda reader, writer: writer.write(b'hello') or writer.close(), 'localhost', 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            assert await reader.read() == b'hello'
            writer.close()
            server.close()
            child = await asyncio.create_subprocess_exec('cat', stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            await asyncio.sleep(0.2)  # it waits, on a descriptor that has to block
            assert (await child.communicate(b'data'))[0] == b'data'

        asyncio.run(main())
        thread = threading.Thread(target=asyncio.run, args=(asyncio.sleep(0.01),))
        thread.start()
        thread.join()
    """)


SERVER = """
    import http.server, threading
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Length', '5')
            self.end_headers()
            self.wfile.write(b'hello')
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(('localhost', 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://localhost:{server.server_port}/'
"""


@pytest.mark.parametrize('order', ['first', 'second'])
def test_requests(run: Run, order: str) -> None:
    """requests works in threads and in greenlets, against a threaded server in the same process."""
    orders = {'first': 'import s3po; import requests', 'second': 'import requests; import s3po'}
    run(
        f'{orders[order]}\n'
        + textwrap.dedent(SERVER)
        + textwrap.dedent("""
        import concurrent.futures, gevent
        session = requests.Session()
        def get(_):
            assert session.get(url, timeout=20).content == b'hello'
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(get, range(20)))
        gevent.joinall([gevent.spawn(get, number) for number in range(20)], raise_error=True)
        server.shutdown()
        """)
    )


def test_imported_second(run: Run) -> None:
    """Threads, locks, queues, executors and sockets that were made before s3po is imported continue to work."""
    run("""
        import concurrent.futures, multiprocessing, queue, socket, subprocess, threading

        pool = concurrent.futures.ThreadPoolExecutor(2)
        lock, tasks, results = threading.Lock(), queue.Queue(), queue.Queue()
        def work():
            while (task := tasks.get()) is not None:
                with lock:
                    results.put(task())
        thread = threading.Thread(target=work)
        thread.start()
        one, other = socket.socketpair()
        reading = pool.submit(one.recv, 100)
        here, there = multiprocessing.Pipe()

        import s3po

        tasks.put(lambda: 42)
        assert results.get(timeout=20) == 42
        other.sendall(b'data')
        assert reading.result(20) == b'data'
        there.send('hello')
        assert pool.submit(here.recv).result(20) == 'hello'
        assert subprocess.run(['echo', 'hello'], capture_output=True, check=True).stdout == b'hello\\n'
        tasks.put(None)
        thread.join(20)
        assert not thread.is_alive()
        pool.shutdown()
    """)
