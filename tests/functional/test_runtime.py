"""What `import s3po` does to programs, each a process of its own, with real HTTPS on loopback.

The scripts tell what happened by their exit code and output. That requests were under way together is told by the store:
it counts the connections that were open at once, while each answer takes a while.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.servers import Authority, MotoServer, Store

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
SLOW_GET = {'operation': 'GetObject', 'action': {'delay_s': 0.5}}

# What every script may use. It imports nothing, so that each script decides upon the order.
CLIENT = """
    import os
    endpoint, ca = os.environ['ENDPOINT'], os.environ['CA']

    def make_client():
        import boto3
        client = boto3.client('s3', endpoint_url=endpoint, verify=ca, region_name='us-east-1',
                              aws_access_key_id='a', aws_secret_access_key='b')
        return client

    def is_patched(name):
        from gevent import monkey
        return monkey.is_module_patched(name)

    def get_side_by_side(get, count=20):
        import gevent
        bodies = [gevent.spawn(get) for _ in range(count)]
        gevent.joinall(bodies, raise_error=True)
        assert [body.value for body in bodies] == [b'data'] * count
"""

NATIVE_THREAD = """
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


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


@pytest.fixture(scope='module')
def moto(authority: Authority) -> Iterator[MotoServer]:
    with MotoServer(authority) as server:
        yield server


class Program:
    """What a finished process left behind."""

    def __init__(self, finished: subprocess.CompletedProcess[str]) -> None:
        self.out = finished.stdout
        self.err = finished.stderr

    @property
    def warnings(self) -> list[str]:
        """Its lines about a late import."""
        return [line for line in self.err.splitlines() if 'LateImportWarning' in line]


