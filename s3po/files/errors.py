"""Errors of open files: s3po's errors that are also OSErrors, for code that expects the errors of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from s3po.errors import (
    AccessDenied,
    DownloadError,
    IntegrityError,
    NoSuchBucket,
    NotFound,
    PreconditionFailed,
    S3poError,
    SourceChanged,
    UploadError,
)

__all__ = ['as_file_error', 'file_errors']


class ObjectNotFound(NotFound, FileNotFoundError):
    """The object does not exist (ENOENT)."""


class BucketNotFound(NoSuchBucket, FileNotFoundError):
    """The bucket does not exist (ENOENT)."""


class ObjectDenied(AccessDenied, PermissionError):
    """The credentials do not allow the operation (EACCES)."""


class ObjectExists(PreconditionFailed, FileExistsError):
    """The object already exists (EEXIST)."""


class ReadFailed(DownloadError, OSError):
    """The retries of a read were used up (EIO)."""


class WriteFailed(UploadError, OSError):
    """The retries of a write were used up; nothing was published (EIO)."""


class ReadCorrupt(IntegrityError, OSError):
    """The received bytes do not match their checksum (EIO)."""


class ObjectReplaced(SourceChanged, OSError):
    """The object was replaced while it was open (ESTALE)."""


# (error class, its OSError subclass, errno).
AS_FILE_ERRORS: Final = (
    (NotFound, ObjectNotFound, errno.ENOENT),
    (NoSuchBucket, BucketNotFound, errno.ENOENT),
    (AccessDenied, ObjectDenied, errno.EACCES),
    (DownloadError, ReadFailed, errno.EIO),
    (UploadError, WriteFailed, errno.EIO),
    (IntegrityError, ReadCorrupt, errno.EIO),
    (SourceChanged, ObjectReplaced, errno.ESTALE),
)
IF_NONE_MATCH: Final = (PreconditionFailed, ObjectExists, errno.EEXIST)


def as_file_error(error: S3poError, filename: str, *, is_new: bool = False) -> S3poError:
    """Return the error as an OSError; an error that is not about a file is returned unchanged.

    Args:
        error: The error of a transfer.
        filename: The value of the error's `filename`.
        is_new: Whether the write required that the object does not exist; a failed condition then means that it exists.
    """
    for base, kind, number in (IF_NONE_MATCH, *AS_FILE_ERRORS) if is_new else AS_FILE_ERRORS:
        if isinstance(error, base):
            found = kind(*error.args)
            found.__dict__.update(error.__dict__)
            found.errno, found.strerror, found.filename = number, os.strerror(number), filename
            return found
    return error


@contextmanager
def file_errors(filename: str, *, is_new: bool = False) -> Iterator[None]:
    """Convert each S3poError of the `with` block by as_file_error()."""
    try:
        yield
    except S3poError as error:
        raise as_file_error(error, filename, is_new=is_new) from error.__cause__
