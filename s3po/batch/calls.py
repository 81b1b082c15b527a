"""The methods of a batch that queue calls: Connection's methods, with a callback and an errback."""

from __future__ import annotations

import os
from typing import Any, Unpack

from s3po.batch.job import Callback, Errback, Job
from s3po.jobs import (
    NAMES,
    Call,
    CopyOptions,
    DeleteOptions,
    DownloadFileOptions,
    DownloadOptions,
    HeadOptions,
    UploadOptions,
    shows,
    unknown_option,
)
from s3po.model import ref_of

__all__ = ['Calls']


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

    @shows(UploadOptions)
    def upload(
        self,
        bucket: str,
        key: str,
        source: Any,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[UploadOptions],
    ) -> Job:
        """Queue a Connection.upload(). Its value is a TransferResult."""
        return self._queue('upload', bucket, key, {'source': source, **options}, callback, errback)

    @shows(UploadOptions)
    def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[UploadOptions],
    ) -> Job:
        """Queue a Connection.upload_file(). Its value is a TransferResult."""
        return self._queue('upload_file', bucket, key, {'path': path, **options}, callback, errback)

    @shows(DownloadOptions)
    def download(
        self,
        bucket: str,
        key: str,
        target: Any = None,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[DownloadOptions],
    ) -> Job:
        """Queue a Connection.download(). Its value is bytes, str or a TransferResult."""
        return self._queue('download', bucket, key, {'target': target, **options}, callback, errback)

    @shows(DownloadFileOptions)
    def download_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[DownloadFileOptions],
    ) -> Job:
        """Queue a Connection.download_file(). Its value is a TransferResult."""
        return self._queue('download_file', bucket, key, {'path': path, **options}, callback, errback)

    @shows(HeadOptions)
    def head(
        self,
        bucket: str,
        key: str,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[HeadOptions],
    ) -> Job:
        """Queue a Connection.head(). Its value is an ObjectInfo."""
        return self._queue('head', bucket, key, options, callback, errback)

    @shows(DeleteOptions)
    def delete(
        self,
        bucket: str,
        key: str,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[DeleteOptions],
    ) -> Job:
        """Queue a Connection.delete(). Its value is None."""
        return self._queue('delete', bucket, key, options, callback, errback)

    @shows(CopyOptions)
    def copy(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[CopyOptions],
    ) -> Job:
        """Queue a Connection.copy(). Its value is a TransferResult."""
        return self._queue('copy', bucket, key, {'to_bucket': to_bucket, 'to_key': to_key, **options}, callback, errback)

    @shows(CopyOptions)
    def move(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        callback: Callback | None = None,
        errback: Errback | None = None,
        **options: Unpack[CopyOptions],
    ) -> Job:
        """Queue a Connection.move(). Its value is a TransferResult."""
        return self._queue('move', bucket, key, {'to_bucket': to_bucket, 'to_key': to_key, **options}, callback, errback)

    def _queue(
        self, operation: str, bucket: str, key: str, options: Any, callback: Callback | None, errback: Errback | None
    ) -> Job:
        """Queue one call. options: One of the dicts of s3po.jobs, made for this call."""
        if not options.keys() <= NAMES[operation]:
            raise unknown_option(operation, options)
        silent = options.pop('silent', None)
        ref = ref_of(bucket, key, options.pop('version_id', None))
        return self.submit(Call(operation, ref, options), callback, errback, silent=silent)