def run_command(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Program:
    """Run a command in a clean environment; it must end by itself, and well."""
    # Not the rest: certificate bundles, proxies, credentials and warning filters would all tell.
    kept = {name: os.environ[name] for name in ('PATH', 'LANG', 'TMPDIR', 'LD_LIBRARY_PATH') if name in os.environ}
    paths = {'PYTHONPATH': str(CHECKOUT), 'HOME': str(directory), 'PYTHONDONTWRITEBYTECODE': '1'}
    try:
        finished = subprocess.run(
            command,
            check=False,
            env={**kept, **paths, **environment},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as expired:
        pytest.fail(f'no end after {LIMIT_S} s\nstdout: {expired.stdout!r}\nstderr: {expired.stderr!r}')
    if finished.returncode:
        pytest.fail(f'exit code {finished.returncode}\nstdout: {finished.stdout}\nstderr: {finished.stderr}')
    program = Program(finished)
    assert 'MonkeyPatchWarning' not in program.err
    return program


class Runner:
    """Runs scripts against one store."""

    def __init__(self, authority: Authority, endpoint_url: str, directory: Path) -> None:
        self.environment = {'CA': str(authority.ca_pem), 'ENDPOINT': endpoint_url}
        self.directory = directory

    def __call__(self, *pieces: str, **environment: str) -> Program:
        script = ''.join(textwrap.dedent(piece) for piece in (CLIENT, *pieces))
        (self.directory / 'script.py').write_text(script)
        command = [sys.executable, '-W', 'always', 'script.py']
        return run_command(command, {**self.environment, **environment}, self.directory)


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


# -- first, or not at all -----------------------------------------------------------------------------------------------


def test_imported_first_it_patches_everything_and_warns_of_nothing(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run("""
        import s3po
        assert is_patched('socket') and is_patched('threading') and is_patched('ssl') and is_patched('queue')
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        get_side_by_side(lambda: client.get_object(Bucket='b', Key='k')['Body'].read())
    """)

    assert program.warnings == []
    assert store.stats()['peak_open'] >= 20


def test_opted_out_it_patches_nothing(run: Runner) -> None:
    program = run(
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        import s3po, ssl, time, socket
        assert not any(map(is_patched, ('socket', 'ssl', 'threading', 'time', 'queue', 'select')))
        assert ssl.SSLContext.__module__ == 'ssl' and socket.socket.__module__ == 'socket'
        for each in (client, make_client()):
            each.put_object(Bucket='b', Key='k', Body=b'data')
            assert each.get_object(Bucket='b', Key='k')['Body'].read() == b'data'
        """,
        S3PO_PATCH='0',
    )

    assert program.warnings == []


def test_a_program_that_patched_by_itself_is_left_alone(run: Runner) -> None:
    program = run("""
        from gevent import monkey
        monkey.patch_all(queue=False)
        import ssl
        patched = ssl.SSLContext
        client = make_client()
        import s3po
        assert ssl.SSLContext is patched and not is_patched('queue')
        client.create_bucket(Bucket='b')
    """)

    assert program.warnings == []


# -- late ---------------------------------------------------------------------------------------------------------------


def test_late_after_boto3_old_and_new_clients_work_and_are_cooperative(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run("""
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        import s3po
        assert is_patched('threading')
        for each in (client, make_client()):
            each.put_object(Bucket='b', Key='k', Body=b'data')
            get_side_by_side(lambda: each.get_object(Bucket='b', Key='k')['Body'].read())
    """)

    assert len(program.warnings) == 1
    assert store.stats()['peak_open'] >= 20


def test_late_after_requests_and_urllib3_old_and_new_sessions_work_and_are_cooperative(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run("""
        import requests, ssl, urllib3
        def make_getters():
            session = requests.Session()
            session.verify = ca
            pool = urllib3.PoolManager(ca_certs=ca)
            return [lambda: session.get(endpoint + '/b/k').content, lambda: pool.request('GET', endpoint + '/b/k').data]
        requests.put(endpoint + '/b', verify=ca).raise_for_status()
        requests.put(endpoint + '/b/k', data=b'data', verify=ca).raise_for_status()
        old = make_getters()
        assert [get() for get in old] == [b'data'] * 2
        import s3po
        for get in old + make_getters():
            get_side_by_side(get)
    """)

    assert len(program.warnings) == 1
    assert store.stats()['peak_open'] >= 20


def test_late_contexts_of_all_ages_keep_their_settings_and_class(run: Runner) -> None:
    program = run("""
        import ssl
        from ssl import SSLContext
        class Derived(SSLContext):
            pass
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        import s3po
        def is_right(conn, *rest): pass
        # Callbacks for a server's name cannot be set on clients' contexts.
        for context in (old, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
                        *(kind(ssl.PROTOCOL_TLS_SERVER) for kind in (SSLContext, ssl.SSLContext, Derived))):
            assert isinstance(context, ssl.SSLContext)
            context.options |= ssl.OP_NO_TICKET
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
            context._msg_callback = context.sni_callback = is_right
            assert context.options & ssl.OP_NO_TICKET and context.verify_flags & ssl.VERIFY_X509_STRICT
            assert context.verify_mode is ssl.CERT_NONE
            assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_2
            assert context._msg_callback is context.sni_callback is is_right
            context._msg_callback = context.sni_callback = None
            assert context._msg_callback is context.sni_callback is None
    """)

    assert len(program.warnings) == 1


def test_late_servers_choose_their_certificate_by_name_as_before(run: Runner, authority: Authority) -> None:
    run(
        """
        import socket, ssl
        seen = []
        def choose(connection, name, context):
            seen.append(name)
            connection.context = serving
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(os.environ['SERVER'])
        serving.sni_callback = choose
        import s3po, gevent
        listener = socket.create_server(('127.0.0.1', 0))
        def serve():
            with serving.wrap_socket(listener.accept()[0], server_side=True) as connection:
                connection.sendall(connection.recv(100))
        server = gevent.spawn(serve)
        trusting = ssl.create_default_context(cafile=ca)
        with trusting.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname='localhost') as client:
            client.sendall(b'data')
            assert client.recv(100) == b'data'
        server.get()

        # asyncio's TLS knows of no sockets
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(incoming, outgoing, server_hostname='localhost')
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        answered = serving.wrap_bio(outgoing, incoming, server_side=True)
        try:
            answered.do_handshake()
        except ssl.SSLWantReadError:
            pass
        assert seen == ['localhost'] * 2
        """,
        SERVER=str(authority.server_pem),
    )


def test_late_after_ssl_that_nobody_used_it_only_logs(run: Runner) -> None:
    program = run("""
        import logging, ssl, http.client, urllib.request, asyncio
        logging.basicConfig(level=logging.INFO)
        import s3po
        client = make_client()
        client.create_bucket(Bucket='b')
    """)

    assert program.warnings == []
    assert program.err.count('INFO:s3po.runtime') == 1


def test_the_warning_names_the_fix_and_points_at_the_import(run: Runner) -> None:
    program = run("""
        import importlib, urllib3
        importlib.import_module(
            's3po')
    """)

    [warning] = program.warnings
    line = re.match(r'.*script\.py:(\d+): ', warning)
    assert line is not None and 'import_module' in (run.directory / 'script.py').read_text().splitlines()[int(line[1]) - 1]
    assert 'import s3po' in warning.lower() and 'gevent.monkey.patch_all()' in warning and 'S3PO_PATCH=0' in warning


# -- beside native threads ----------------------------------------------------------------------------------------------


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

    assert len(program.warnings) == 1
    assert store.stats()['peak_open'] >= 20


def test_late_and_beside_a_native_thread_it_warns_once(run: Runner, store: Store) -> None:
    store.script(SLOW_GET)

    program = run(
        NATIVE_THREAD,
        """
        client = make_client()
        client.create_bucket(Bucket='b')
        client.put_object(Bucket='b', Key='k', Body=b'data')
        import s3po
        for each in (client, make_client()):
            get_side_by_side(lambda: each.get_object(Bucket='b', Key='k')['Body'].read())
        """,
    )

    assert len(program.warnings) == 1
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
    """A threaded server hands each connection to a new thread, and a session shares its connections."""
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
            list(pool.map(post, urls * 50))
            # and now together with greenlets, on the same pooled connections
            in_threads = [pool.submit(post, url) for url in urls * 50]
            gevent.joinall([gevent.spawn(post, url) for url in urls * 50], raise_error=True)
            for each in in_threads:
                each.result()
        """,
        SERVER=str(authority.server_pem),
    )


def test_beside_native_threads_those_without_greenlets_cost_nothing(run: Runner) -> None:
    """A gevent loop is not freed with its thread: a threaded server would run out of descriptors."""
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


# -- inside other programs ----------------------------------------------------------------------------------------------


def write_suite(directory: Path, conftest: str = '') -> None:
    (directory / 'conftest.py').write_text(textwrap.dedent(conftest))
    (directory / 'test_it.py').write_text(
        textwrap.dedent(CLIENT)
        + textwrap.dedent("""
        import pytest
        import boto3

        @pytest.mark.parametrize('number', range(4))
        def test_it(number):
            import s3po
            client = make_client()
            bucket = f'bucket-{number}'
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key='k', Body=b'data')
            get_side_by_side(lambda: client.get_object(Bucket=bucket, Key='k')['Body'].read())
        """)
    )


@pytest.mark.parametrize('workers', [(), ('-n', '2')], ids=['alone', 'xdist'])
@pytest.mark.parametrize(
    ('conftest', 'policy'),
    [('', 'default'), ('import boto3\nimport s3po\n', 'error')],
    ids=['imported in a test', 'in conftest with warnings as errors'],
)
def test_inside_pytest(run: Runner, conftest: str, workers: tuple[str, ...], policy: str) -> None:
    write_suite(run.directory, conftest)

    command = [
        sys.executable,
        '-m',
        'pytest',
        '-p',
        'no:cacheprovider',
        '-W',
        policy,
        '-W',
        'ignore::DeprecationWarning',
    ]
    program = run_command([*command, *workers, 'test_it.py'], run.environment, run.directory)

    assert '4 passed' in program.out


def test_pytest_shows_the_warning(run: Runner) -> None:
    write_suite(run.directory)

    command = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', 'test_it.py']
    program = run_command(command, run.environment, run.directory)

    assert program.out.count('LateImportWarning: s3po was imported late') == 1


NOTEBOOK = """
    import sys
    from jupyter_client.manager import start_new_kernel
    CELLS = [
        '''
        import os, boto3
        endpoint, ca = os.environ['ENDPOINT'], os.environ['CA']
        boto3.client('s3', endpoint_url=endpoint, verify=ca, region_name='us-east-1',
                     aws_access_key_id='a', aws_secret_access_key='b').list_buckets()
        ''',
        '''
        import s3po
        conn = s3po.Connection(endpoint_url=endpoint, access_key_id='a', secret_access_key='b', region='us-east-1', verify=ca)
        conn.create_bucket('notebook')
        ''',
        '''
        got = []
        with conn.batch(10) as batch:
            for number in range(30):
                batch.upload('notebook', str(number), b'data')
        with conn.batch(10) as batch:
            for number in range(30):
                batch.download('notebook', str(number), callback=got.append)
        assert got == [b'data'] * 30
        ''',
    ]
    manager, client = start_new_kernel(startup_timeout=30)
    try:
        for cell in CELLS:
            import textwrap
            answer = client.execute_interactive(textwrap.dedent(cell), timeout=30)
            assert answer['content']['status'] == 'ok', answer['content']
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
"""


def test_inside_a_notebook(authority: Authority, moto: MotoServer, tmp_path: Path) -> None:
    run = Runner(authority, moto.endpoint_url, tmp_path)

    program = run(NOTEBOOK, IPYTHONDIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path))

    assert len(program.warnings) == 1


# -- credentials that expire under many greenlets -----------------------------------------------------------------------

CREDENTIALS_SERVER = """
    import datetime, http.server, json, sys, threading, time
    asked = []
    class Credentials(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == '/asked':
                return self.answer({'asked': len(asked)})
            asked.append(self.path)
            lifetime_s = 60 if len(asked) == 1 else 6 * 3600
            time.sleep(0.2)
            expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=lifetime_s)
            self.answer({'AccessKeyId': f'AK{len(asked)}', 'SecretAccessKey': 's', 'Token': 't',
                         'Expiration': expiry.strftime('%Y-%m-%dT%H:%M:%SZ')})
        def answer(self, values):
            body = json.dumps(values).encode()
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Credentials)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def credentials_url() -> Iterator[str]:
    """Gives credentials that must be refreshed at once, and then such as last for hours."""
    command = [sys.executable, '-c', textwrap.dedent(CREDENTIALS_SERVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        yield f'http://127.0.0.1:{int(server.stdout.readline())}'
        server.stdin.close()


@pytest.mark.parametrize(
    ('before', 'environment'),
    [('', {}), ('', {'S3PO_PATCH': '0'}), (NATIVE_THREAD, {})],
    ids=['fully patched', 'not patched', 'beside a native thread'],
)
def test_credentials_expiring_under_many_greenlets_are_refreshed_once(
    run: Runner, credentials_url: str, before: str, environment: dict[str, str]
) -> None:
    run(
        before,
        """
        import s3po
        import gevent, json, urllib.request
        url = os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI']
        make_client().create_bucket(Bucket='bucket')  # with keys of its own
        conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', verify=ca)
        uploads = [gevent.spawn(conn.upload, 'bucket', str(number), b'data') for number in range(50)]
        gevent.joinall(uploads, raise_error=True)
        assert len(list(conn.list('bucket'))) == 50
        with urllib.request.urlopen(url.replace('/creds', '/asked')) as answer:
            assert json.load(answer) == {'asked': 2}
        """,
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f'{credentials_url}/creds',
        **environment,
    )
