"""All errors that s3po raises. Imports nothing of s3po, so that every room can import it.

The class alone decides whose fault an error is, and whether the attempt is retried:
        S3poError                      the root: `except s3po.S3poError` catches all of them
        ├─ ConfigurationError          the caller's fault; nothing was sent (also a ValueError)
        ├─ CredentialsError            no credentials, half of a pair, or a refresh failed
        ├─ TransportError              one attempt failed
        │  ├─ ConnectTimeout           retryable
        │  ├─ ReadTimeout              retryable
        │  ├─ NetworkError             retryable: refused, reset, truncated, or not an HTTP response
        │  ├─ IntegrityError           retryable with a new reading; reaches the caller as itself
        │  ├─ CertificateError         never retried
        │  └─ ResponseError            the store responded with an error
        │     ├─ NotFound              never retried; reaches the caller as itself, like the four below
        │     ├─ NoSuchBucket
        │     ├─ AccessDenied
        │     │  └─ CredentialsExpired retried once, after the credentials were refreshed
        │     ├─ PreconditionFailed
        │     ├─ InvalidRequest
        │     ├─ Conflict              retryable: 408, 409, RequestTimeout
        │     ├─ Throttled             retryable, after longer waits
        │     └─ ServerError           retryable
        ├─ DeleteException             base of NotFound too
        │  └─ TransferError            the retries were used up; `__cause__` is the last attempt's error
        │     ├─ UploadError
        │     └─ DownloadError
        ├─ DownloadException           base of DownloadError and NotFound too
        ├─ LocalError                  an error of the local file system (also an OSError)
        ├─ ListingError                a listing that contradicts itself
        ├─ BreakerOpen                 the batch, or a part of it, stopped after too many failures
        ├─ DeadlineExceeded            a `timeout_s` ran out
        ├─ Cancelled                   the job was cancelled
        ├─ CallbackError               a callback raised; the transfer itself succeeded
        ├─ BatchError                  jobs of a batch failed
        ├─ WorkerLost                  the worker processes of a job were killed
        ├─ JobError                    a saved job that cannot be carried out
        ├─ VerifyError                 objects or files are not as recorded
        ├─ CopyIncomplete              a copy lacks something of its source, which is kept
        ├─ SourceChanged               the data changed during the transfer
        └─ UnsafePath                  a key that cannot be used as a path

    A retryable error reaches callers only as the `__cause__` of a TransferError. Every error pickles, with its fields and
    cause.
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
    'CopyIncomplete',
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
    'VerifyError',
    'WorkerLost',
]


class S3poError(Exception):
    """The root of all errors of s3po.

    Attributes:
        is_of_other_store: True for an error of the store or the credentials of `to`, in a copy to another store.
    """

    is_of_other_store: bool = False

    def __str__(self) -> str:
        # Not OSError's form for subclasses that are also OSErrors: the message contains the file and the reason already.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception does not pickle __cause__, which is half of the information of these errors. A foreign cause may not pickle
        # at all, so only our own are included.
        state = dict(self.__dict__)
        if isinstance(self.__cause__, S3poError):
            state['__cause__'] = self.__cause__
        if isinstance(self, OSError):
            # OSError keeps these outside of __dict__.
            state |= {'errno': self.errno, 'strerror': self.strerror, 'filename': self.filename}
        return (type(self), self.args, state)


class ConfigurationError(S3poError, ValueError):
    """An argument or a setting is wrong; the message names it and the fix. Nothing was sent."""


class CredentialsError(S3poError):
    """There are no usable credentials, or they could not be refreshed."""


class TransportError(S3poError):
    """One attempt at one request failed.

    Attributes:
        attempts: The number of attempts when the error was raised.
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
    """The connection was refused, reset or truncated, or the response was not HTTP.

    Attributes:
        is_unresolved: Whether the host name could not be resolved.
    """

    is_unresolved: bool = False


class IntegrityError(TransportError):
    """The received bytes do not match their checksum, or are not the requested ones."""


