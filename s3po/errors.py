"""Everything that s3po raises.

What may live here: exception classes with plain fields. This file imports nothing of s3po, so that every room can raise.

Two questions are answered by the class alone: whose fault was it, and may the attempt be made again?

    S3poError                      the root: `except s3po.S3poError` catches all of s3po
    ├─ ConfigurationError          the caller's fault; nothing was sent (also a ValueError)
    ├─ CredentialsError            no credentials, half a pair, or they could not be refreshed
    ├─ TransportError              one attempt failed
    │  ├─ ConnectTimeout           retryable
    │  ├─ ReadTimeout              retryable
    │  ├─ NetworkError             retryable: refused, reset, cut short, garbage for an answer
    │  ├─ IntegrityError           retryable with a fresh read; reaches the caller as itself
    │  ├─ CertificateError         never retried
    │  └─ ResponseError            the store answered, and said no
    │     ├─ NotFound              never retried; reaches the caller as itself, like the four below
    │     ├─ NoSuchBucket
    │     ├─ AccessDenied
    │     │  └─ CredentialsExpired retried once, after the credentials were refreshed
    │     ├─ PreconditionFailed
    │     ├─ InvalidRequest
    │     ├─ Conflict              retryable: 408, 409, RequestTimeout
    │     ├─ Throttled             retryable, more slowly
    │     └─ ServerError           retryable
    ├─ TransferError               the retries ran out; `__cause__` is the last attempt's error
    │  ├─ UploadError
    │  └─ DownloadError
    ├─ DownloadException           base of DownloadError and NotFound too
    ├─ LocalError                  this machine's disk or files (also an OSError)
    ├─ ListingError                a listing that cannot be trusted
    ├─ BreakerOpen                 the batch stopped taking work after too many failures
    ├─ DeadlineExceeded            a `timeout_s` ran out
    ├─ Cancelled                   a job that was cancelled
    ├─ CallbackError               a callback raised; the transfer itself succeeded
    ├─ BatchError                  what failed of a batch
    ├─ JobError                    a description of a job that cannot be carried out
    ├─ SourceChanged               the data changed while they were moved
    └─ UnsafePath                  a key that must not become a path

A retryable error reaches callers only as the `__cause__` of a TransferError. Every error pickles, with its fields and cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    'AccessDenied',
    'BatchError',
    'BreakerOpen',
    'CallbackError',
    'Cancelled',
    'CertificateError',
    'ConfigurationError',
    'Conflict',
    'ConnectTimeout',
    'CredentialsError',
    'CredentialsExpired',
    'DeadlineExceeded',
    'DeleteException',
    'DownloadError',
    'DownloadException',
    'IntegrityError',
    'InvalidRequest',
    'JobError',
    'ListingError',
    'LocalError',
    'NetworkError',
    'NoSuchBucket',
    'NotFound',
    'PreconditionFailed',
    'ReadTimeout',
    'ResponseError',
    'S3poError',
    'ServerError',
    'SourceChanged',
    'Throttled',
    'TransferError',
    'TransportError',
    'UnsafePath',
    'UploadError',
    'UploadException',
]


class S3poError(Exception):
    """The root of all errors of s3po."""

    def __str__(self) -> str:
        # Not OSError's, where a subclass is one too: the message names the file and the reason already.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception forgets __cause__ when it is pickled, and the cause is half of what these errors have to say.
        # A foreign cause may not pickle at all, so only our own travel.
        state = dict(self.__dict__)
        if isinstance(self.__cause__, S3poError):
            state['__cause__'] = self.__cause__
        if isinstance(self, OSError):
            # Kept outside of __dict__.
            state |= {'errno': self.errno, 'strerror': self.strerror, 'filename': self.filename}
        return (type(self), self.args, state)


class ConfigurationError(S3poError, ValueError):
    """An argument or a setting is wrong; the message names it, and the fix. Nothing was sent."""


class CredentialsError(S3poError):
    """There are no usable credentials, or they could not be refreshed."""


class TransportError(S3poError):
    """One attempt at one request failed.

    Attributes:
        attempts: How many attempts had been made when the error was handed on.
    """

    def __init__(self, message: str, *, attempts: int = 1) -> None:
        super().__init__(message)
        self.attempts = attempts

    def __str__(self) -> str:
        text = str(self.args[0])
        return text if self.attempts == 1 else f'{text} (after {self.attempts} attempts)'


class ConnectTimeout(TransportError):
    """No connection within `connect_timeout_s`."""


class ReadTimeout(TransportError):
    """Nothing arrived for `read_timeout_s`."""


class NetworkError(TransportError):
    """The connection was refused, reset or cut short, or what came was no answer.

    Attributes:
        is_unresolved: Whether it was the host's name that nobody knew.
    """

    is_unresolved: bool = False


class IntegrityError(TransportError):
    """The bytes that arrived are not the bytes that were asked for."""


class CertificateError(TransportError):
    """The server's certificate could not be verified; nothing was sent."""


