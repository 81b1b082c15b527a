"""The import lines of the tools whose interfaces s3po offers. docs/faces.rst lists the differences.

- `s3po.compat.aiohttp_s3_client` (aiohttp-s3-client): S3Client with aiohttp's ClientResponse; AwsObjectMeta, AwsError,
  AwsDownloadError and AwsUploadError.
- `s3po.compat.handtruck` (handtruck): S3Client and AwsObjectMeta; `s3po.compat.handtruck.credentials` has AbstractCredentials,
  ConfigCredentials, EnvironmentCredentials, MetadataCredentials, StaticCredentials, URLCredentials and merge_credentials.
- `s3po.compat.keg_storage` (keg_storage): `s3po.compat.keg_storage.backends` has S3Storage and, from
  `s3po.compat.keg_storage.backends.base`, FileMode, FileNotFoundInStorageError, ListEntry, ProgressCallback, RemoteFile,
  ShareLinkOperation and StorageBackend. `s3po.compat.keg_storage.backends.s3` has also S3FileBase, S3Reader and S3Writer.
- `s3po.compat.legacy` (S3-PO of 2012, imported as s3po): Connection and logger.
- `s3po.compat.s3stream` (S3StreamingTransfer): S3StreamingUpload and S3StreamingDownload.

The first s3po needs none: its names are those of s3po.Connection, and its exceptions are in s3po.exceptions.
"""
