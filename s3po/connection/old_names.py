"""The methods that S3-PO (2012) and the first s3po had, under their old names: thin aliases for Connection.

They are not in dir(connection); help() of this module describes them. S3-PO's defaults are in s3po.interfaces.legacy.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from s3po.connection.background import Background
from s3po.connection.wiring import is_mocked
from s3po.jobs.options import NAMES, unknown_option
from s3po.model import ObjectRef

if TYPE_CHECKING:
    from botocore.config import Config

__all__ = ['OLD_NAMES', 'OldCalls', 'OldNames', 'OldTransfers']

# Left out of dir(connection).
OLD_NAMES: Final = frozenset(
    {
        'backend',
        'downloadFile',
        'downloadString',
        'listNames',
        'memory',
        'runLoop',
        's3',
        'stopLoop',
        'uploadFile',
        'uploadString',
    }
)


class OldTransfers:
    """S3-PO's uploads and downloads. headers, compress and retries may be positional, in this order.

    For all of them: bucket, key, headers, compress, retries, delete and silent are those of Connection.upload_file(); other
    options of that method may be added.
    """

    # The values of options that are None.
    _old_defaults: Mapping[str, Any] = {}
    # The directory of files that downloadFile() creates; None for that of Python's tempfile.
    _old_directory: str | os.PathLike[str] | None = None

    def uploadFile(  # noqa: N802  (S3-PO's name, like those below)
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        headers: Mapping[str, str] | None = None,
        compress: str | None = None,
        retries: int | None = None,
        *,
        delete: bool | None = None,
        silent: bool | None = None,
        background: bool | None = None,
        **options: Any,
    ) -> Any:
        """Upload the file at a path. upload_file() is the new name.

        Args:
            bucket: The bucket.
            key: The key.
            path: The file.
            headers: HTTP headers of the object.
            compress: 'gzip', 'zlib' or 'zstd': store the data compressed, with the Content-Encoding.
            retries: The number of retries.
            delete: Delete the file after the store has confirmed the upload.
            silent: Return False instead of raising.
            background: Queue the upload and return at once; runLoop() begins to carry such uploads out.
            options: S3-PO's name of `background`, a keyword of Python today (**{'async': True}), and options of upload_file().

        Returns:
            A TransferResult; in the background, a Queued with the state of the upload. (False, if silent and failed.)
        """
        given = {'headers': headers, 'compress': compress, 'retries': retries, 'delete': delete, 'silent': silent}
        return self._old_call('upload_file', bucket, key, path, {**given, 'background': background, **options})

    def uploadString(  # noqa: N802
        self,
        bucket: str,
        key: str,
        data: str | bytes,
        headers: Mapping[str, str] | None = None,
        compress: str | None = None,
        retries: int | None = None,
        *,
        silent: bool | None = None,
        background: bool | None = None,
        **options: Any,
    ) -> Any:
        """Upload bytes, or text as UTF-8; like uploadFile(). upload() is the new name."""
        given = {'headers': headers, 'compress': compress, 'retries': retries, 'silent': silent}
        return self._old_call('upload', bucket, key, data, {**given, 'background': background, **options})

    def downloadFile(  # noqa: N802
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str] | int | None = None,
        filename: str | os.PathLike[str] | None = None,
        *,
        retries: int | None = None,
        silent: bool | None = None,
        **options: Any,
    ) -> Any:
        """Download to a file, which is unchanged or complete, whatever happens. Blocks. download_file() is the new name.

        Objects with a Content-Encoding of gzip, deflate, zlib or zstd are decompressed; others are left as stored.

        Args:
            bucket: The bucket.
            key: The key.
            path: The file; missing directories are created. An int: the number of retries, as in S3-PO.
            filename: S3-PO's name of `path`. Without both, a new file in the directory for temporary files.
            retries: The number of retries.
            silent: Return None instead of raising.
            options: Options of download_file().

        Returns:
            The path as a str. (None, if silent and failed.)
        """
        if isinstance(path, int):
            path, retries = None, path
        target = os.fsdecode(filename or path or self._old_new_path())
        # If it fails, so does the download, with a better message.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(target) or os.curdir, exist_ok=True)
        return self._old_download(bucket, key, target, {'retries': retries, 'silent': silent, 'decompress': 'known', **options})

    def downloadString(  # noqa: N802
        self, bucket: str, key: str, retries: int | None = None, *, silent: bool | None = None, **options: Any
    ) -> Any:
        """Download into memory: bytes; with encoding=, str. Blocks. download() is the new name.

        Objects with a Content-Encoding are decompressed as by downloadFile().
        """
        given = {'retries': retries, 'silent': silent, 'decompress': 'known', **options}
        return self._old_call('download', bucket, key, None, given)

    def _old_new_path(self) -> str:
        # Not mkstemp(): a failed download would leave an empty file.
        return os.path.join(self._old_directory or tempfile.gettempdir(), f's3po-{secrets.token_hex(16)}')

    def _old_download(self, bucket: str, key: str, target: str, options: dict[str, Any]) -> Any:
        return None if self._old_call('download_file', bucket, key, target, options) is None else target

    def _old_call(self, operation: str, bucket: str, key: str, data: Any, options: dict[str, Any]) -> Any:
        """Make the call that an old name stands for. options: A dict of this call."""
        raise NotImplementedError

    def _old_options(self, options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The options with their defaults, without those of S3-PO, and whether the call is for the background."""
        given = {name: self._old_defaults.get(name) if value is None else value for name, value in options.items()}
        background = given.pop('background', False)
        return given, bool(given.pop('async', background))


