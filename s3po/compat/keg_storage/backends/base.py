"""keg_storage.backends.base: the values and base classes of storages."""

from s3po.interfaces.storage_base import FileMode, ListEntry, ProgressCallback, RemoteFile, ShareLinkOperation, StorageBackend
from s3po.interfaces.storage_files import FileNotFoundInStorageError

__all__ = [
    'FileMode',
    'FileNotFoundInStorageError',
    'ListEntry',
    'ProgressCallback',
    'RemoteFile',
    'ShareLinkOperation',
    'StorageBackend',
]
