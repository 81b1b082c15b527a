"""The methods of a batch that queue calls: Connection's methods, with a callback and an errback."""

from __future__ import annotations

import os
from typing import Any, TypedDict, Unpack

from s3po.batch.job import Callback, Errback, Job
from s3po.jobs import Call
from s3po.jobs.options import (
    NAMES,
    CopyOptions,
    DeleteOptions,
    DownloadFileOptions,
    DownloadOptions,
    HeadOptions,
    UploadOptions,
    shows,
    unknown_option,
)
from s3po.model import ListEntry, key_of, ref_of

__all__ = ['Calls']


class _Callbacks(TypedDict, total=False):
    callback: Callback | None
    errback: Errback | None


class _Upload(UploadOptions, _Callbacks, total=False): ...


class _Download(DownloadOptions, _Callbacks, total=False): ...


class _DownloadFile(DownloadFileOptions, _Callbacks, total=False): ...


class _Head(HeadOptions, _Callbacks, total=False): ...


class _Delete(DeleteOptions, _Callbacks, total=False): ...


class _Copy(CopyOptions, _Callbacks, total=False): ...


class Calls:
    """Methods that queue a call and return its Job. They take the arguments of Connection's methods of the same names.

    For all of them:

    - callback: Called with the result, in the worker; its return value becomes the value of the job. It may submit more jobs.
    - errback: Called with the error when the transfer failed; the job has failed all the same.
    - They block while the queue is full, except when called from inside a job.
    - They raise Cancelled, DeadlineExceeded or BreakerOpen when the batch accepts no more jobs, and ConfigurationError when it
      is closed or belongs to another thread. A mistake in one call, also an impossible bucket or key, makes only its job fail.
    """

    def submit(self, call: Call, callback: Callback | None, errback: Errback | None, *, silent: bool | None = None) -> Job:
        """Queue a call."""
        raise NotImplementedError

    @shows(_Upload)
    def upload(self, bucket: str, key: str | ListEntry, source: Any, **options: Unpack[_Upload]) -> Job:
        """Queue a Connection.upload(). Its value is a TransferResult."""
        return self._queue('upload', bucket, key, {'source': source, **options})

    @shows(_Upload)
    def upload_file(self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[_Upload]) -> Job:
        """Queue a Connection.upload_file(). Its value is a TransferResult."""
        return self._queue('upload_file', bucket, key, {'path': path, **options})

    @shows(_Download)
    def download(self, bucket: str, key: str | ListEntry, target: Any = None, **options: Unpack[_Download]) -> Job:
        """Queue a Connection.download(). Its value is bytes, str or a TransferResult."""
        return self._queue('download', bucket, key, {'target': target, **options})

    @shows(_DownloadFile)
    def download_file(
        self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[_DownloadFile]
    ) -> Job:
        """Queue a Connection.download_file(). Its value is a TransferResult."""
        return self._queue('download_file', bucket, key, {'path': path, **options})

    @shows(_Head)
    def head(self, bucket: str, key: str | ListEntry, **options: Unpack[_Head]) -> Job:
        """Queue a Connection.head(). Its value is an ObjectInfo."""
        return self._queue('head', bucket, key, options)

    @shows(_Delete)
    def delete(self, bucket: str, key: str | ListEntry, **options: Unpack[_Delete]) -> Job:
        """Queue a Connection.delete(). Its value is None."""
        return self._queue('delete', bucket, key, options)

    @shows(_Copy)
    def copy(self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[_Copy]) -> Job:
        """Queue a Connection.copy(). Its value is a TransferResult."""
        return self._queue('copy', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})

    @shows(_Copy)
    def move(self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[_Copy]) -> Job:
        """Queue a Connection.move(). Its value is a TransferResult."""
        return self._queue('move', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})

    def _queue(self, operation: str, bucket: str, key: str | ListEntry, options: Any) -> Job:
        """Queue one call. options: One of the dicts above, made for this call."""
        callback, errback = options.pop('callback', None), options.pop('errback', None)
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options, names)
        # Only failed uploads and downloads may be silent; as in Connection.
        silent = options.pop('silent', None) if 'silent' in names else False
        ref = ref_of(bucket, key, options.pop('version_id', None))
        return self.submit(Call(operation, ref, options), callback, errback, silent=silent)