class OldCalls(OldTransfers):
    """S3-PO's Connection: its transfers, its listing and its uploads in the background."""

    @property
    def _old_engine(self) -> Any:
        """The connection that carries the calls out."""
        return self

    def listNames(self, bucket: str, prefix: str = '', retries: int | None = None) -> list[str]:  # noqa: N802
        """The keys with a prefix, as a list. list() is the new name."""
        retries = self._old_defaults.get('retries') if retries is None else retries
        return [entry.key for entry in self._old_engine.list(bucket, prefix, retries=retries)]

    def runLoop(self) -> None:  # noqa: N802
        """Start carrying out the background uploads. Further calls do nothing. Connection.batch() is the new way."""
        self._old_queue.start()

    def stopLoop(self) -> None:  # noqa: N802
        """Wait for all queued uploads. May be called from any thread, and repeatedly.

        Raises:
            BatchError: Uploads failed that were not silent. (Raised once.)
        """
        self._old_queue.stop()

    @property
    def _old_queue(self) -> Background:
        # Made on first use. One is kept if two threads make it.
        made: Background = vars(self).get('_old_background') or vars(self).setdefault(
            '_old_background', Background(self._old_engine)
        )
        return made

    def _old_call(self, operation: str, bucket: str, key: str, data: Any, options: dict[str, Any]) -> Any:
        given, is_background = self._old_options(options)
        if not is_background:
            return getattr(self._old_engine, operation)(bucket, key, data, **given)
        if not given.keys() <= NAMES[operation]:
            raise unknown_option(operation, given, NAMES[operation])
        if operation.startswith('download'):
            raise TypeError('downloads block; leave out background and async')
        return self._old_queue.submit(operation, ObjectRef(bucket=bucket, key=key), data, given)


class OldNames(OldCalls):
    """The old names of Connection's methods, with new defaults: uploads block, and delete no file.

    `background=True` queues an upload. runLoop() begins to carry the queued ones out; the end of the program waits for them.
    """

    _arguments: dict[str, Any]

    @property
    def backend(self) -> Any:
        """The transport that was passed to the connection, or else its boto3 client; during mock() the client of the mock."""
        transport = self._arguments['transport']
        return self._old_engine.conn if isinstance(transport, str) or is_mocked() else transport

    @classmethod
    def s3(
        cls,
        *,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
        verify: bool | str | None = None,
        config: Config | None = None,
    ) -> Self:
        """A connection made with the names of boto3's arguments, as in the first s3po. Connection(…) is the new way.

        Args:
            region_name: Connection's `region`.
            endpoint_url: The same.
            aws_access_key_id: Connection's `access_key_id`.
            aws_secret_access_key: Connection's `secret_access_key`.
            aws_session_token: Connection's `session_token`.
            verify: The same; None for True.
            config: Connection's `client_config`.
        """
        new: Any = cls
        made: Self = new(
            region=region_name,
            endpoint_url=endpoint_url,
            access_key_id=aws_access_key_id,
            secret_access_key=aws_secret_access_key,
            session_token=aws_session_token,
            verify=True if verify is None else verify,
            client_config=config,
        )
        return made

    @classmethod
    def memory(cls) -> Self:
        """A connection to a new store in this process, for tests. Connection().mock() behaves more like S3.

        Buckets appear on first use; there are no versions, access rights or URLs. The Connection cannot be pickled.
        """
        from s3po.transport.memory import MemoryTransport

        new: Any = cls
        made: Self = new(transport=MemoryTransport())
        return made
