"""Converts the store's responses to s3po's errors.

The meaning of S3's statuses and codes, shared by all transports. No I/O.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (codes), RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Collection, Container, Mapping
from typing import Any, Final

from s3po import errors

__all__ = [
    'STORE_SIGNS',
    'check_signs',
    'check_status',
    'error_for',
    'has_own_key',
    'is_gone',
    'moment_of',
    'retry_after_s',
    'web_page_hint',
]

# Every store sends at least one of these with an object.
STORE_SIGNS: Final = ('etag', 'last-modified', 'x-amz-request-id', 'x-amz-id-2', 'x-amz-version-id')

# By code, because the status may be another: a CompleteMultipartUpload or CopyObject that fails late has status 200, and the
# error in its body.
CODES: Final[Mapping[type[errors.ResponseError], Collection[str]]] = {
    errors.NoSuchBucket: ('NoSuchBucket',),
    errors.NotFound: ('NoSuchKey', 'NoSuchVersion', 'NoSuchUpload'),
    errors.PreconditionFailed: ('PreconditionFailed',),
    errors.AccessDenied: ('AccessDenied', 'InvalidAccessKeyId', 'SignatureDoesNotMatch', 'RequestTimeTooSkewed'),
    errors.ServerError: ('InternalError',),
    errors.Throttled: (
        'ServiceUnavailable',
        'SlowDown',
        'Throttling',
        'ThrottlingException',
        'ThrottledException',
        'RequestThrottled',
        'RequestThrottledException',
        'RequestLimitExceeded',
        'BandwidthLimitExceeded',
        'TooManyRequests',
        'TooManyRequestsException',
    ),
    errors.Conflict: ('RequestTimeout', 'RequestTimeoutException', 'OperationAborted', 'ConditionalRequestConflict'),
    # Status 409 too, but a retry does not help.
    errors.InvalidRequest: ('BucketAlreadyExists', 'BucketAlreadyOwnedByYou', 'BucketNotEmpty'),
}
BY_CODE: Final = {code: kind for kind, codes in CODES.items() for code in codes}
BY_STATUS: Final[Mapping[int, type[errors.ResponseError]]] = {
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.NotFound,
    408: errors.Conflict,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    429: errors.Throttled,
    # Not implemented: a retry does not help.
    501: errors.InvalidRequest,
    503: errors.Throttled,
}
EXPIRED_CODES: Final = frozenset({'ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired', 'InvalidToken'})
# The store received other bytes than were sent.
INTEGRITY_CODES: Final = frozenset({'BadDigest', 'XAmzContentChecksumMismatch', 'XAmzContentSHA256Mismatch'})

# Codes of some stores for a DELETE of a missing key. A 404 without one of these codes may come from a proxy.
GONE_CODES: Final = frozenset({'NoSuchKey', 'NoSuchVersion'})

# The statuses that mean success, for each operation. S3 responds to a DELETE with 204; some stores respond with 200.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
DELETED: Final = (204, 200)
SUCCESSES: Final[Mapping[str, tuple[int, ...]]] = {
    'AbortMultipartUpload': DELETED,
    'DeleteBucket': DELETED,
    'DeleteObject': DELETED,
    'GetObject': (200, 206),
}
OTHER_SUCCESSES: Final = (200,)
# The longest wait that a store can request.
LONGEST_WAIT_S: Final = 1e9

SECONDS: Final = re.compile(r'[0-9]+(\.[0-9]+)?')
MONTHS: Final = {
    name: number
    for number, name in enumerate(('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'), 1)
}

ADVICE: Final[Mapping[str, str]] = {
    'NoSuchBucket': 'create the bucket first, or check its name and the endpoint',
    'InvalidAccessKeyId': 'check access_key_id, and that it belongs to this endpoint',
    'SignatureDoesNotMatch': 'check secret_access_key and region',
    'ExpiredToken': 'get new credentials',
    'InvalidObjectState': 'the object is archived; restore it first',
    'EntityTooLarge': "the object is larger than this store's limit",
    'PermanentRedirect': 'the bucket is in another region',
    'AuthorizationHeaderMalformed': 'the bucket may be in another region',
}


def error_for(
    doing: str,
    *,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str],
    can_refresh: bool = False,
    region: str = '',
    endpoint: str = '',
) -> errors.TransportError:
    """The error that a response means.

    Args:
        doing: The request, such as 'GetObject s3://bucket/key'.
        status: The HTTP status.
        code: S3's code; for a response without a body, the status as text.
        message: S3's message.
        headers: The response's headers, with lower-case names.
        can_refresh: Whether expired credentials can be replaced by new ones.
        region: The bucket's region, if the response names it.
        endpoint: The endpoint of the request, for the message.
    """
    # The response to a HEAD has no body, so its code is the status.
    text = f'{doing}: {status}' + (f' {code}' if code not in ('', str(status)) else '') + (f': {message}' if message else '')
    advice = _advice(code, headers, region) or (web_page_hint(headers) if code in ('', str(status)) else '')
    if advice:
        text += f'; {advice}'
    request_id = headers.get('x-amz-request-id', '')
    details = [f'request id {request_id}'] if request_id else []
    if endpoint:
        details.append(f'endpoint {endpoint}')
    if details:
        text += f' ({", ".join(details)})'
    if code in INTEGRITY_CODES:
        return errors.IntegrityError(text)
    kind = _kind(status, code, can_refresh=can_refresh)
    return kind(text, status=status, code=code, request_id=request_id, retry_after_s=retry_after_s(headers))


def web_page_hint(headers: Mapping[str, str]) -> str:
    """Advice for a response that is a web page; '' for any other.

    Args:
        headers: The response's headers, with lower-case names.
    """
    if not headers.get('content-type', '').startswith('text/html'):
        return ''
    return "the response is a web page, not S3's; is endpoint_url the address of an S3 store's API?"


def check_signs(doing: object, headers: Container[Any], signs: Collection[Any], content_type: str) -> None:
    """Check that the response to a GET or HEAD has one of the headers that every store sends; a web page has none.

    Args:
        doing: The request, for the message.
        headers: The names of the response's headers, in lower case.
        signs: STORE_SIGNS, with the same type as the names.
        content_type: The response's Content-Type.

    Raises:
        NetworkError: It has none of them.
    """
    if not any(sign in headers for sign in signs):
        hint = web_page_hint({'content-type': content_type}) or 'is the endpoint an S3 store?'
        raise errors.NetworkError(f'{doing}: the response has none of the headers that every store sends; {hint}')


def check_status(operation: str, doing: object, status: int) -> None:
    """Reject a status that S3 never sends for this operation, such as the 202 of a proxy that has only queued the request.

    Args:
        operation: S3's name of the request.
        doing: The request, for the message.
        status: The HTTP status, below 300.

    Raises:
        NetworkError: The status does not mean that the request was carried out.
    """
    allowed = SUCCESSES.get(operation, OTHER_SUCCESSES)
    if status not in allowed:
        expected = ' or '.join(map(str, allowed))
        raise errors.NetworkError(f'{doing}: the status is {status}, but S3 sends {expected}; is the endpoint an S3 store?')


def is_gone(error: errors.TransportError) -> bool:
    """Whether the error means that the key or version does not exist, so that there is nothing to delete."""
    return isinstance(error, errors.NotFound) and error.code in GONE_CODES


def _kind(status: int, code: str, *, can_refresh: bool) -> type[errors.ResponseError]:
    if code in EXPIRED_CODES:
        return errors.CredentialsExpired if can_refresh else errors.AccessDenied
    is_servers_fault = status >= 500 or status < 300
    return BY_CODE.get(code) or BY_STATUS.get(status) or (errors.ServerError if is_servers_fault else errors.InvalidRequest)


def _advice(code: str, headers: Mapping[str, str], region: str) -> str:
    if code == 'RequestTimeTooSkewed':
        return _skew(headers)
    region = region or headers.get('x-amz-bucket-region', '')
    if region and code in (
        'PermanentRedirect',
        'AuthorizationHeaderMalformed',
        'IllegalLocationConstraintException',
        '301',
        '400',
    ):
        return f'the bucket is in region {region}; give region={region!r}'
    return ADVICE.get(code, '')


def _skew(headers: Mapping[str, str]) -> str:
    """How far this machine's clock is from the store's, by the Date of the response."""
    theirs = moment_of(headers.get('date', ''))
    if theirs is None:
        return "this machine's clock is wrong; set it"
    offset = (datetime.datetime.now(datetime.UTC) - theirs).total_seconds()
    return f"this machine's clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the store's; set it"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that the store requests: `x-amz-retry-after` (milliseconds) or `Retry-After` (seconds, or a date)."""
    milliseconds = headers.get('x-amz-retry-after', '')
    if milliseconds.isascii() and milliseconds.isdigit():
        return _seconds(milliseconds) / 1000
    text = headers.get('retry-after', '').strip()
    if not text:
        return None
    if SECONDS.fullmatch(text):
        return _seconds(text)
    until = moment_of(text)
    if until is None:
        return None
    # By the store's clock, if the response has its time: this machine's may be wrong.
    now = moment_of(headers.get('date', '')) or datetime.datetime.now(datetime.UTC)
    return max(0.0, (until - now).total_seconds())


