"""Connections with `credentials=`: over both transports, and the examples of the document on credentials."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Callable
from typing import Any

import boto3.session
import gevent
import pytest

import s3po
from s3po.credentials import (
    ConfigCredentials,
    Credentials,
    EnvironmentCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from s3po.errors import CredentialsError
from tests.support.canaries import SECRET_ACCESS_KEY, STEM, secrets_in
from tests.support.kinds import KINDS, Kind
from tests.support.programs import Runner
from tests.support.servers import Authority, Store

BUCKET = 'bucket'
HOUR_S = 60 * 60
Make = Callable[..., s3po.Connection]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The transport."""
    return KINDS[request.param]


@pytest.fixture
def make(conn: s3po.Connection, store: Store, kind: Kind) -> Make:
    """Makes connections to the store; the bucket exists."""
    del conn

    def made(credentials: Any, **arguments: Any) -> s3po.Connection:
        arguments = {'region': 'us-east-1', 'retries': 0, **arguments}
        return s3po.Connection(endpoint_url=store.endpoint_url, credentials=credentials, transport=kind.name, **arguments)

    return made


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Keys in the environment, in ~/.aws/credentials and in another file."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('AWS_SHARED_CREDENTIALS_FILE')
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'of-environment')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET_ACCESS_KEY)
    (tmp_path / '.aws').mkdir()
    for path, key in ((tmp_path / '.aws' / 'credentials', 'of-file'), (tmp_path / '.my-custom-aws-credentials', 'of-custom')):
        path.write_text(
            f'[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_ACCESS_KEY}\nregion = us-east-1\n'
        )


def signer(store: Store) -> str:
    """The access key that signed the last upload."""
    return str(store.log('PutObject')[-1]['headers']['authorization']).partition('Credential=')[2].partition('/')[0]


# ---------------------------------------------------------------------- the seed's examples


@pytest.mark.parametrize(
    ('credentials', 'expected'),
    [
        (lambda: StaticCredentials(access_key_id='aaaa', secret_access_key='bbbb', region='us-east-1'), 'aaaa'),
        (lambda: URLCredentials('http://key:hack-me@your-s3-host', region='us-east-1'), 'key'),
        (lambda: EnvironmentCredentials(region='us-east-1'), 'of-environment'),
        (lambda: ConfigCredentials(), 'of-file'),  # noqa: PLW0108  (as the seed has it)
        (lambda: ConfigCredentials('~/.my-custom-aws-credentials'), 'of-custom'),
        (lambda: merge_credentials(EnvironmentCredentials(), ConfigCredentials()), 'of-environment'),
        (lambda: merge_credentials(StaticCredentials(), ConfigCredentials(), EnvironmentCredentials()), 'of-file'),
    ],
)
def test_kinds(make: Make, store: Store, credentials: Callable[[], Credentials], expected: str) -> None:
    """Each kind of credentials signs s3po's requests, those of conn.conn and presigned URLs, for its region."""
    with make(credentials(), region=None) as connection:
        connection.upload(BUCKET, 'key', b'data')
        assert signer(store) == expected
        connection.conn.put_object(Bucket=BUCKET, Key='other')
        assert signer(store) == expected
        assert connection.download(BUCKET, 'key') == b'data'
        assert f'Credential={expected}%2F' in connection.presign('GET', BUCKET, 'key')
        assert ' region=us-east-1 ' in repr(connection)


def test_session(make: Make, store: Store) -> None:
    """A boto3 session as `credentials` works like the argument `session`."""
    with make(boto3.session.Session('theirs', SECRET_ACCESS_KEY)) as connection:
        connection.upload(BUCKET, 'key', b'data')

    assert signer(store) == 'theirs'


@pytest.mark.parametrize(
    ('credentials', 'said'),
    [
        (
            StaticCredentials,
            'no credentials in StaticCredentials: access_key_id and secret_access_key are blank; give both, or',
        ),
        (lambda: URLCredentials('http://host'), 'no credentials in URLCredentials: the URL has no user name'),
        (lambda: ConfigCredentials('/not/there', 'x'), "in ConfigCredentials: /not/there has no .* for profile 'x'; add them"),
        (lambda: merge_credentials(StaticCredentials(), URLCredentials('http://host')), 'none of them has keys .*Static.*URL'),
        (merge_credentials, 'nothing was merged'),
    ],
)
def test_empty(make: Make, store: Store, credentials: Callable[[], Credentials], said: str) -> None:
    """If the source has no keys, the first request raises an error that names it, and no other keys are used."""
    before = len(store.log())
    connection = make(credentials())
    for use in (lambda: connection.upload(BUCKET, 'key', b'data'), lambda: connection.conn):
        with pytest.raises(CredentialsError, match=said):
            use()

    assert len(store.log()) == before


