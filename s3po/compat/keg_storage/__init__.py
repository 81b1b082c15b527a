"""keg_storage's import lines for S3Storage: `from s3po.compat.keg_storage.backends.s3 import S3Storage`."""

from s3po.compat.keg_storage.backends import *  # noqa: F403  like keg_storage
