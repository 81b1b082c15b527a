"""Secrets are not shown: not in the repr, text, JSON or pickle of their owners, and not in botocore's logs."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

import s3po
from s3po.batch.failed import FailedJob, FailedJobs
from s3po.credentials.keys import Keys
from s3po.endpoints.boto_client import build_client
from s3po.endpoints.boto_errors import translated
from s3po.endpoints.settings import ClientSettings
from s3po.endpoints.signing_keys import FixedKeys, key_source
from s3po.errors import ConfigurationError, CredentialsError, JobError, NetworkError, TransferError
from s3po.model import ObjectRef
from s3po.s3.sigv4 import Signer
from s3po.secrecy import HIDDEN, REDACTING, Secret, guard_logs, is_secret_name, redacted, revealed
from tests.support import canaries
from tests.support.canaries import KEYS, PASSWORD, SECRET_ACCESS_KEY, SESSION_TOKEN, SSE_C, SSE_C_KEY, secrets_in
from tests.support.wire import Canned, FakeClient, requester

ENDPOINT = 'https://s3.example.com'


def settings(**more: Any) -> ClientSettings:
    return ClientSettings(**{'endpoint_url': ENDPOINT, 'region': 'us-east-1', **KEYS, **more})


def shown(value: object) -> str:
    """Everything that can be seen of a value without asking for its secrets."""
    seen = [repr(value), str(value), f'{value}', '%s %r' % (value, value), pprint.pformat(value)]
    seen += [repr(each) for each in (getattr(value, '__dict__', None), getattr(value, 'args', None))]
    for dump in (json.dumps, pickle.dumps):
        try:
            seen.append(str(dump(value)))
        except TypeError as error:
            seen.append(str(error))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        seen.append(repr(dataclasses.asdict(value)) if not isinstance(value, Keys) else '')
    return '\n'.join(seen)


# ---------------------------------------------------------------------- S01: objects with secrets


@pytest.mark.security('S01')
def test_secret() -> None:
    """Only reveal() returns the secret; it is compared by value, and cannot be pickled by mistake."""
    secret = Secret(SECRET_ACCESS_KEY)

    assert (secret.reveal(), revealed(secret), revealed('plain'), revealed(None)) == (SECRET_ACCESS_KEY,) * 2 + ('plain', None)
    assert repr(secret) == str(secret) == f'{secret}' == HIDDEN
    assert secret == Secret(SECRET_ACCESS_KEY) == copy.deepcopy(copy.copy(secret))
    assert hash(secret) == hash(Secret(SECRET_ACCESS_KEY))
    assert secret != SECRET_ACCESS_KEY
    with pytest.raises(TypeError, match='not JSON serializable'):
        json.dumps(secret)
    with pytest.raises(TypeError, match='a Secret cannot be pickled on its own'):
        pickle.dumps(secret)


@pytest.mark.security('S01')
@pytest.mark.parametrize(
    'make',
    [
        lambda: Secret(SECRET_ACCESS_KEY),
        settings,
        lambda: key_source(settings(), pytest.fail).current,
        lambda: FixedKeys(Keys(**KEYS)),
        lambda: Signer(**KEYS, region='us-east-1'),
        lambda: requester(FakeClient(Canned())),
        s3po.TransferConfig,
        lambda: ObjectRef(bucket='bucket', key='key'),
    ],
)
def test_nothing_is_shown(make: Callable[[], object]) -> None:
    """These objects show neither the secret nor the token."""
    assert secrets_in(shown(make())) == []


@pytest.mark.security('S01')
@pytest.mark.parametrize('transport', ['wire', 'boto'])
def test_connection(transport: str) -> None:
    """A connection shows its endpoint and none of its secrets; only its pickle contains them, and works."""
    config = Config(proxies={'https': f'http://me:{PASSWORD}@proxy'})
    arguments: Any = {**KEYS, 'endpoint_url': ENDPOINT, 'region': 'us-east-1', 'transport': transport, 'default_extra': SSE_C}
    conn = s3po.Connection(**arguments, client_config=config)
    conn.presign('GET', 'bucket', 'key')
    inner = [conn._settings, conn._wiring, conn._operations, conn._wiring._keys, conn.conn, conn.conn.meta]
    inner += [conn._wiring.resolve('bucket')[0], conn._wiring._places]

    assert secrets_in('\n'.join(f'{each!r} {each}' for each in (conn, vars(conn), conn._arguments, *inner))) == []
    assert secrets_in(shown(conn.conn._request_signer._credentials)) == []
    with pytest.raises(TypeError):
        json.dumps(vars(conn))
    pickled = pickle.dumps(s3po.Connection(**arguments))
    assert SECRET_ACCESS_KEY.encode() in pickled
    arrived = pickle.loads(pickled)
    assert arrived._settings == s3po.Connection(**arguments)._settings
    assert arrived._arguments['default_extra'].reveal() == SSE_C
    assert secrets_in(repr(vars(arrived))) == []
    conn.close()


@pytest.mark.security('S01')
@pytest.mark.parametrize(
    'url',
    [
        f'https://me:{PASSWORD}@s3.example.com',
        f'https://{PASSWORD}@s3.example.com',
        f'ftp://me:{PASSWORD}@s3.example.com',
        f'http://me:{PASSWORD}@[::1',
    ],
)
def test_userinfo_of_an_endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """User information in an endpoint is rejected, wherever it comes from, and not shown; the message names the alternative."""
    with pytest.raises(ConfigurationError, match='endpoint_url') as caught:
        s3po.Connection(endpoint_url=url)
    assert secrets_in(shown(caught.value)) == []

    monkeypatch.setenv('AWS_ENDPOINT_URL_S3', url)
    conn = s3po.Connection(**KEYS, region='us-east-1')
    with pytest.raises(ConfigurationError) as caught:
        conn.upload('bucket', 'key', b'', retries=0)
    assert secrets_in(''.join(traceback.format_exception(caught.value))) == []


@pytest.mark.security('S01')
def test_userinfo_names_the_fix() -> None:
    """The message names the arguments to pass instead."""
    with pytest.raises(ConfigurationError, match='must not hold a user name or password; give access_key_id and secret_access'):
        s3po.Connection(endpoint_url=f'http://me:{PASSWORD}@127.0.0.1')


@pytest.mark.security('S01')
@pytest.mark.parametrize('transport', ['wire', 'boto'])
@pytest.mark.parametrize(
    'wrong',
    [
        {'SSECustomerKey': (SSE_C_KEY,)},
        {'SSECustomerKey': {SSE_C_KEY: 1}},
        {'SSECustomerKey': f'{SSE_C_KEY}\n', 'SSECustomerAlgorithm': f'\n{SSE_C_KEY}'},
        {'CopySourceSSECustomerKey': [SSE_C_KEY]},
    ],
)
def test_wrong_parameters(transport: str, wrong: dict[str, Any]) -> None:
    """The error for an invalid key does not contain the key."""
    conn = s3po.Connection(endpoint_url='http://127.0.0.1:9', region='us-east-1', **KEYS, transport=transport, retries=0)
    with pytest.raises(s3po.S3poError) as caught:
        conn.copy('bucket', 'key', 'bucket', 'other', extra={**SSE_C, **wrong})
    conn.close()

    assert secrets_in(str(caught.value)) == []


@pytest.mark.security('S01')
@pytest.mark.parametrize(
    'error',
    [
        OSError(f'Failed to connect to proxy http://me:{PASSWORD}@proxy:80'),
        ValueError(f'Invalid type for parameter SSECustomerKey, value: {SSE_C_KEY!r}, SSECustomerKey={SSE_C_KEY!r}'[:43]),
        OSError(f"headers {{'Authorization': b'AWS4 Signature={SESSION_TOKEN}', 'x-amz-security-token': '{SESSION_TOKEN}'}}"),
        RuntimeError(f'refreshed credentials are still expired: session_token={SESSION_TOKEN}'),
    ],
)
def test_errors_of_botocore(error: Exception) -> None:
    """The text, the pickle and the saved form of an error contain no secret of botocore's error."""
    with pytest.raises(s3po.S3poError) as caught, translated('doing'):
        raise error
    failed = FailedJob('upload', ObjectRef(bucket='bucket', key='key'), {}, caught.value)

    assert secrets_in(shown(caught.value)) == []
    assert secrets_in(shown(failed) + json.dumps(failed.to_json())) == []