def test_empty_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an empty environment names the variables."""
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    with pytest.raises(
        CredentialsError, match='EnvironmentCredentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set'
    ):
        make(EnvironmentCredentials()).upload(BUCKET, 'key', b'')


@pytest.mark.parametrize('credentials', [StaticCredentials(), StaticCredentials('k', 's'), lambda: None, lambda: 1 / 0])
def test_mock(credentials: Any, kind: Kind) -> None:
    """Under the mock, credentials are not looked up."""
    connection = s3po.Connection(credentials=credentials, transport=kind.name)
    with connection.mock(buckets=['mocked']):
        connection.upload('mocked', 'key', b'data')
        assert connection.download('mocked', 'key') == b'data'


def test_no_botocore(authority: Authority, store: Store, tmp_path: pathlib.Path) -> None:
    """botocore is not imported if the keys are passed."""
    Runner(authority, store.endpoint_url, tmp_path)(
        """
        import sys, s3po
        from s3po.credentials import StaticCredentials, URLCredentials, EnvironmentCredentials, merge_credentials
        source = merge_credentials(EnvironmentCredentials(), StaticCredentials('key', 'secret', region='us-east-1'))
        for credentials in (source, StaticCredentials('a', secret), URLCredentials('http://a:b@host')):
            conn = s3po.Connection(endpoint_url=endpoint, region='us-east-1', credentials=credentials, transport='wire')
            assert not conn.exists('bucket', 'key')
        found = [name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 's3transfer', 'urllib3')]
        assert not found, found
        """
    )


# ---------------------------------------------------------------------- a function


class Issuer:
    """A function that returns keys.

    Attributes:
        issued: The number of calls.
        lifetime_s: How long the next keys are valid; None for ever.
        error: The exception that the next call raises, or None.
    """

    def __init__(self) -> None:
        self.issued = 0
        self.lifetime_s: float | None = HOUR_S
        self.error: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        gevent.sleep(0.01)
        if self.error is not None:
            raise self.error
        self.issued += 1
        now = datetime.datetime.now(datetime.UTC)
        return {
            'access_key_id': f'key{self.issued}',
            'secret_access_key': SECRET_ACCESS_KEY,
            'token': f'{STEM}{self.issued}',
            'expires_at': None if self.lifetime_s is None else now + datetime.timedelta(seconds=self.lifetime_s),
        }


@pytest.fixture
def issuer() -> Issuer:
    """A function that returns keys."""
    return Issuer()


def upload_many(connection: s3po.Connection) -> None:
    """Upload fifty objects concurrently."""
    with connection.batch(50) as batch:
        jobs = [batch.upload(BUCKET, str(number), b'') for number in range(50)]
    assert all(job.get() for job in jobs)


def signers(store: Store) -> set[str]:
    """The access keys that signed the uploads in the store's log."""
    heads = [str(each['headers']['authorization']) for each in store.log('PutObject')]
    return {each.partition('Credential=')[2].partition('/')[0] for each in heads}


@pytest.mark.parametrize('lifetime_s', [HOUR_S, None])
def test_function_is_called_once(make: Make, store: Store, issuer: Issuer, lifetime_s: float | None) -> None:
    """Fifty greenlets without keys wait for one call of the function, and conn.conn uses the same keys."""
    issuer.lifetime_s = lifetime_s
    with make(issuer) as connection:
        assert issuer.issued == 0
        upload_many(connection)
        connection.conn.put_object(Bucket=BUCKET, Key='key')

    assert issuer.issued == 1
    assert signers(store) == {'key1'}
    assert store.log('PutObject')[0]['headers']['x-amz-security-token'] == f'{STEM}1'


def test_before_they_expire(make: Make, store: Store, issuer: Issuer, kind: Kind) -> None:
    """Keys that are about to expire are replaced with one call, and no request is signed with the old ones."""
    with make(issuer) as connection:
        issuer.lifetime_s = 30
        connection.upload(BUCKET, 'key', b'')
        issuer.lifetime_s = HOUR_S
        if kind.name == 'wire':
            # The wire transport checks the keys once a second; make that second pass.
            connection._wiring._keys._good_until = 0.0
        asked = issuer.issued
        upload_many(connection)

    assert issuer.issued == asked + 1
    assert f'key{asked + 1}' in signers(store)
    assert signer(store) == f'key{asked + 1}'


def test_keys_rejected_as_expired(make: Make, store: Store, issuer: Issuer) -> None:
    """Keys that the store rejects as expired are replaced once, even if their expiry is later."""
    issuer.lifetime_s = None
    action = {'status': 400, 'code': 'ExpiredToken', 'message': 'The provided token has expired.'}
    store.script({'headers': {'x-amz-security-token': f'{STEM}1'}, 'action': action})
    with make(issuer, retries=1) as connection:
        upload_many(connection)

    assert issuer.issued == 2
    assert signer(store) == 'key2'


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (LookupError(f'secret_access_key={SECRET_ACCESS_KEY}'), r'could not be refreshed: LookupError\(.*\*\*\*'),
        (CredentialsError('the vault is sealed'), 'the vault is sealed'),
    ],
)
def test_function_that_fails(make: Make, store: Store, issuer: Issuer, error: Exception, said: str) -> None:
    """If the function raises, the error has its exception as cause, and the next request calls it again."""
    issuer.error = error
    with make(issuer) as connection:
        with pytest.raises(CredentialsError, match=said) as caught:
            connection.upload(BUCKET, 'key', b'')
        issuer.error = None
        connection.upload(BUCKET, 'key', b'')

    assert secrets_in(str(caught.value)) == []
    assert len(store.log('PutObject')) == issuer.issued == 1


@pytest.mark.parametrize(
    ('returned', 'said'),
    [
        (None, 'returned None'),
        ({'access_key_id': 'key'}, 'returned no secret_access_key'),
        (
            {'access_key_id': 'k', 'secret_access_key': 's', 'expires_at': '2001-01-01T00:00:00Z'},
            'refreshed credentials are still expired',
        ),
    ],
)
def test_function_that_returns_no_keys(make: Make, store: Store, returned: object, said: str) -> None:
    """If the function returns no valid keys, the error explains the problem, and nothing is sent."""
    with make(lambda: returned) as connection, pytest.raises(CredentialsError, match=said):
        connection.upload(BUCKET, 'key', b'')

    assert store.log('PutObject') == []
