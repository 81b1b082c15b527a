"""Each status and code maps to one error class, with advice."""

from __future__ import annotations

import datetime
import email.utils

import pytest

from s3po import errors
from s3po.s3.status import error_for, retry_after_s


def error(status: int, code: str = '', **arguments: object) -> errors.TransportError:
    given: dict[str, object] = {'message': 'said so', 'headers': {}, **arguments}
    return error_for('GetObject s3://bucket/key', status=status, code=code, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('status', 'code', 'kind'),
    [
        (400, 'InvalidArgument', errors.InvalidRequest),
        (400, 'RequestTimeout', errors.Conflict),
        (400, 'BadDigest', errors.IntegrityError),
        (400, 'ExpiredToken', errors.AccessDenied),
        (401, '401', errors.AccessDenied),
        (403, 'AccessDenied', errors.AccessDenied),
        (403, 'InvalidObjectState', errors.AccessDenied),
        (403, 'RequestTimeTooSkewed', errors.AccessDenied),
        (403, 'SignatureDoesNotMatch', errors.AccessDenied),
        (404, '404', errors.NotFound),
        (404, 'NoSuchKey', errors.NotFound),
        (404, 'NoSuchUpload', errors.NotFound),
        (404, 'NoSuchBucket', errors.NoSuchBucket),
        (405, 'MethodNotAllowed', errors.InvalidRequest),
        (408, '', errors.Conflict),
        (409, 'OperationAborted', errors.Conflict),
        (409, 'ConditionalRequestConflict', errors.Conflict),
        (409, 'BucketNotEmpty', errors.InvalidRequest),
        (412, 'PreconditionFailed', errors.PreconditionFailed),
        (416, 'InvalidRange', errors.InvalidRequest),
        (301, 'PermanentRedirect', errors.InvalidRequest),
        (429, 'TooManyRequests', errors.Throttled),
        (500, 'InternalError', errors.ServerError),
        (502, '502', errors.ServerError),
        (503, 'SlowDown', errors.Throttled),
        (503, '', errors.Throttled),
        (504, '', errors.ServerError),
        (507, '', errors.ServerError),
        # A late failure of CompleteMultipartUpload or CopyObject: the status is 200, or the one that botocore sets.
        (200, 'InternalError', errors.ServerError),
        (200, 'SlowDown', errors.Throttled),
        (200, 'AccessDenied', errors.AccessDenied),
        (200, 'SomethingNew', errors.ServerError),
        (500, 'AccessDenied', errors.AccessDenied),
    ],
)
def test_kinds(status: int, code: str, kind: type[errors.TransportError]) -> None:
    """The code precedes the status."""
    assert type(error(status, code)) is kind


def test_expired_credentials() -> None:
    """Expired credentials are retryable only if they can be refreshed."""
    assert type(error(400, 'ExpiredToken', can_refresh=True)) is errors.CredentialsExpired
    assert 'get new credentials' in str(error(400, 'ExpiredToken'))


def test_text_and_fields() -> None:
    """The message has the operation, the object, the reason, advice and the request id."""
    found = error(404, 'NoSuchBucket', headers={'x-amz-request-id': 'ID7', 'retry-after': '3'})

    assert str(found) == (
        'GetObject s3://bucket/key: 404 NoSuchBucket: said so; create the bucket first, or check its name and the '
        'endpoint (request id ID7)'
    )
    assert isinstance(found, errors.ResponseError)
    assert (found.status, found.code, found.request_id, found.retry_after_s) == (404, 'NoSuchBucket', 'ID7', 3.0)


def test_region_is_in_the_error() -> None:
    """The error of a bucket in another region contains the region."""
    assert "give region='eu-west-1'" in str(error(301, 'PermanentRedirect', headers={'x-amz-bucket-region': 'eu-west-1'}))
    assert "give region='eu-west-1'" in str(error(400, 'AuthorizationHeaderMalformed', region='eu-west-1'))


@pytest.mark.parametrize(('offset_s', 'text'), [(7200, '7200 s ahead of'), (-7200, '7200 s behind')])
def test_skewed_clock(offset_s: int, text: str) -> None:
    """The message contains the offset of the clock."""
    theirs = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=offset_s)
    found = error(403, 'RequestTimeTooSkewed', headers={'date': email.utils.format_datetime(theirs, usegmt=True)})

    told = str(found).replace('7199', '7200').replace('7201', '7200')
    assert f"this machine's clock is {text} the store's" in told
    assert "this machine's clock is wrong" in str(error(403, 'RequestTimeTooSkewed'))


@pytest.mark.parametrize(
    ('headers', 'expected'),
    [
        ({}, None),
        ({'retry-after': '2'}, 2.0),
        ({'retry-after': '1.5'}, 1.5),
        ({'retry-after': 'soon'}, None),
        ({'retry-after': '86400'}, 86400.0),
        ({'retry-after': '-5'}, None),
        ({'retry-after': 'inf'}, None),
        ({'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT'}, 0.0),
        ({'x-amz-retry-after': '1500', 'retry-after': '9'}, 1.5),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    """Retry-After may be seconds, a date, or AWS's milliseconds."""
    assert retry_after_s(headers) == expected


def test_retry_after_a_date() -> None:
    """A date in Retry-After is converted to seconds from now."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    found = retry_after_s({'retry-after': email.utils.format_datetime(later, usegmt=True)})

    assert found is not None
    assert 25 < found <= 30


@pytest.mark.parametrize(
    ('date', 'expected'), [('Sun, 06 Nov 1994 08:49:07 GMT', 30.0), ('Sun, 06 Nov 1994 09:49:37 GMT', 0.0)]
)
def test_retry_after_a_date_of_the_stores(date: str, expected: float) -> None:
    """The date is compared with the store's clock, whatever this machine's clock shows; a date in the past is no wait."""
    assert retry_after_s({'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT', 'date': date}) == expected


@pytest.mark.parametrize('text', ['²', '٣', 'Sun, 06 Nov 99999 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994', 'soon', '-5'])
def test_odd_waits(text: str) -> None:
    """An invalid Retry-After is ignored."""
    for name in ('retry-after', 'x-amz-retry-after'):
        assert retry_after_s({name: text}) in (None, 0.0)


@pytest.mark.parametrize('date', ['', 'soon', 'Sun Nov  6 08:49:37 1994', 'Sun, 06 Nov 99999 08:49:37 GMT'])
def test_odd_dates(date: str) -> None:
    """With an invalid date the message has advice, without the offset."""
    error = error_for('Doing', status=403, code='RequestTimeTooSkewed', message='', headers={'date': date})

    assert 'clock is' in str(error)
