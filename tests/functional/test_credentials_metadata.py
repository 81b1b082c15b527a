"""MetadataCredentials: EC2's and containers' services with all kinds of responses, and the refreshing greenlet."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import pathlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.pool
import pytest
from gevent import monkey

import s3po
from s3po.credentials import MetadataCredentials, StaticCredentials, merge_credentials, metadata, services
from s3po.errors import CredentialsError
from tests.support.canaries import SECRET_ACCESS_KEY, SESSION_TOKEN, secrets_in
from tests.support.kinds import KINDS, Kind
from tests.support.metadata import MetadataService
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

BUCKET = 'bucket'
ROLE = '/security-credentials/'
KEYS = '/security-credentials/role'


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    """EC2's metadata service, configured in the environment."""
    found = MetadataService()
    found.start()
    monkeypatch.delenv('AWS_EC2_METADATA_DISABLED')
    monkeypatch.setenv('AWS_EC2_METADATA_SERVICE_ENDPOINT', found.url)
    yield found
    found.stop()


@pytest.fixture
def container(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> MetadataService:
    """The credentials service of a container, configured in the environment."""
    monkeypatch.setenv('AWS_CONTAINER_CREDENTIALS_FULL_URI', f'{service.url}/container')
    return service


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


def started() -> MetadataCredentials:
    """Credentials after start()."""
    credentials = MetadataCredentials()
    credentials.start()
    return credentials


# ---------------------------------------------------------------------- as in the seed


def test_seed(service: MetadataService, store: Store, conn: s3po.Connection, kind: Kind) -> None:
    """start() and stop() can be awaited; between them a connection uses the cached keys."""

    async def main() -> None:
        credentials = MetadataCredentials()
        await credentials.start()
        assert (credentials.access_key_id, credentials.secret_access_key) == ('key', SECRET_ACCESS_KEY)
        assert (credentials.session_token, credentials.region, bool(credentials)) == (SESSION_TOKEN, None, True)
        with s3po.Connection(
            endpoint_url=store.endpoint_url, region='us-east-1', credentials=credentials, transport=kind.name
        ) as connection:
            connection.upload(BUCKET, 'key', b'data')
            assert connection.download(BUCKET, 'key') == b'data'
        await credentials.stop()
        await credentials.stop()
        assert not credentials
        assert credentials.secret_access_key == ''

    asyncio.run(main())

    assert store.log('PutObject')[0]['headers']['x-amz-security-token'] == SESSION_TOKEN
    assert [target for _, target, _ in service.asked] == [
        '/latest/api/token',
        '/latest/meta-data/iam/security-credentials/',
        '/latest/meta-data/iam/security-credentials/role',
    ]


def test_without_start(service: MetadataService, store: Store, conn: s3po.Connection, kind: Kind) -> None:
    """Without start(), fifty greenlets wait for one request to the service, also if it is one of several sources."""
    for number, source in enumerate((MetadataCredentials(), merge_credentials(StaticCredentials(), MetadataCredentials()))):
        with s3po.Connection(
            endpoint_url=store.endpoint_url, region='us-east-1', credentials=source, transport=kind.name
        ) as connection:
            with connection.batch(50) as batch:
                for each in range(50):
                    batch.upload(BUCKET, str(each), b'')
            assert connection.conn.meta.region_name == 'us-east-1'
        assert len(service.asked) == 3 * (number + 1)


def test_shared_by_connections(service: MetadataService, store: Store, conn: s3po.Connection) -> None:
    """Connections share the cached keys; new keys are requested when the store reports that they have expired."""
    with MetadataCredentials() as credentials:
        for _ in range(3):
            with s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1', credentials=credentials) as connection:
                connection.upload(BUCKET, 'key', b'')
        assert len(service.asked) == 3
        action = {'status': 400, 'code': 'ExpiredToken', 'message': 'expired'}
        store.script({'operation': 'PutObject', 'times': 1, 'action': action})
        with s3po.Connection(endpoint_url=store.endpoint_url, region='us-east-1', credentials=credentials) as connection:
            assert connection.upload(BUCKET, 'key', b'', retries=1).attempts == 2
        assert len(service.asked) == 6


def test_no_proxy(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is used for the metadata service: it would see the keys of the role."""
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    with MetadataCredentials() as credentials:
        assert credentials.access_key_id == 'key'


# ---------------------------------------------------------------------- containers


def test_container(container: MetadataService, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A container's service is reached by a full or a relative URL, with the token of the environment or of a file."""
    started()
    assert (container.authorization, container.asked) == ('', [('GET', '/container', False)])
    monkeypatch.setenv('AWS_CONTAINER_AUTHORIZATION_TOKEN', 'of environment')
    started()
    assert container.authorization == 'of environment'
    monkeypatch.setenv('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE', str(tmp_path / 'token'))
    (tmp_path / 'token').write_text('of file')
    credentials = started()
    assert container.authorization == 'of file'
    (tmp_path / 'token').write_text('another')
    credentials.stop()
    credentials.start()
    assert container.authorization == 'another'
    monkeypatch.setattr('botocore.utils.ContainerMetadataFetcher.IP_ADDRESS', container.url.removeprefix('http://'))
    monkeypatch.setenv('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI', '/rest/container')
    started()
    assert container.asked[-1][1] == '/rest/container'


def test_container_token(container: MetadataService, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A missing token file, or a token with a line end, is an error; the message does not contain the token."""
    monkeypatch.setenv('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE', str(tmp_path / 'token'))
    with pytest.raises(CredentialsError, match='AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: .*token cannot be read'):
        started()
    (tmp_path / 'token').write_text(f'{SECRET_ACCESS_KEY}\r\nX: y')
    with pytest.raises(CredentialsError, match='token contains a line end') as caught:
        started()

    assert secrets_in(str(caught.value)) == []
    assert container.asked == []


@pytest.mark.parametrize('url', ['http://example.com/secret', 'http://[::1', 'nonsense', 'http://169.254.169.254.example.com/'])
def test_container_elsewhere(container: MetadataService, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The token is sent only to AWS's addresses, to the loopback address, or by https."""
    monkeypatch.setenv('AWS_CONTAINER_CREDENTIALS_FULL_URI', url)
    with pytest.raises(CredentialsError, match='AWS_CONTAINER_CREDENTIALS_FULL_URI must be an https URL'):
        started()

    assert container.asked == []


# ---------------------------------------------------------------------- invalid responses

HTML = f'<html><body>{SECRET_ACCESS_KEY}</body></html>'


def without(*names: str) -> str:
    """A response without some of its fields."""
    whole = MetadataService().keys()
    return json.dumps({name: value for name, value in whole.items() if name not in names})


@pytest.mark.parametrize(
    ('end', 'status', 'body', 'said'),
    [
        ('/api/token', 500, '', r'status 500 \(PUT http://127.0.0.1:\d+/latest/api/token\)'),
        ('/api/token', 200, f'a\nb {SECRET_ACCESS_KEY}', 'the response is not a token'),
        (
            ROLE,
            404,
            '',
            r'status 404 \(GET http://.*:\d+/latest/meta-data/iam/security-credentials/\); give this machine',
        ),
        (ROLE, 200, '', 'the response is not a role'),
        (ROLE, 200, HTML, 'the response is not a role'),
        (KEYS, 500, HTML, r'status 500 \(GET .*/security-credentials/\)'),
        (KEYS, 200, HTML, 'the response is not JSON'),
        (KEYS, 200, '', 'the response is not JSON'),
        (KEYS, 200, '[' * 100_000, 'the response is not JSON'),
        (KEYS, 200, '5', 'the response is not a JSON object'),
        (KEYS, 200, '["AccessKeyId"]', 'the response is not a JSON object'),
        (KEYS, 200, '{}', 'the response has no AccessKeyId, SecretAccessKey, Token, Expiration'),
        (KEYS, 200, without('SecretAccessKey'), 'the response has no SecretAccessKey'),
        (KEYS, 200, without('Expiration'), 'the response has no Expiration'),
        (
            KEYS,
            200,
            '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "x"}',
            "the code 'AssumeRoleUnauthorizedAccess'",
        ),
    ],
)
@pytest.mark.security('S08')
def test_nonsense(service: MetadataService, end: str, status: int, body: str, said: str) -> None:
    """The error for an invalid response has the problem and the URL's path, and nothing of the response."""
    service.answers[end] = status, body
    with pytest.raises(CredentialsError, match=f"^EC2's metadata service returned no keys: .*{said}") as caught:
        started()

    assert secrets_in(str(caught.value)) == []
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ('status', 'body', 'said'),
    [
        (500, HTML, r'the response has status 500 \(GET http://127.0.0.1:\d+\); give this'),
        (200, HTML, 'the response is not JSON'),
        (200, '[]', 'the response is not a JSON object'),
        (200, without('Token', 'AccessKeyId'), 'the response has no AccessKeyId, Token'),
        (200, json.dumps({**MetadataService().keys(), 'Expiration': 'soon'}), 'not a time in ISO 8601'),
        (
            200,
            json.dumps({**MetadataService().keys(), 'Expiration': '2001-01-01T00:00:00Z'}),
            'keys that have expired',
        ),
        (None, '', 'returned no keys within 2 s|no response within 2 s'),
    ],
)
def test_nonsense_of_containers(container: MetadataService, status: int | None, body: str, said: str) -> None:
    """The same holds for a container's service, whose error omits the path, which is as secret as a password."""
    container.answers['/container'] = status, body
    begun = time.monotonic()
    with pytest.raises(CredentialsError, match=said) as caught:
        started()

    assert len(container.asked) == 1
    assert time.monotonic() - begun < 10
    assert secrets_in(str(caught.value)) == []
    assert '/container' not in str(caught.value)


@pytest.mark.parametrize('slow', ['token', 'drops'])
def test_hangs(service: MetadataService, store: Store, kind: Kind, slow: str) -> None:
    """A service that hangs or sends single bytes is given up after two seconds, for all waiting greenlets together."""
    service.token_status = 200 if slow == 'drops' else None
    service.pace_s = 0.3 if slow == 'drops' else 0.0
    with s3po.Connection(
        endpoint_url=store.endpoint_url, region='us-east-1', credentials=MetadataCredentials(), transport=kind.name, retries=0
    ) as connection:
        begun = time.monotonic()
        with connection.batch(20, on_error='collect') as batch:
            for number in range(20):
                batch.upload(BUCKET, str(number), b'')

    # Far less than if they gave up one after another, even on a slow machine.
    assert time.monotonic() - begun < 15
    assert len(batch.failed) == 20
    assert {type(each.error) for each in batch.failed} == {CredentialsError}
    assert all('within 2 s' in str(each.error) for each in batch.failed)
    assert len(service.asked) == 1


def test_unreachable_service(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the service cannot be reached, as on machines outside of EC2, the error suggests other credentials."""
    service.stop()
    with pytest.raises(CredentialsError, match='it cannot be reached .*; give this machine or container a role, or give other'):
        started()
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    with pytest.raises(CredentialsError, match='AWS_EC2_METADATA_DISABLED is set to true'):
        started()
    monkeypatch.delenv('AWS_EC2_METADATA_DISABLED')
    monkeypatch.setenv('AWS_EC2_METADATA_SERVICE_ENDPOINT', 'http://[')
    with pytest.raises(CredentialsError, match='AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL'):
        started()


def test_expired_keys_of_a_machine(service: MetadataService) -> None:
    """Expired keys of EC2's service are used: like botocore, s3po leaves the decision to the store."""
    service.lifetime_s = -60
    with MetadataCredentials() as credentials:
        assert credentials


# ---------------------------------------------------------------------- the greenlet


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the refreshing greenlet send its requests without a pause."""
    monkeypatch.setattr(metadata, 'pause_s', lambda _: 0.01)


def wait_until(is_true: Callable[[], object]) -> None:
    """Wait until the condition is true, and let other greenlets run."""
    with gevent.Timeout(30):
        while not is_true():
            gevent.sleep(0.01)


@pytest.mark.usefixtures('quick')
def test_refreshing(service: MetadataService, caplog: pytest.LogCaptureFixture) -> None:
    """Refreshing continues after failures, which are logged as warnings; a second start() changes nothing; stop() ends it."""
    credentials = MetadataCredentials()
    for _ in range(3):
        credentials.start()
    refresher: Any = credentials._refresher
    wait_until(lambda: len(service.asked) >= 9)
    service.answers[ROLE] = 500, ''
    wait_until(lambda: 'retrying in' in caplog.text)
    assert credentials.access_key_id == 'key'
    service.answers.clear()
    credentials.stop()
    assert credentials.keys() is None
    wait_until(lambda: refresher._greenlet.dead)
    asked = len(service.asked)
    gevent.sleep(0.1)

    assert len(service.asked) == asked
    assert not refresher.is_running


def test_pauses(service: MetadataService) -> None:
    """Keys are refreshed 20 minutes before they expire; short-lived ones after half their lifetime, with a minimum pause."""
    seconds = []
    for lifetime_s in (6 * 3600, 1800, 600, 60, 0.5):
        service.lifetime_s = int(lifetime_s)
        pair = services.keys_of({**service.keys(), 'Expiration': service.keys()['Expiration']}, 'x')
        seconds.append(round(metadata.pause_s(pair)))

    assert seconds[0] == pytest.approx(6 * 3600 - 1200, abs=5)
    assert seconds[1:3] == [pytest.approx(600, abs=5), 60]
    assert seconds[3] == pytest.approx(30, abs=3)
    assert seconds[4] == metadata.pause_s(None) == 1


@pytest.mark.usefixtures('quick')
def test_forgotten(service: MetadataService) -> None:
    """Without stop(), the greenlet ends when the credentials are garbage collected."""
    credentials = started()
    greenlet: Any = credentials._refresher._greenlet  # type: ignore[union-attr]
    alive = weakref.ref(credentials)
    del credentials
    wait_until(lambda: gc.collect() >= 0 and alive() is None)
    wait_until(lambda: greenlet.dead)

    assert service.asked


def test_failed_start(service: MetadataService) -> None:
    """If start() fails, no greenlet is started, and the next call sends a new request at once."""
    service.answers[ROLE] = 500, ''
    credentials = MetadataCredentials()
    with pytest.raises(CredentialsError):
        credentials.start()
    assert not credentials
    assert credentials._refresher is None
    credentials.stop()
    service.answers.clear()

    with credentials:
        assert credentials
    assert not credentials


def test_started_side_by_side(service: MetadataService) -> None:
    """Concurrent calls of start() send one request and start one greenlet."""
    credentials = MetadataCredentials()
    gevent.pool.Pool(20).map(lambda _: credentials.start(), range(20))

    assert len(service.asked) == 3
    assert copy.copy(credentials) is credentials
    credentials.stop()


def test_killed_during_the_request(service: MetadataService) -> None:
    """If a greenlet is killed while it waits for the service, the next start() sends a new request."""
    service.answers[ROLE] = None, ''
    credentials = MetadataCredentials()
    asking = gevent.spawn(credentials.start)
    wait_until(lambda: len(service.asked) == 2)
    asking.kill()
    service.answers.clear()
    credentials.start()

    assert credentials
    credentials.stop()


@pytest.mark.slow
@pytest.mark.parametrize('patch', ['', 'all', '0'], ids=['patched', 'fully patched', 'unpatched'])
def test_fork(service: MetadataService, authority: Authority, store: Store, tmp_path: pathlib.Path, patch: str) -> None:
    """After a fork, the child has the keys but no greenlet; its start() and stop() do not affect the parent."""
    program = Runner(authority, store.endpoint_url, tmp_path)

    def run() -> None:
        program(
            """
            import s3po, gevent
            from s3po.credentials import MetadataCredentials
            credentials = MetadataCredentials()
            credentials.start()
            child = os.fork()
            if not child:
                try:
                    assert credentials and not credentials._refresher.is_running
                    credentials.start()
                    assert credentials._refresher.is_running
                    credentials.stop()
                    assert not credentials
                    credentials.stop()
                except BaseException as error:
                    print(error, flush=True)
                    os._exit(1)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert credentials and credentials._refresher.is_running
            credentials.stop()
            """,
            S3PO_PATCH=patch,
            AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url,
        )

    # The service runs in this thread, so the wait for the program must not block it.
    if monkey.is_module_patched('subprocess'):
        run()
    else:
        gevent.get_hub().threadpool.apply(run)
    assert len(service.asked) == 6
    assert os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT'] == service.url