class ResponseError(TransportError):
    """The store answered with an error.

    Attributes:
        status: The HTTP status, such as 404.
        code: S3's error code, such as 'NoSuchKey'; of a HEAD, which has no body, the status as text.
        request_id: The store's id of the request, for its operators; '' when it sent none.
        retry_after_s: How long the store asks to wait, in seconds; None when it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = '',
        request_id: str = '',
        retry_after_s: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, attempts=attempts)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class DownloadException(S3poError):
    """A download failed: the retries ran out, or there is no such object. The name that users of the first s3po know."""


class NotFound(ResponseError, DownloadException):
    """There is no such key, version or multipart upload."""


class NoSuchBucket(ResponseError):
    """There is no such bucket."""


class AccessDenied(ResponseError):
    """The credentials are not allowed to do this, or not known."""


class CredentialsExpired(AccessDenied):
    """The token had expired, and the credentials are of a kind that can be refreshed."""


class PreconditionFailed(ResponseError):
    """`if_match` or `if_none_match` did not hold (412)."""


class InvalidRequest(ResponseError):
    """The store refuses the request as it is."""


class Conflict(ResponseError):
    """Something else was going on with the object, or the request came too slowly (408, 409)."""


class Throttled(ResponseError):
    """The store asks for fewer requests (429, 503 SlowDown)."""


class ServerError(ResponseError):
    """The store failed (5xx)."""


class TransferError(S3poError):
    """The retries of a transfer ran out; `__cause__` is the error of the last attempt.

    Attributes:
        bucket: The object's bucket.
        key: The object's key.
        attempts: The attempts made at the request that failed for good.
        part_number: The part that failed, from 1; None where the object was moved by one request.
    """

    def __init__(
        self, message: str, *, bucket: str = '', key: str = '', attempts: int = 1, part_number: int | None = None
    ) -> None:
        super().__init__(message)
        self.bucket = bucket
        self.key = key
        self.attempts = attempts
        self.part_number = part_number


class UploadError(TransferError):
    """An upload or a copy failed for good; the destination is what it was before."""


class DownloadError(TransferError, DownloadException):
    """A download failed for good; the target is what it was before."""


class LocalError(S3poError, OSError):
    """This machine's file system said no: no such file, no access, disk full.

    Attributes:
        errno: The system's error number, as on every OSError; None when there is none.
        filename: The path concerned, as text.
    """

    def __init__(self, message: str, *, errno: int | None = None, filename: str | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.filename = filename


class ListingError(S3poError):
    """The store's listing contradicts itself; some keys may be missing from what was listed."""


class BreakerOpen(S3poError):
    """The batch had too many failures and takes no more work (`max_failures`)."""


class DeadlineExceeded(S3poError):
    """The `timeout_s` of a call, a job or a batch ran out."""


class Cancelled(S3poError):
    """The job was cancelled before it was done."""


class CallbackError(S3poError):
    """A callback or errback raised; `__cause__` is what it raised."""


class BatchError(S3poError):
    """Jobs of a batch failed.

    Attributes:
        failed: What failed, a sequence of FailedJob.
    """

    def __init__(self, message: str, failed: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failed = failed


class JobError(S3poError):
    """A description of a job, read from a file or a queue, that cannot be carried out."""


class SourceChanged(S3poError):
    """The file or object changed while it was moved; nothing was published."""


class UnsafePath(S3poError):
    """The key must not become a local path."""


# The names that users of the first s3po know, beside DownloadException.
UploadException = UploadError
DeleteException = TransferError
