"""keg_storage.backends.s3: the S3 backend."""

from s3po.interfaces.storage import *  # noqa: F403  the same names
