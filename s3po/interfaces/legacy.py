"""S3-PO's Connection: its names and defaults, on top of s3po's Connection. The names are in s3po/connection/old_names.py."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tenacity import wait_exponential

from s3po.connection import Batch, FailedJob, OldCalls, OldTransfers, RetryPolicy
from s3po.connection import Connection as Engine
from s3po.errors import ConfigurationError
from s3po.model import ListEntry

__all__ = ['Connection', 'OldBatch']

# S3-PO's waits between attempts: 1, 2, 4, … minutes.
FIRST_WAIT_S = 60


class Connection(OldCalls):
    """S3-PO's Connection: by default, uploads delete their files and run in the background; downloads block.

    Background uploads are carried out after runLoop() was called, or at the end of the program.
    """

    def __init__(
        self,
        access_id: str | None = None,
        secret_key: str | None = None,
        *,
        delete: bool = True,
        background: bool = True,
        tempdir: str | os.PathLike[str] | None = None,
        retries: int = 3,
        silent: bool = False,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        connection: Engine | None = None,
        **options: bool,
    ) -> None:
        """
        Args:
            access_id: The access key; None for what boto3 finds.
            secret_key: The secret key.
            delete: Whether files are deleted after the store has confirmed their upload.
            background: Whether uploads are queued and return at once.
            tempdir: The directory of the files that downloadFile() creates; None for that of Python's tempfile.
            retries: The number of retries, after waits of 1, 2, 4, … minutes.
            silent: Whether failures are logged and return False (uploads) or None (downloads).
            endpoint_url: The store's URL; None for AWS, or the environment's setting.
            region: The region.
            profile: A profile of the configuration files.
            connection: An s3po.Connection to use, with its own keys and waits.
            options: S3-PO's name for `background`, today a keyword of Python: **{'async': True}.

        Raises:
            ConfigurationError: Arguments are wrong, or contradict each other.
        """
        for name in options.keys() - {'async'}:
            raise TypeError(f'unexpected keyword argument {name!r}')
        given = (access_id, secret_key, endpoint_url, region, profile)
        if connection is not None and any(value is not None for value in given):
            raise ConfigurationError(
                'connection cannot be combined with access_id, secret_key, endpoint_url, region and profile'
            )
        self.connection = connection or Engine(
            access_key_id=access_id,
            secret_access_key=secret_key,
            endpoint_url=endpoint_url,
            region=region,
            profile=profile,
            retry=RetryPolicy(retries=retries, wait=wait_exponential(multiplier=FIRST_WAIT_S)),
        )
        background = options.get('async', background)
        self._old_defaults = {'delete': delete, 'background': background, 'retries': retries, 'silent': silent}
        self._old_directory = tempdir

    @property
    def _old_engine(self) -> Engine:
        return self.connection

    @property
    def failed(self) -> list[FailedJob]:
        """The failures in the background that stopLoop() has not raised yet."""
        return self._old_queue.failed

    def batch(self, poolsize: int = 20, *, on_error: str = 'raise') -> OldBatch:
        """A bounded pool that carries out calls concurrently, with the defaults of this connection. See s3po.Batch.

        Args:
            poolsize: The number of calls that run at once.
            on_error: 'raise': leaving the `with` block raises BatchError if a call failed that is not silent. 'collect':
                failures are only in the batch's `failed`, as in S3-PO.
        """
        return OldBatch(self, poolsize, on_error=on_error)


class OldBatch(OldTransfers, Batch):
    """S3-PO's names on a Batch. Each call returns a Job; `callback` and `errback` are those of Batch.

    A callback of downloadFile() is called with the path, one of listNames() with the list of keys: the values of their jobs.
    """

    def __init__(self, connection: Connection, poolsize: int, *, on_error: str) -> None:
        super().__init__(connection.connection, poolsize, on_error=on_error)  # type: ignore[arg-type]  # checked there
        self._old_defaults = {**connection._old_defaults, 'background': False}  # noqa: SLF001  (of its own kind)
        self._old_directory = connection._old_directory  # noqa: SLF001

    def listNames(self, bucket: str, prefix: str = '', retries: int | None = None, **options: Any) -> Any:  # noqa: N802
        """Queue the listing of the keys with a prefix. list() is the new name."""
        callback = options.pop('callback', None)

        def finish(found: Iterable[ListEntry]) -> Any:
            keys = [entry.key for entry in found]
            return keys if callback is None else callback(keys)

        given, _ = self._old_options({'retries': retries, **options})
        return self.list(bucket, prefix, callback=finish, **given)

    def _old_call(self, operation: str, bucket: str, key: str, data: Any, options: dict[str, Any]) -> Any:
        given, is_background = self._old_options(options)
        if is_background:
            raise TypeError('the calls of a batch already run in the background; leave out background and async')
        return getattr(self, operation)(bucket, key, data, **given)

    def _old_download(self, bucket: str, key: str, target: str, options: dict[str, Any]) -> Any:
        callback = options.pop('callback', None)
        options['callback'] = lambda _: target if callback is None else callback(target)
        return self._old_call('download_file', bucket, key, target, options)
