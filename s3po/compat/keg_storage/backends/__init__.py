"""keg_storage.backends: S3Storage and the names of keg_storage.backends.base."""

from s3po.compat.keg_storage.backends.base import (
    FileMode,
    FileNotFoundInStorageError,
    ProgressCallback,
    RemoteFile,
    ShareLinkOperation,
    StorageBackend,
)
from s3po.compat.keg_storage.backends.s3 import S3Storage

__all__ = [
    'FileMode',
    'FileNotFoundInStorageError',
    'ProgressCallback',
    'RemoteFile',
    'S3Storage',
    'ShareLinkOperation',
    'StorageBackend',
]