@pytest.mark.security('S01')
@pytest.mark.parametrize('name', ['extra', 'headers'])
def test_failed_jobs(name: str, tmp_path: Any) -> None:
    """SSE-C keys are not saved with failed jobs; a retry from the file is an error with the reason."""
    header = 'x-amz-server-side-encryption-customer-key'
    given = SSE_C if name == 'extra' else {header: base64.b64encode(SSE_C_KEY.encode()).decode()}
    cause = TransferError('no', bucket='bucket', key='key')
    cause.__cause__ = NetworkError('cut')
    job = FailedJob('upload_file', ObjectRef(bucket='bucket', key='key'), {'path': tmp_path / 'x', name: given}, cause)
    FailedJobs([job]).save(tmp_path / 'failed')
    (loaded,) = FailedJobs.load(tmp_path / 'failed')

    assert secrets_in((tmp_path / 'failed').read_text() + shown(job) + repr(loaded.options)) == []
    job.check_repeatable()
    for each in (loaded, pickle.loads(pickle.dumps(job))):
        with pytest.raises(JobError, match=f'its {name} was in memory or an open file, or contained a secret'):
            each.check_repeatable()


@pytest.mark.security('S01')
@pytest.mark.parametrize(
    ('name', 'is_secret'),
    [
        ('SSECustomerKey', True),
        ('CopySourceSSECustomerKey', True),
        ('X-Amz-Server-Side-Encryption-Customer-Key', True),
        ('x-amz-copy-source-server-side-encryption-customer-key', True),
        ('Authorization', True),
        ('x-amz-security-token', True),
        ('SSECustomerKeyMD5', False),
        ('x-amz-server-side-encryption-customer-key-MD5', False),
        ('SSECustomerAlgorithm', False),
        ('SSEKMSKeyId', False),
        ('token', False),
        ('ContentType', False),
    ],
)
def test_names(name: str, is_secret: bool) -> None:
    """Secrets are recognized by the name of the parameter or header."""
    assert is_secret_name(name) is is_secret


