"""keg_storage.backends: S3Storage, and the values and base classes of storages."""

from s3po.compat.keg_storage.backends.base import *  # noqa: F403  like keg_storage
from s3po.compat.keg_storage.backends.s3 import *  # noqa: F403  like keg_storage
