"""Errors of open files: S3's errors that are also OSErrors, for code that knows files and not S3."""

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
    """There is no such object (ENOENT)."""


class BucketNotFound(NoSuchBucket, FileNotFoundError):
    """There is no such bucket (ENOENT)."""


class ObjectDenied(AccessDenied, PermissionError):
    """The credentials do not allow it (EACCES)."""


class ObjectExists(PreconditionFailed, FileExistsError):
    """There is such an object already (EEXIST)."""


class ReadFailed(DownloadError, OSError):
    """The retries of a read ran out (EIO)."""


class WriteFailed(UploadError, OSError):
    """The retries of a write ran out; nothing was published (EIO)."""


class ReadCorrupt(IntegrityError, OSError):
    """The bytes that arrived are not the stored ones (EIO)."""


class ObjectReplaced(SourceChanged, OSError):
    """The object was replaced while it was open (ESTALE)."""


# Error class, what it becomes, errno.
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
    """The same error as an OSError; errors that are not about a file are returned as they are.

    Args:
        error: The error of a transfer.
        filename: What `filename` is set to.
        is_new: Whether the write was conditional on a missing object, so that a failed condition means that it exists.
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
    """Raise an S3poError of the body as as_file_error() returns it."""
    try:
        yield
    except S3poError as error:
        raise as_file_error(error, filename, is_new=is_new) from error.__cause__
