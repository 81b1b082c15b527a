"""The import lines of the tools whose interfaces s3po offers. docs/faces.rst lists the differences.

- `s3po.compat.keg_storage` (keg_storage): `s3po.compat.keg_storage.backends` has S3Storage and, from
  `s3po.compat.keg_storage.backends.base`, FileMode, FileNotFoundInStorageError, ListEntry, ProgressCallback, RemoteFile,
  ShareLinkOperation and StorageBackend. `s3po.compat.keg_storage.backends.s3` has also S3FileBase, S3Reader and S3Writer.
- `s3po.compat.legacy` (S3-PO): Connection with its old defaults, and logger. (s3po.Connection has its methods too.)
- `s3po.compat.s3stream` (S3StreamingTransfer): S3StreamingUpload and S3StreamingDownload.
"""
