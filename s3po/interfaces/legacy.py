"""S3-PO's Connection: its names and its defaults, over a Connection of today.

What may live here: those names. What is done in the background is the affair of `background`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tenacity import wait_exponential

from s3po.connection import Connection as Engine
from s3po.connection import FailedJob, RetryPolicy
from s3po.errors import ConfigurationError
from s3po.interfaces.background import Background
from s3po.model import ObjectRef, TransferResult

__all__ = ['Connection']

# S3-PO's waits between attempts: 1, 2, 4 minutes and so on.
FIRST_WAIT_S = 60


class Connection:
    """Uploads that delete their files and go on in the background, and downloads that wait, unless told otherwise.

    What is queued for the background is carried out once runLoop() was called, or else when the program ends.
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
            secret_key: Its secret.
            delete: Files are deleted when the store has confirmed their upload.
            background: Uploads are queued, and return at once.
            retries: How many attempts follow one that failed: after 1 minute, 2, 4 and so on.
            silent: Failures return False (uploads) or None (downloads), and are logged.
            endpoint_url: The store; None for AWS, or what the environment says.
            region: Its region.
            profile: A profile of the configuration files.
            connection: An s3po.Connection that carries all out, with waits and keys of its own.
            options: S3-PO's name for `background`, which is a word of Python's since: **{'async': True}.

        Raises:
            ConfigurationError: Arguments contradict each other, or are wrong.
        """
        given = (access_id, secret_key, endpoint_url, region, profile)
        if connection is not None and any(value is not None for value in given):
            raise ConfigurationError('connection excludes access_id, secret_key, endpoint_url, region and profile')
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
        """What failed in the background since the last stopLoop() that raised it."""
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
            compress: 'gzip', 'zlib' or 'zstd': what is stored is compressed, with the Content-Encoding that says so.
            delete: Delete the file when the store has confirmed it; None for the connection's default, like the next three.
            background: Queue it, and return at once.
            retries: How many attempts follow one that failed.
            silent: Return False in place of raising.
            options: As of the connection.

        Returns:
            A TransferResult; or, in the background, a Queued, to be asked whether it is done. (False, when silent and failed.)
        """
        return self._upload(
            'upload_file',
            bucket,
            key,
            path,
            {
                'background': _is_background(background, options),
                'headers': headers,
                'compress': compress,
                'delete': self._delete if delete is None else delete,
                'retries': self._retries if retries is None else retries,
                'silent': self._silent if silent is None else silent,
            },
        )

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
        """Upload bytes, or text as UTF-8; as uploadFile()."""
        return self._upload(
            'upload',
            bucket,
            key,
            data,
            {
                'background': _is_background(background, options),
                'headers': headers,
                'compress': compress,
                'retries': self._retries if retries is None else retries,
                'silent': self._silent if silent is None else silent,
            },
        )

    def downloadFile(  # noqa: N802
        self, bucket: str, key: str, path: str | os.PathLike[str], *, retries: int | None = None, silent: bool | None = None
    ) -> TransferResult | None:
        """Download to a file, which is old or complete, whatever happens. Blocks."""
        return self.connection.download_file(
            bucket,
            key,
            path,
            retries=self._retries if retries is None else retries,
            silent=self._silent if silent is None else silent,
        )

    def downloadString(  # noqa: N802
        self, bucket: str, key: str, *, encoding: str | None = None, retries: int | None = None, silent: bool | None = None
    ) -> Any:
        """Download into memory: bytes, or with an encoding text. Blocks."""
        return self.connection.download(
            bucket,
            key,
            encoding=encoding,
            retries=self._retries if retries is None else retries,
            silent=self._silent if silent is None else silent,
        )

    def runLoop(self) -> None:  # noqa: N802
        """Carry out in the background what is queued, and what will be. Called again, it does nothing."""
        self._loop.start()

    def stopLoop(self) -> None:  # noqa: N802
        """Wait until all that was queued is done. May be called from any thread, and again.

        Raises:
            BatchError: Some of it failed, and was not silent. (Raised once.)
        """
        self._loop.stop()

    def _upload(self, operation: str, bucket: str, key: str, source: Any, options: dict[str, Any]) -> Any:
        background = options.pop('background')
        if self._background if background is None else background:
            return self._loop.submit(operation, ObjectRef(bucket=bucket, key=key), source, options)
        return getattr(self.connection, operation)(bucket, key, source, **options)


def _is_background(background: bool | None, options: Mapping[str, bool]) -> Any:  # noqa: FBT001
    """What `background` says, or `async`, as S3-PO called it."""
    for name in options:
        if name != 'async':
            raise TypeError(f'unexpected keyword argument {name!r}')
    return options.get('async', background)
