"""keg_storage.backends.s3: the S3 backend."""

from s3po.interfaces.storage import (
    FileMode,
    FileNotFoundInStorageError,
    ListEntry,
    S3FileBase,
    S3Reader,
    S3Storage,
    S3Writer,
    ShareLinkOperation,
)

__all__ = [
    'FileMode',
    'FileNotFoundInStorageError',
    'ListEntry',
    'S3FileBase',
    'S3Reader',
    'S3Storage',
    'S3Writer',
    'ShareLinkOperation',
]
