"""The exceptions of the first s3po under their old names and in their old module."""

from __future__ import annotations

from s3po.errors import DeleteException, DownloadException, UploadException
from s3po.errors import S3poError as S3POException

__all__ = ['DeleteException', 'DownloadException', 'S3POException', 'UploadException']