def _seconds(number: str) -> float:
    # int() rejects more than some thousand digits, and float() makes them infinite.
    return min(float(number), LONGEST_WAIT_S)


def has_own_key(encryption: str | bytes | None, customer_algorithm: str | bytes | None) -> bool:
    """Whether an object is encrypted with a KMS or customer key, so that its ETag is not an MD5.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html (ETag). With S3's own keys (AES256) it is one.
    """
    return bool(customer_algorithm) or encryption not in (None, 'AES256', b'AES256')


def moment_of(text: str) -> datetime.datetime | None:
    """Parse a time, in UTC if it names no time zone; None for a missing or invalid one.

    It may be an HTTP date (RFC 9110, section 5.6.7), ISO 8601, or seconds since 1970: botocore reads these in headers and in
    documents, whichever S3 sends there.
    """
    # The form that servers send, 'Sun, 06 Nov 1994 08:49:37 GMT', is parsed here ten times faster than by email.utils.
    if len(text) == 29 and text.endswith(' GMT') and text[8:11] in MONTHS:
        try:
            hour, minute, second = int(text[17:19]), int(text[20:22]), int(text[23:25])
            day = (int(text[12:16]), MONTHS[text[8:11]], int(text[5:7]))
            return datetime.datetime(*day, hour, minute, second, tzinfo=datetime.UTC)
        except ValueError:
            return None
    parse = _since_1970 if SECONDS.fullmatch(text) else datetime.datetime.fromisoformat
    for each in (parse, email.utils.parsedate_to_datetime):
        try:
            moment = each(text)
        except (ValueError, OverflowError, OSError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return None


def _since_1970(text: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(float(text), datetime.UTC)
