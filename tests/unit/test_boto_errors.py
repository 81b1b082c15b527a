"""botocore's errors become s3po's: each becomes one class, names the operation, and keeps its cause."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import botocore.exceptions as theirs
import botocore.parsers
import gevent
import pytest
import urllib3.exceptions

from s3po import errors
from s3po.endpoints.boto_errors import TABLE, translated

DOING = 'GetObject s3://bucket/key'
ENDPOINT = {'endpoint_url': 'http://127.0.0.1:9'}

# At least one for each row of TABLE, and the errors that are handled before the table.
MEANINGS: list[tuple[Exception, type[errors.S3poError]]] = [
    (theirs.ProfileNotFound(profile='p'), errors.ConfigurationError),
    (theirs.NoCredentialsError(), errors.CredentialsError),
    (theirs.PartialCredentialsError(provider='env', cred_var='AWS_SECRET_ACCESS_KEY'), errors.CredentialsError),
    (theirs.CredentialRetrievalError(provider='role', error_msg='gone'), errors.CredentialsError),
    (theirs.InvalidConfigError(error_msg='no source_profile'), errors.CredentialsError),
    (theirs.InfiniteLoopConfigError(source_profile='a', visited_profiles=['a']), errors.CredentialsError),
    (theirs.MetadataRetrievalError(error_msg='no answer'), errors.CredentialsError),
    (theirs.RefreshWithMFAUnsupportedError(), errors.CredentialsError),
    (theirs.SSOTokenLoadError(error_msg='not logged in'), errors.CredentialsError),
    (theirs.UnauthorizedSSOTokenError(), errors.CredentialsError),
    (theirs.TokenRetrievalError(provider='sso', error_msg='gone'), errors.CredentialsError),
    (theirs.NoAuthTokenError(), errors.CredentialsError),
    (RuntimeError('Credentials were refreshed, but the refreshed credentials are still expired.'), errors.CredentialsError),
    (theirs.ConnectTimeoutError(**ENDPOINT), errors.ConnectTimeout),
    (theirs.ReadTimeoutError(**ENDPOINT), errors.ReadTimeout),
    (urllib3.exceptions.ReadTimeoutError(None, '/', 'slow'), errors.ReadTimeout),  # type: ignore[arg-type]
    (TimeoutError('slow'), errors.ReadTimeout),
    (theirs.FlexibleChecksumError(error_msg='no match'), errors.IntegrityError),
    (theirs.EndpointConnectionError(**ENDPOINT), errors.NetworkError),
    (theirs.ConnectionClosedError(**ENDPOINT), errors.NetworkError),
    (theirs.ProxyConnectionError(proxy_url='http://127.0.0.1:9', error='refused'), errors.NetworkError),
    (theirs.SSLError(**ENDPOINT, error='bad record'), errors.NetworkError),
    (theirs.HTTPClientError(error='something'), errors.NetworkError),
    (theirs.ResponseStreamingError(error='cut'), errors.NetworkError),
    (theirs.IncompleteReadError(actual_bytes=1, expected_bytes=2), errors.NetworkError),
    (botocore.parsers.ResponseParserError('no XML'), errors.NetworkError),
    (urllib3.exceptions.ProtocolError('cut'), errors.NetworkError),
    (urllib3.exceptions.SSLError('bad record'), errors.NetworkError),
    (http.client.IncompleteRead(b'x', 2), errors.NetworkError),
    (http.client.BadStatusLine('garbage'), errors.NetworkError),
    (ConnectionResetError(104, 'Connection reset by peer'), errors.NetworkError),
    (ConnectionResetError(), errors.NetworkError),
    (ssl.SSLEOFError(8, 'EOF'), errors.NetworkError),
    (theirs.ParamValidationError(report='Invalid type for parameter ACL'), errors.ConfigurationError),
    (theirs.NoRegionError(), errors.ConfigurationError),
    (theirs.InvalidRegionError(region_name='a b'), errors.ConfigurationError),
    (theirs.InvalidProxiesConfigError(), errors.ConfigurationError),
    (theirs.UnsupportedS3AccesspointConfigurationError(msg='no'), errors.ConfigurationError),
    (ValueError('Invalid endpoint'), errors.ConfigurationError),
]


def translation_of(error: BaseException, **arguments: Any) -> errors.S3poError:
    with pytest.raises(errors.S3poError) as caught, translated(DOING, **arguments):
        raise error
    return caught.value


def refusal(code: str, status: int = 400, **metadata: Any) -> theirs.ClientError:
    said: Any = {
        'Error': {'Code': code, 'Message': 'said so', 'Region': 'eu-west-1'},
        'ResponseMetadata': {'HTTPStatusCode': status, **metadata},
    }
    return theirs.ClientError(said, 'GetObject')


@pytest.mark.parametrize(('error', 'kind'), MEANINGS, ids=lambda value: type(value).__name__)
def test_meanings(error: Exception, kind: type[errors.S3poError]) -> None:
    """The class is the narrowest one, the text contains botocore's, and the cause is botocore's error."""
    found = translation_of(error)

    assert type(found) is kind
    assert found.__cause__ is error
    assert (str(error) or 'ConnectionResetError') in str(found)
    assert DOING in str(found) or str(found).startswith('profile: ')


def test_every_row_is_tested() -> None:
    """Each row of the table has a case above."""
    tested = [error for error, _ in MEANINGS]

    for kinds, _, _ in TABLE:
        for kind in kinds:
            assert any(isinstance(error, kind) for error in tested), kind


def test_every_error_of_botocore_is_known() -> None:
    """Every error class of botocore is translated, also unknown ones of later versions."""
    for kind in vars(theirs).values():
        if isinstance(kind, type) and issubclass(kind, theirs.BotoCoreError):
            error = kind.__new__(kind)
            error.kwargs = {}
            assert isinstance(translation_of(error), errors.S3poError)


def certificate_errors() -> list[Exception]:
    """A certificate error as the standard library raises it, and as urllib3 and botocore wrap it."""
    plain = ssl.SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed')
    of_urllib3 = urllib3.exceptions.SSLError(plain)
    retried = urllib3.exceptions.MaxRetryError(None, '/', of_urllib3)  # type: ignore[arg-type]
    of_botocore = theirs.SSLError(**ENDPOINT, error=of_urllib3)
    connection = theirs.EndpointConnectionError(**ENDPOINT, error=retried)
    told = theirs.SSLError(**ENDPOINT, error='[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')
    chained = theirs.HTTPClientError(error=None)
    chained.__cause__ = plain
    return [plain, of_urllib3, retried, of_botocore, connection, told, chained]


@pytest.mark.parametrize('number', range(len(certificate_errors())))
def test_certificates(number: int) -> None:
    """An untrusted certificate is distinguished from a broken connection, however deeply it is wrapped."""
    error = certificate_errors()[number]
    found = translation_of(error)

    assert type(found) is errors.CertificateError
    assert found.__cause__ is error
    assert DOING in str(found)
    assert 'give verify= the path of the authority that signed it' in str(found)


def test_causes_in_a_circle() -> None:
    """The search for a certificate error ends if the causes form a cycle."""
    one, other = ConnectionResetError('one'), ConnectionResetError('other')
    one.__cause__, other.__cause__ = other, one

    assert type(translation_of(one)) is errors.NetworkError


def test_certificate_that_the_caller_was_handling() -> None:
    """A certificate error that the caller was handling does not make a connection error a certificate error."""
    try:
        raise ssl.SSLCertVerificationError(1, 'certificate verify failed')
    except ssl.SSLError:
        found = translation_of(ConnectionResetError('reset'))

    assert type(found) is errors.NetworkError


def test_error_that_the_caller_was_handling() -> None:
    """The traceback of an exception that the caller was handling is kept, with its variables."""

    def fail() -> None:
        kept = 'value'
        raise LookupError(kept)

    with pytest.raises(LookupError) as caught:
        fail()
    reset = ConnectionResetError('reset')
    reset.__context__ = caught.value

    translation_of(reset)

    assert caught.tb.tb_next is not None
    assert caught.tb.tb_next.tb_frame.f_locals == {'kept': 'value'}


@pytest.mark.parametrize(
    'error',
    [
        KeyError('a mistake in the code'),
        RuntimeError('something else'),
        AssertionError(),
        KeyboardInterrupt(),
        gevent.GreenletExit(),
        gevent.Timeout(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_unknown_errors_pass(error: BaseException) -> None:
    """Errors that are not botocore's are not translated."""
    with pytest.raises(type(error)) as caught, translated(DOING):
        raise error

    assert caught.value is error
    assert error.__cause__ is None


