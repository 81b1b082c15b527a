"""Translates errors of botocore and urllib3 into s3po's."""

from __future__ import annotations

import http.client
import socket
import ssl
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import botocore.exceptions as theirs
import botocore.parsers
import urllib3.exceptions

from s3po import errors
from s3po.http.connecting import NO_TLS
from s3po.s3.status import error_for
from s3po.secrecy import redacted

__all__ = ['translated']

# Raised by urllib3 and the system for an unknown host name.
UNRESOLVED: Final = (urllib3.exceptions.NameResolutionError, socket.gaierror)

# Errors of botocore, the class that is raised for them, and its message; the first match counts. `{error}` is their text.
TABLE: Final[Sequence[tuple[tuple[type[Exception], ...], type[errors.S3poError], str]]] = (
    (
        (theirs.ProfileNotFound,),
        errors.ConfigurationError,
        'profile: {error}; check its name, AWS_PROFILE, and where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE lead',
    ),
    (
        (
            theirs.NoCredentialsError,
            theirs.PartialCredentialsError,
            theirs.CredentialRetrievalError,
            theirs.InvalidConfigError,
            theirs.MetadataRetrievalError,
            theirs.RefreshWithMFAUnsupportedError,
            theirs.SSOError,
            theirs.TokenRetrievalError,
            theirs.UnauthorizedSSOTokenError,
            theirs.NoAuthTokenError,
        ),
        errors.CredentialsError,
        '{doing}: {error}',
    ),
    ((theirs.ConnectTimeoutError,), errors.ConnectTimeout, '{doing}: no connection: {error}'),
    (
        (theirs.ReadTimeoutError, urllib3.exceptions.ReadTimeoutError, TimeoutError),
        errors.ReadTimeout,
        '{doing}: no answer in time: {error}',
    ),
    ((theirs.FlexibleChecksumError,), errors.IntegrityError, '{doing}: {error}'),
    (
        (
            theirs.HTTPClientError,
            theirs.ConnectionError,
            theirs.IncompleteReadError,
            botocore.parsers.ResponseParserError,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
        ),
        errors.NetworkError,
        '{doing}: {error}',
    ),
    # Parameters, endpoints, regions: errors that botocore finds before it sends anything.
    ((theirs.BotoCoreError, ValueError), errors.ConfigurationError, '{doing}: {error}'),
)


@contextmanager
def translated(doing: str, *, on_expired: Callable[[], None] | None = None, endpoint: str = '') -> Iterator[None]:
    """Raise errors of botocore in the body as s3po's.

    Args:
        doing: The operation, for the message: 'GetObject s3://bucket/key'.
        on_expired: Called when the store reports that the credentials have expired; None if they cannot be refreshed.
        endpoint: The endpoint of the request, for the message.
    """
    try:
        yield
    except errors.S3poError:
        raise
    except Exception as error:
        found = _translate(error, doing, can_refresh=on_expired is not None, endpoint=endpoint)
        if found is None:
            raise
        if on_expired is not None and isinstance(found, errors.CredentialsExpired):
            on_expired()
        _release(error)
        raise found from error


def _translate(error: Exception, doing: str, *, can_refresh: bool, endpoint: str) -> errors.S3poError | None:
    """s3po's error for one of botocore's; None for any other error."""
    if isinstance(error, theirs.ClientError):
        return _of_answer(error, doing, can_refresh=can_refresh, endpoint=endpoint)
    if isinstance(error, RuntimeError) and 'refreshed credentials are still expired' in str(error):
        return errors.CredentialsError(f'{doing}: {_shown(error)}')
    if _is_untrusted(error):
        return errors.CertificateError(f'{doing}: {_shown(error)}; give verify= the path of the authority that signed it')
    for kinds, ours, text in TABLE:
        if isinstance(error, kinds):
            found = ours(text.format(doing=doing, error=_shown(error)) + _scheme_hint(error))
            if isinstance(found, errors.NetworkError):
                found.is_unresolved = any(isinstance(each, UNRESOLVED) for each in _carried(error))
            return found
    return None


def _of_answer(error: Any, doing: str, *, can_refresh: bool, endpoint: str) -> errors.S3poError:
    said = error.response.get('Error', {})
    metadata = error.response.get('ResponseMetadata', {})
    headers = {str(name).lower(): str(value) for name, value in metadata.get('HTTPHeaders', {}).items()}
    if metadata.get('RequestId'):
        headers.setdefault('x-amz-request-id', str(metadata['RequestId']))
    return error_for(
        doing,
        status=int(metadata.get('HTTPStatusCode', 0)),
        code=str(said.get('Code', '')),
        # Ceph's gateway sends an empty code, which botocore turns into None.
        message=str(said.get('Message') or ''),
        headers=headers,
        can_refresh=can_refresh,
        region=str(said.get('Region', '')),
        endpoint=endpoint,
    )


def _scheme_hint(error: Exception) -> str:
    """A hint for the message if the endpoint's scheme may be wrong."""
    text = str(error)
    if isinstance(error, theirs.SSLError) and any(reason in text for reason in NO_TLS):
        return '; it does not speak TLS: should endpoint_url begin with http://?'
    if isinstance(error, theirs.ConnectionClosedError) and 'http://' in text:
        return '; if it speaks TLS, endpoint_url must begin with https://'
    return ''


def _release(error: BaseException) -> None:
    """Clear the frames of an error and its causes: http.client leaves a response, and so a socket, open there."""
    for each in _carried(error):
        if isinstance(each, BaseException):
            traceback.clear_frames(each.__traceback__)


def _is_untrusted(error: BaseException) -> bool:
    """Whether a certificate could not be verified."""
    return any(
        isinstance(each, ssl.SSLCertVerificationError) or (isinstance(each, str) and 'CERTIFICATE_VERIFY_FAILED' in each)
        for each in _carried(error)
    )


def _carried(error: BaseException) -> Iterator[object]:
    """An error, the errors that it carries at any depth, and their texts.

    Not its __context__: that may be anything that the caller was handling when the request was made.
    """
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            # botocore keeps a wrapped error in `kwargs`, urllib3 in `args` or `reason`.
            kwargs = getattr(each, 'kwargs', None)
            waiting += [each.__cause__, getattr(each, 'reason', None), *each.args]
            waiting += kwargs.values() if isinstance(kwargs, dict) else ()


def _shown(error: BaseException) -> str:
    """The error's text without secrets; its class if it has no text, as a bare ConnectionResetError."""
    return redacted(str(error)) or type(error).__name__