# ---------------------------------------------------------------------- S02: log records

BASE64_KEY = base64.b64encode(SSE_C_KEY.encode()).decode()
HEADER = 'x-amz-server-side-encryption-customer-key'
SOURCE_HEADER = 'x-amz-copy-source-server-side-encryption-customer-key'
SCOPE = f'Credential={PASSWORD}/x/aws4_request'


@pytest.mark.security('S02')
@pytest.mark.parametrize(
    'text',
    [
        f"params: {{'headers': {{'{HEADER}': '{BASE64_KEY}', '{SOURCE_HEADER}': b'{SSE_C_KEY}'}}}}",
        f"{{'X-Amz-Security-Token': b'{SESSION_TOKEN}', 'Authorization': b'AWS4-HMAC-SHA256 X=a, Signature={PASSWORD}'}}",
        f'CanonicalRequest:\nGET\n/b\n\nhost:s3\nx-amz-security-token:{SESSION_TOKEN}\n{HEADER}:{BASE64_KEY}\n\nhost;{HEADER}\n',
        f'Signature:\n{PASSWORD}',
        f'authorization: AWS4-HMAC-SHA256 {SCOPE}, SignedHeaders=host, Signature={PASSWORD}',
        f'Proxy-Authorization: Basic {PASSWORD}',
        f'GET /key?X-Amz-Credential={PASSWORD}%2F20&X-Amz-Security-Token={PASSWORD}%3D&X-Amz-Signature={PASSWORD} HTTP/1.1',
        f'http://me:{PASSWORD}@proxy:80/ and https://{PASSWORD}@host and http://me:a@{PASSWORD}@host',
        f'<Credentials><SecretAccessKey>{SECRET_ACCESS_KEY}</SecretAccessKey><SessionToken>\n{SESSION_TOKEN}</SessionToken>',
        f'{{"SecretAccessKey": "{SECRET_ACCESS_KEY}", "Token" : "{SESSION_TOKEN}", "accessToken":"{SESSION_TOKEN}"}}',
        f'"{{\\"secretAccessKey\\": \\"{SECRET_ACCESS_KEY}\\", \\"sessionToken\\":\\"{SESSION_TOKEN}\\"}}"',
        f'[("x-amz-security-token", "{SESSION_TOKEN}"), (\'{HEADER.upper()}\', b"{BASE64_KEY}")]',
        f'aws_secret_access_key={SECRET_ACCESS_KEY}\naws_session_token = {SESSION_TOKEN}',
        f"Calling s3:get_object with {{'SSECustomerKey': {(SSE_C_KEY + chr(39) + chr(34)).encode()!r}, 'Key': 'k'}}",
        f"'SSECustomerKey': '{SSE_C_KEY}",
        f'WebIdentityToken={SESSION_TOKEN}&SAMLAssertion={SESSION_TOKEN}&x-aws-ec2-metadata-token: {SESSION_TOKEN}',
        f'x-amz-security-token: {"x" * 9000}{SESSION_TOKEN}',
    ],
)  # fmt: skip
def test_redacted(text: str) -> None:
    """Values with the name of a secret are replaced, in all forms in which botocore and urllib3 print them."""
    assert secrets_in(text) != []

    assert secrets_in(redacted(text)) == []
    assert HIDDEN in redacted(text)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.security('S02')
