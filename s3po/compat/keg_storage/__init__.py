"""keg_storage's import lines for S3Storage: `from s3po.compat.keg_storage.backends.s3 import S3Storage`.

Only what belongs to the S3 backend is here: FileMode, FileNotFoundInStorageError, ListEntry, ProgressCallback, RemoteFile,
S3FileBase, S3Reader, S3Storage, S3Writer, ShareLinkOperation, StorageBackend.
"""

from s3po.compat.keg_storage.backends import *  # noqa: F403  like keg_storage