def test_our_own_errors_pass() -> None:
    """s3po's own errors are not translated; a LocalError is an OSError, but not a NetworkError."""
    for error in (errors.LocalError('disk full'), errors.ConfigurationError('bad'), errors.NetworkError('cut')):
        assert translation_of(error) is error


def test_nothing_to_translate() -> None:
    """Without an exception, nothing happens."""
    with translated(DOING):
        pass


def test_answers() -> None:
    """A refusal has the fields of the response; tests/unit/test_status.py tests their meaning."""
    headers = {'X-Amz-Bucket-Region': 'eu-west-1', 'Retry-After': '3'}
    found = translation_of(refusal('SlowDown', 503, HTTPHeaders=headers, RequestId='ID7'))

    assert isinstance(found, errors.Throttled)
    assert (found.status, found.code, found.request_id, found.retry_after_s) == (503, 'SlowDown', 'ID7', 3.0)
    assert str(found) == f'{DOING}: 503 SlowDown: said so (request id ID7)'
    assert "give region='eu-west-1'" in str(translation_of(refusal('PermanentRedirect', 301)))


def test_answer_without_anything() -> None:
    """A refusal without a body is translated, too."""
    assert isinstance(translation_of(theirs.ClientError({}, 'GetObject')), errors.ResponseError)


def test_expired_credentials() -> None:
    """With refreshable keys an expired token calls on_expired once; otherwise it is an AccessDenied."""
    told: list[int] = []
    found = translation_of(refusal('ExpiredToken'), on_expired=lambda: told.append(1))

    assert type(found) is errors.CredentialsExpired
    assert told == [1]
    assert type(translation_of(refusal('ExpiredToken'))) is errors.AccessDenied
    assert type(translation_of(refusal('AccessDenied', 403), on_expired=lambda: told.append(2))) is errors.AccessDenied
    assert told == [1]


def test_answer_without_a_message() -> None:
    """An empty message (Ceph's gateway sends one) is not shown as None."""
    said = {'Error': {'Code': 'NoSuchKey', 'Message': None}, 'ResponseMetadata': {'HTTPStatusCode': 404}}

    assert str(translation_of(theirs.ClientError(said, 'GetObject'))) == f'{DOING}: 404 NoSuchKey'