@pytest.mark.parametrize(
    'text',
    [
        '',
        'GET /bucket/key?continuation-token=abc&list-type=2 HTTP/1.1',
        f"{{'{HEADER}-MD5': 'abc', 'SSECustomerKeyMD5': 'abc', 'signature_version': 's3v4', 'SSEKMSKeyId': 'x'}}",
        'https://s3.example.com/a@b s3://bucket/key@x mail@example.com',
        '<NextContinuationToken>abc</NextContinuationToken>',
        f'SignedHeaders=host;{HEADER};x-amz-date',
    ],
)
def test_left_as_it_is(text: str) -> None:
    """All other text is unchanged."""
    assert redacted(text) == text


@pytest.mark.security('S02')
@given(before=st.text(max_size=20), after=st.text(max_size=20), link=st.sampled_from(['=', ': ', ':', "': '", '": b"', "', '"]))
def test_redacted_anywhere(before: str, after: str, link: str) -> None:
    """A secret is replaced anywhere in a text."""
    text = f'{before} x-amz-security-token{link}{SESSION_TOKEN} {after}'

    assert secrets_in(redacted(text)) == []


@pytest.mark.security('S02')
def test_hostile_text_takes_no_time() -> None:
    """1 MB of hostile text is processed in linear time."""
    text = "x-amz-security-token: '" * 40_000

    assert redacted(text).count(HIDDEN) > 10_000


