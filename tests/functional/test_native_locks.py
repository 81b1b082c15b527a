"""Greenlets of one thread that meet at botocore's locks, which are native, in clients that the user has created.

Each case runs in a process of its own, since the order of imports matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kinds import KINDS
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

pytestmark = pytest.mark.slow

# Expiring keys from a slow service: the first ones expire at once, later ones after an hour.
SERVICE = """
    import http.server, json, threading, time
    from datetime import datetime, timedelta, timezone

    class Service(http.server.BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self):
            Service.asked += 1
            lifetime = timedelta(minutes=1 if Service.asked == 1 else 60)
            threading.Event().wait(0.5)
            keys = {'AccessKeyId': 'AKIA', 'SecretAccessKey': secret, 'Token': 'T',
                    'Expiration': (datetime.now(timezone.utc) + lifetime).isoformat()}
            body = json.dumps(keys).encode()
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = f'http://127.0.0.1:{server.server_port}/keys'
    os.environ['AWS_EC2_METADATA_DISABLED'] = 'true'

    def make_own_client():
        import boto3
        client = boto3.session.Session().client('s3', endpoint_url=endpoint, verify=ca, region_name='us-east-1')
        client.create_bucket(Bucket='bucket')
        assert Service.asked == 2, 'the first keys have expired already'
        client.put_object(Bucket='bucket', Key='k', Body=b'data')
        return client
"""

MEET = """
    import s3po, gevent
    assert not is_patched('threading')

    def read():
        return client.get_object(Bucket='bucket', Key='k')['Body'].read()

    def expire():
        client._request_signer._credentials._expiry_time = datetime.now(timezone.utc) + timedelta(minutes=1)

    def meet_in_callbacks(transport):
        conn = s3po.Connection(endpoint_url=endpoint, verify=ca, region='us-east-1', access_key_id='a',
                               secret_access_key=secret, transport=transport)
        expire()
        with conn.batch(50) as batch:
            for _ in range(50):
                batch.download('bucket', 'k', callback=lambda body: body + read())
        assert batch.results() == [b'datadata'] * 50
        assert Service.asked == 3, 'one of them has refreshed the keys for all'

    def meet_with_a_connection(transport):
        conn = s3po.Connection(client=client, transport=transport)
        expire()
        with conn.batch(50) as batch:
            reading = [gevent.spawn(read) for _ in range(25)]
            for _ in range(50):
                batch.download('bucket', 'k', callback=lambda body: body + read())
            gevent.joinall(reading, raise_error=True)
        assert batch.results() == [b'datadata'] * 50
        assert Service.asked == 4
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


@pytest.fixture
def run(authority: Authority, store: Store, tmp_path: Path) -> Runner:
    return Runner(authority, store.endpoint_url, tmp_path)


@pytest.mark.parametrize('transport', KINDS)
def test_own_client_whose_keys_expire(run: Runner, transport: str) -> None:
    """Fifty greenlets that need new keys wait for the one that fetches them, and do not block it."""
    run('import s3po', SERVICE, 'client = make_own_client()', MEET, meet_over(transport))


@pytest.mark.parametrize('transport', KINDS)
def test_own_client_made_before_a_late_import(run: Runner, transport: str) -> None:
    """The same holds for a client whose lock was created before s3po was imported."""
    run(SERVICE, 'client = make_own_client()', MEET, meet_over(transport))


def meet_over(transport: str) -> str:
    return f'\nmeet_in_callbacks({transport!r})\nmeet_with_a_connection({transport!r})'


def test_own_client_without_a_batch(run: Runner) -> None:
    """The same holds without a batch or any other use of s3po."""
    run(
        'import s3po',
        SERVICE,
        'client = make_own_client()',
        MEET,
        'expire()\nget_side_by_side(read, count=50)\nassert Service.asked == 3',
    )


