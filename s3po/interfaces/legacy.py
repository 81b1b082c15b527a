"""S3-PO's Connection: its names and defaults, on top of s3po's Connection. `background` has its queue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tenacity import wait_exponential

from s3po.connection import Background, FailedJob, RetryPolicy
from s3po.connection import Connection as Engine
from s3po.errors import ConfigurationError
from s3po.model import ObjectRef, TransferResult

__all__ = ['Connection']

# S3-PO's waits between attempts: 1, 2, 4, … minutes.
FIRST_WAIT_S = 60


class Connection:
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
        self._delete = delete
        self._background = _is_background(background, options)
        self._retries = retries
        self._silent = silent
        self._loop = Background(self.connection)

    @property
    def failed(self) -> list[FailedJob]:
        """The failures in the background that stopLoop() has not raised yet."""
        return self._loop.failed

    def uploadFile(  # noqa: N802  (S3-PO's name, like those below)
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        compress: str | None = None,
        delete: bool | None = None,
        background: bool | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        **options: bool,
    ) -> Any:
        """Upload a file.

        Args:
            bucket: The bucket.
            key: The key.
            path: The file.
            headers: HTTP headers of the object.
            compress: 'gzip', 'zlib' or 'zstd': store the data compressed, with the Content-Encoding.
            delete: Delete the file after the store has confirmed it; None for the connection's default, like the next three.
            background: Queue the upload and return at once.
            retries: The number of retries.
            silent: Return False instead of raising.
            options: As for the connection.

        Returns:
            A TransferResult; in the background, a Queued with the state of the upload. (False, if silent and failed.)
        """
        sent = {'headers': headers, 'compress': compress, 'delete': self._delete if delete is None else delete}
        sent |= self._limits(retries, silent)
        ref = ObjectRef(bucket=bucket, key=key)
        return self._upload('upload_file', ref, path, sent, background=_is_background(background, options))

    def uploadString(  # noqa: N802
        self,
        bucket: str,
        key: str,
        data: str | bytes,
        *,
        headers: Mapping[str, str] | None = None,
        compress: str | None = None,
        background: bool | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        **options: bool,
    ) -> Any:
        """Upload bytes, or text as UTF-8; like uploadFile()."""
        sent = {'headers': headers, 'compress': compress, **self._limits(retries, silent)}
        ref = ObjectRef(bucket=bucket, key=key)
        return self._upload('upload', ref, data, sent, background=_is_background(background, options))

    def downloadFile(  # noqa: N802
        self, bucket: str, key: str, path: str | os.PathLike[str], *, retries: int | None = None, silent: bool | None = None
    ) -> TransferResult | None:
        """Download to a file, which is unchanged or complete, whatever happens. Blocks."""
        result: TransferResult | None = self.connection.download_file(bucket, key, path, **self._limits(retries, silent))
        return result

    def downloadString(  # noqa: N802
        self, bucket: str, key: str, *, encoding: str | None = None, retries: int | None = None, silent: bool | None = None
    ) -> Any:
        """Download into memory: bytes; with an encoding, str. Blocks."""
        return self.connection.download(bucket, key, encoding=encoding, **self._limits(retries, silent))

    def runLoop(self) -> None:  # noqa: N802
        """Start carrying out the background uploads. Further calls do nothing."""
        self._loop.start()

    def stopLoop(self) -> None:  # noqa: N802
        """Wait for all queued uploads. May be called from any thread, and repeatedly.

        Raises:
            BatchError: Uploads failed that were not silent. (Raised once.)
        """
        self._loop.stop()

    def _limits(self, retries: int | None, silent: bool | None) -> dict[str, Any]:  # noqa: FBT001
        """The options of a transfer that have the connection's defaults."""
        return {
            'retries': self._retries if retries is None else retries,
            'silent': self._silent if silent is None else silent,
        }

    def _upload(self, operation: str, ref: ObjectRef, source: Any, options: dict[str, Any], *, background: bool | None) -> Any:
        if self._background if background is None else background:
            return self._loop.submit(operation, ref, source, options)
        return getattr(self.connection, operation)(ref.bucket, ref.key, source, **options)


def _is_background(background: bool | None, options: Mapping[str, bool]) -> Any:  # noqa: FBT001
    """The value of `background`, or of `async`, its name in S3-PO."""
    for name in options:
        if name != 'async':
            raise TypeError(f'unexpected keyword argument {name!r}')
    return options.get('async', background)
