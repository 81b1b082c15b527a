"""S3StreamingTransfer's import line: `from s3po.compat.s3stream import S3StreamingUpload, S3StreamingDownload`."""

from s3po.interfaces.streaming import S3StreamingDownload, S3StreamingUpload

__all__ = ['S3StreamingDownload', 'S3StreamingUpload']
