"""If native threads run, importing s3po patches the network and nothing that those threads wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import NATIVE_THREAD, Runner
from tests.support.servers import Authority, Store

pytestmark = pytest.mark.slow

SLOW_GET = {'operation': 'GetObject', 'action': {'delay_s': 0.5}}


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(scope='module')
def running(authority: Authority) -> Iterator[Store]:
    with Store(authority) as store:
        yield store


@pytest.fixture
def store(running: Store) -> Store:
    running.reset()
    return running


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


def test_beside_a_native_thread_it_patches_what_carries_bytes(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run(
        NATIVE_THREAD,
        """
        import s3po
        assert all(map(is_patched, ('socket', 'ssl', 'time')))
        assert not any(map(is_patched, ('threading', 'queue', 'select', 'os', 'subprocess')))
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
        """,
    )

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


@pytest.mark.parametrize('when', ['at import', 'by call'])
def test_beside_a_native_thread_the_full_patch_is_refused(run: Runner, when: str) -> None:
    """If a native thread runs, a full patch is refused: it would replace locks that the thread waits for."""
    program = run(
        NATIVE_THREAD,
        'import s3po' if when == 'at import' else 'import s3po\ns3po.patch_all()',
        """
        assert all(map(is_patched, ('socket', 'ssl', 'time')))
        assert not any(map(is_patched, ('threading', 'queue', 'select', 'os', 'subprocess')))
        """,
        S3PO_PATCH='all' if when == 'at import' else '0',
    )

    [warning] = program.warnings
    assert 'other native threads are running' in warning


def test_late_and_beside_a_native_thread_everything_works(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run(
        NATIVE_THREAD,
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        import s3po
        get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
        make_client().put_object(Bucket='b', Key='k', Body=b'data')
        """,
    )

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


THREADED_SERVER = """
    import http.server, ssl, threading
    class Echo(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass
    def serve():
        server = http.server.ThreadingHTTPServer(('localhost', 0), Echo)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ['SERVER'])
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f'https://localhost:{server.server_port}/'
"""


def test_beside_native_threads_sockets_may_go_from_thread_to_thread(run: Runner, authority: Authority) -> None:
    """Sockets can be passed between threads: by a threaded server, and by a session that shares its connections."""
    run(
        THREADED_SERVER,
        """
        import concurrent.futures
        urls = [serve()]
        import s3po, gevent, requests
        urls.append(serve())
        session = requests.Session()
        session.verify = ca
        body = b'data' * 100_000
        def post(url):
            assert session.post(url, data=body, timeout=10).content == body
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(post, urls * 20))
            # and now together with greenlets, on the same pooled connections
            in_threads = [pool.submit(post, url) for url in urls * 20]
            gevent.joinall([gevent.spawn(post, url) for url in urls * 20], raise_error=True)
            for each in in_threads:
                each.result()
        """,
        SERVER=str(authority.server_pem),
        # Without coverage: with threads and greenlets at once, its callbacks sometimes lose exceptions.
        COVERAGE_PROCESS_CONFIG='',
    )


def test_beside_native_threads_those_without_greenlets_cost_nothing(run: Runner) -> None:
    """Threads without greenlets get no gevent loop, which would not be freed: a server would run out of descriptors."""
    run(
        NATIVE_THREAD,
        """
        import s3po, socket, sys, time
        client = make_client()
        client.create_bucket(Bucket='b')
        def work():
            time.sleep(0.001)
            socket.getaddrinfo('localhost', 80)
            socket.create_connection(('localhost', int(endpoint.rpartition(':')[2])), timeout=10).close()
            client.list_buckets()
        def count():
            return len(sys._current_frames()), len(os.listdir('/dev/fd'))
        def run_threads(number):
            for _ in range(number):
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
        run_threads(1)
        before = count()
        run_threads(20)
        # One or two may be on their way out still.
        assert all(now < then + 10 for now, then in zip(count(), before)), (before, count())
        """,
    )


def test_beside_native_threads_timeouts_hold_in_threads_without_greenlets(run: Runner) -> None:
    run(
        NATIVE_THREAD,
        """
        import s3po, socket
        one, other = socket.socketpair()
        one.settimeout(0.05)
        for call in (lambda: one.recv(1), lambda: one.sendall(bytes(10_000_000))):
            try:
                call()
            except TimeoutError:
                pass
            else:
                raise AssertionError('no timeout')
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
        try:
            socket.create_connection(('127.0.0.1', port), timeout=5)
        except ConnectionRefusedError:
            pass
        from s3po import runtime
        assert not runtime.has_greenlets()
        """,
    )