class Kept(logging.Handler):
    """A handler that collects formatted log records."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(record.args) + repr(record.exc_info))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """All log records, with all loggers at DEBUG."""
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.security('S02')
def test_records(kept: Kept) -> None:
    """Message, arguments and exception of a record are redacted; records without secrets are unchanged."""
    guard_logs()
    log = logging.getLogger('botocore.endpoint')
    log.debug('Sending %s to %s', {'Authorization': SESSION_TOKEN}, 'there')
    log.debug('Sending %s to %s', 'nothing', 'there')
    try:
        raise OSError(f'no way to http://me:{PASSWORD}@proxy')
    except OSError:
        log.debug('failed', exc_info=True)
    log.debug('%d', SECRET_ACCESS_KEY)

    assert secrets_in('\n'.join(kept.lines)) == []
    assert kept.lines[0].startswith(f"Sending {{'Authorization': {HIDDEN}}} to there()")
    assert kept.lines[1].startswith("Sending nothing to there('nothing', 'there')")
    assert f'OSError: no way to http://{HIDDEN}@proxy' in kept.lines[2]
    assert kept.lines[3].startswith('a message that cannot be formatted()')


@pytest.mark.security('S02')
def test_filters_are_cheap_and_few() -> None:
    """However many clients are made, each logger has the filter once, no handler, and its old level."""
    build_client(settings())
    before = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    build_client(settings())
    families = [name for name in before if name.partition('.')[0] in ('botocore', 'boto3', 'urllib3', 's3transfer')]

    assert len(families) > 20
    for name in families:
        logger = logging.getLogger(name)
        assert logger.filters.count(REDACTING) == 1, name
        assert logger.level == before[name]
        assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    assert REDACTING not in logging.getLogger('s3po').filters + logging.getLogger().filters


@pytest.mark.security('S02')
def test_every_logger_of_botocore_has_it() -> None:
    """Every logger of botocore has the filter, also those of modules that are imported rarely."""
    build_client(settings())
    missing = [name for name in sorted(loggers_in_source()) if REDACTING not in logging.getLogger(name).filters]

    assert missing == []


def loggers_in_source() -> set[str]:
    """The modules of boto3 and its dependencies that have a logger of their own, imported or not."""
    import importlib.util
    import pathlib

    found = set()
    for family in ('boto3', 'botocore', 's3transfer', 'urllib3'):
        spec = importlib.util.find_spec(family)
        assert spec is not None
        assert spec.origin is not None
        root = pathlib.Path(spec.origin).parent
        for path in root.rglob('*.py'):
            if 'logging.getLogger(__name__)' in path.read_text(encoding='utf-8'):
                found.add('.'.join((family, *path.relative_to(root).with_suffix('').parts)).removesuffix('.__init__'))
    return found


@pytest.mark.security('S01')
def test_refresh_that_fails_with_a_secret() -> None:
    """The error of a failed refresh omits the text of the caller's exception, which may contain a secret."""
    import datetime

    from botocore.credentials import RefreshableCredentials

    from s3po.endpoints.boto_keys import BotoKeys

    def refuse() -> dict[str, str]:
        raise KeyError(f'session_token={SESSION_TOKEN}')

    expiry = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    old = {'access_key': 'a', 'secret_key': SECRET_ACCESS_KEY, 'token': SESSION_TOKEN, 'expiry_time': expiry.isoformat()}
    guarded = BotoKeys(RefreshableCredentials.create_from_metadata(old, refuse, 'test'))
    with pytest.raises(CredentialsError, match='could not be refreshed: KeyError') as caught:
        guarded.get_frozen_credentials()

    assert secrets_in(f'{caught.value} {caught.value!r} {guarded!r}') == []


def test_the_check_finds_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """The check of the functional tests finds secrets in log records, also in exceptions and in base64."""
    watch = canaries.Watch()
    logging.getLogger('test').addHandler(watch)
    try:
        with caplog.at_level(logging.DEBUG, 'test'):
            logging.getLogger('test').debug('a %s', SECRET_ACCESS_KEY)
            logging.getLogger('test').debug('a %s', BASE64_KEY)
            logging.getLogger('test').debug('harmless')
            try:
                raise OSError(PASSWORD)
            except OSError:
                logging.getLogger('test').debug('failed', exc_info=True)
    finally:
        logging.getLogger('test').removeHandler(watch)

    assert [line.partition(':')[0] for line in watch.found] == ['DEBUG test'] * 3