class CertificateError(TransportError):
    """The server's certificate could not be verified; nothing was sent."""


class ResponseError(TransportError):
    """The store responded with an error.

    Attributes:
        status: The HTTP status, such as 404.
        code: S3's error code, such as 'NoSuchKey'; for a HEAD, whose response has no body, the status as text.
        request_id: The store's id of the request, for its operators; '' if it sent none.
        retry_after_s: The wait that the store requests, in seconds; None for none.
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
    """A download failed: the retries were used up, or the object does not exist. A name of the first s3po."""


class DeleteException(S3poError):
    """A deletion failed: the retries were used up, or the object does not exist. A name of the first s3po."""


class NotFound(ResponseError, DownloadException, DeleteException):
    """The key, version or multipart upload does not exist."""


class NoSuchBucket(ResponseError):
    """The bucket does not exist."""


class AccessDenied(ResponseError):
    """The credentials do not allow the operation, or are unknown to the store."""


class CredentialsExpired(AccessDenied):
    """The token has expired, and the credentials can be refreshed."""


class PreconditionFailed(ResponseError):
    """The condition `if_match` or `if_none_match` is false (412)."""


class InvalidRequest(ResponseError):
    """The store rejects the request."""


class Conflict(ResponseError):
    """Another operation on the object was running, or the request was too slow (408, 409)."""


class Throttled(ResponseError):
    """The store requests a lower rate (429, 503 SlowDown)."""


class ServerError(ResponseError):
    """The store failed (5xx)."""


class TransferError(DeleteException):
    """The retries of a transfer were used up; `__cause__` is the error of the last attempt.

    Attributes:
        bucket: The object's bucket.
        key: The object's key.
        attempts: The attempts of the request that failed.
        part_number: The part that failed, from 1; None if the object was transferred in one request.
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
    """An upload or a copy failed after all retries; the destination is unchanged."""


class DownloadError(TransferError, DownloadException):
    """A download failed after all retries; the target is unchanged or absent."""


class LocalError(S3poError, OSError):
    """An error of the local file system: no such file, no permission, disk full.

    Attributes:
        errno: The system's error number, as on every OSError; None if there is none.
        filename: The path, as text.
    """

    def __init__(self, message: str, *, errno: int | None = None, filename: str | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.filename = filename


class ListingError(S3poError):
    """The store's listing contradicts itself; some keys may be missing from it."""


class BreakerOpen(S3poError):
    """The batch, or what the message names, has stopped after too many failures; `__cause__` is the last one, if known."""


class DeadlineExceeded(S3poError):
    """The `timeout_s` of a call, a job or a batch ran out."""


class Cancelled(S3poError):
    """The job was cancelled before it was done."""


class CallbackError(S3poError):
    """A callback or errback raised; `__cause__` is its error."""


class BatchError(S3poError):
    """Jobs of a batch failed, or were not started.

    Attributes:
        failed: The failed jobs, a sequence of FailedJob.
        not_started: The jobs that never began, a sequence of FailedJob.
    """

    def __init__(self, message: str, failed: Sequence[Any] = (), not_started: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failed = failed
        self.not_started = not_started


class WorkerLost(S3poError):
    """Two worker processes were lost while they carried out a job, or none can be started.

    Attributes:
        pids: The process ids of the lost processes.
    """

    def __init__(self, message: str, *, pids: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.pids = pids


class JobError(S3poError):
    """A job that was read from a file or a queue, and cannot be carried out."""


class VerifyError(S3poError):
    """Objects or files are not as recorded.

    Attributes:
        report: The VerifyReport.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CopyIncomplete(S3poError):
    """The copy of a move exists, but lacks something of its source, such as tags; the source was not deleted."""


class SourceChanged(S3poError):
    """The file or object changed during the transfer; nothing was published."""


class UnsafePath(S3poError):
    """The key cannot be used as a local path."""


# A name of the first s3po.
UploadException = UploadError