def test_own_token_that_expires(run: Runner) -> None:
    """A bearer token (SSO), which has its own lock, can be refreshed by many greenlets."""
    run(
        """
        import s3po, gevent
        from datetime import datetime, timedelta, timezone
        from botocore.tokens import DeferredRefreshableToken, FrozenAuthToken

        asked = []

        def fetch():
            asked.append(None)
            gevent.sleep(0.2)
            return FrozenAuthToken('token', datetime.now(timezone.utc) + timedelta(hours=1))

        token = DeferredRefreshableToken('sso', fetch)
        waiting = [gevent.spawn(token.get_frozen_token) for _ in range(50)]
        with gevent.Timeout(10):
            gevent.joinall(waiting, raise_error=True)
        assert len(asked) == 1 and all(each.value.token == 'token' for each in waiting)
        """,
    )


@pytest.mark.parametrize('order', ['import s3po, gevent\nmake()', 'bucket = make()\nimport s3po, gevent'])
def test_own_client_with_adaptive_retries(run: Runner, order: str) -> None:
    """A wait in botocore's adaptive retries lets other greenlets run; greenlets and native threads can share the bucket."""
    run(
        """
        import threading, time

        def make():
            from botocore.retries.bucket import Clock, TokenBucket
            bucket = TokenBucket(max_rate=20, clock=Clock())
            bucket.acquire()
            return bucket
        """,
        order.replace('\nmake', '\nbucket = make'),
        """
        ticks = []

        def tick():
            while True:
                ticks.append(None)
                gevent.sleep(0.01)

        ticker = gevent.spawn(tick)
        thread = threading.Thread(target=lambda: [bucket.acquire() for _ in range(5)])
        thread.start()
        began = time.monotonic()
        gevent.joinall([gevent.spawn(bucket.acquire) for _ in range(40)], raise_error=True)
        assert time.monotonic() - began > 0.5, 'it is a limit still: it holds 20, and gets 20 a second'
        assert len(ticks) > 10
        thread.join()
        """,
    )


@pytest.mark.parametrize(
    'order', ['import s3po, gevent\nimport s3transfer.futures', 'import s3transfer.futures\nimport s3po, gevent']
)
def test_the_end_of_a_transfer_of_boto3_yields(run: Runner, order: str) -> None:
    """s3transfer joins its threads; one of them may need a lock that a greenlet holds, for example after an interruption."""
    run(
        order,
        """
        import threading
        lock = threading.Lock()

        def hold():
            with lock:
                gevent.sleep(0.3)

        holding = gevent.spawn(hold)
        gevent.sleep(0)
        executor = s3transfer.futures.BoundedExecutor(10, 2)
        task = type('Task', (), {'transfer_id': 1, '__call__': lambda self, ctx=None: lock.acquire()})()
        future = executor.submit(task)
        executor.shutdown()
        assert future.done() and holding.ready()
        """,
    )


def test_nothing_is_touched_where_nothing_is_patched(run: Runner) -> None:
    run(
        """
        import sys
        finders = list(sys.meta_path)
        import s3po
        assert sys.meta_path == finders
        import botocore.credentials
        assert '_refresh_lock' not in vars(botocore.credentials.RefreshableCredentials)
        """,
        S3PO_PATCH='0',
    )


def test_botocore_is_not_imported_with_s3po(run: Runner) -> None:
    """Importing s3po does not import botocore, and the import hook is removed after botocore's locks were replaced."""
    run(
        """
        import sys
        import s3po
        assert not [name for name in sys.modules if name.startswith(('boto', 's3transfer'))]
        import botocore.credentials, botocore.tokens, botocore.retries.bucket, s3transfer.futures
        import importlib.util, inspect
        assert not [finder for finder in sys.meta_path if 's3po' in type(finder).__module__]
        assert 'class RefreshableCredentials' in inspect.getsource(botocore.credentials)
        assert importlib.util.find_spec('botocore.credentials') is not None
        assert not hasattr(botocore.credentials, 'nothing')
        """
    )
