"""s3po imported late: in pytest, pytest-xdist, a notebook, and a process whose credentials expire."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import CLIENT, NATIVE_THREAD, Runner, run_command
from tests.support.servers import Authority, MotoServer, Store

pytestmark = pytest.mark.slow


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


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


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


NOTEBOOK = """
    import sys
    from jupyter_client.manager import start_new_kernel
    CELLS = [
        '''
        import os, boto3
        endpoint, ca = os.environ['ENDPOINT'], os.environ['CA']
        boto3.client('s3', endpoint_url=endpoint, verify=ca, region_name='us-east-1',
                     aws_access_key_id='a', aws_secret_access_key=os.environ['SECRET']).list_buckets()
        ''',
        '''
        import s3po
        keys = {'access_key_id': 'a', 'secret_access_key': os.environ['SECRET']}
        conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', verify=ca, **keys)
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
        '''
        with conn.batch(10, processes=2) as batch:
            for number in range(30):
                batch.upload('notebook', f'by a process {number}', b'data')
            batch.wait()
            pids = [worker.pid for worker in batch._processes._workers]
        assert batch.report().succeeded == 30
        assert len(set(pids)) == 2
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

    assert program.warnings == []


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
    """A server of credentials: the first ones must be refreshed at once, later ones are valid for hours."""
    command = [sys.executable, '-c', textwrap.dedent(CREDENTIALS_SERVER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f'http://127.0.0.1:{int(server.stdout.readline())}'
        server.stdin.close()


@pytest.mark.parametrize(
    ('before', 'environment'),
    [('', {}), ('', {'S3PO_PATCH': 'all'}), ('', {'S3PO_PATCH': '0'}), (NATIVE_THREAD, {})],
    ids=['narrowly patched', 'fully patched', 'not patched', 'beside a native thread'],
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
