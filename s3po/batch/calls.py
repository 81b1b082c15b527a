"""The methods of a batch that queue calls: Connection's methods, with a callback and an errback."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from s3po.batch.job import Callback, Errback, Job
from s3po.jobs import Call
from s3po.jobs.options import (
    NAMES,
    BucketOptions,
    CopyOptions,
    DeleteOptions,
    DownloadFileOptions,
    DownloadOptions,
    HeadOptions,
    Key,
    Keys,
    ListKeys,
    ListLevel,
    ListOptions,
    LoudBinary,
    LoudDownload,
    LoudText,
    LoudUpload,
    QuietBinary,
    QuietDownload,
    QuietText,
    QuietUpload,
    StrPath,
    Target,
    UploadOptions,
    shows,
    unknown_option,
)
from s3po.model import DeleteReport, ListEntry, ObjectInfo, ObjectRef, Prefix, TransferResult, bucket_ref_of, key_of, ref_of

__all__ = ['Calls']


# The return value of a callback.
R = TypeVar('R')


class _Errback(TypedDict, total=False):
    errback: Errback | None


class _Callback(TypedDict, total=False):
    callback: Callback | None


class _Callbacks(_Callback, _Errback, total=False): ...


class _Upload(UploadOptions, _Callbacks, total=False): ...


class _Download(DownloadOptions, _Callbacks, total=False): ...


class _DownloadFile(DownloadFileOptions, _Callbacks, total=False): ...


class _Head(HeadOptions, _Callbacks, total=False): ...


class _Delete(DeleteOptions, _Callbacks, total=False): ...


class _Copy(CopyOptions, _Callbacks, total=False): ...


class _List(ListOptions, _Callbacks, total=False): ...


class _Bucket(BucketOptions, _Callbacks, total=False): ...


class _LoudUpload(LoudUpload, _Errback, total=False): ...


class _QuietUpload(QuietUpload, _Errback, total=False): ...


class _LoudDownload(LoudDownload, _Errback, total=False): ...


class _QuietDownload(QuietDownload, _Errback, total=False): ...


class _LoudBinary(LoudBinary, _Errback, total=False): ...


class _LoudText(LoudText, _Errback, total=False): ...


class _QuietBinary(QuietBinary, _Errback, total=False): ...


class _QuietText(QuietText, _Errback, total=False): ...


class _PlainHead(HeadOptions, _Errback, total=False): ...


class _PlainDelete(DeleteOptions, _Errback, total=False): ...


class _PlainCopy(CopyOptions, _Errback, total=False): ...


class _ListKeys(ListKeys, _Errback, total=False): ...


class _ListLevel(ListLevel, _Errback, total=False): ...


class _PlainBucket(BucketOptions, _Errback, total=False): ...


class Calls:
    """Methods that queue a call and return its Job. They take the arguments of Connection's methods of the same names.

    For all of them:

    - callback: Called with the result, in the worker; its return value becomes the value of the job. It may submit more jobs.
    - errback: Called with the error when the job has failed, was cancelled or does not begin; not after a call of the callback,
      and not for what Ctrl-C or a kill ends. The job has failed all the same.
    - They block while the queue is full, except when called from inside a job.
    - They raise Cancelled, DeadlineExceeded or BreakerOpen when the batch accepts no more jobs, and ConfigurationError when it
      is closed or belongs to another thread. A mistake in one call, also an impossible bucket or key, makes only its job fail.
    """

    def submit(self, call: Call, callback: Callback | None, errback: Errback | None, *, silent: bool | None = None) -> Job[Any]:
        """Queue a call."""
        raise NotImplementedError

    @overload
    def upload(
        self, bucket: str, key: Key, source: Any, *, callback: None = None, **options: Unpack[_LoudUpload]
    ) -> Job[TransferResult]: ...
    @overload
    def upload(
        self, bucket: str, key: Key, source: Any, *, callback: Callable[[TransferResult], R], **options: Unpack[_LoudUpload]
    ) -> Job[R]: ...
    @overload
    def upload(
        self, bucket: str, key: Key, source: Any, *, callback: None = None, **options: Unpack[_QuietUpload]
    ) -> Job[TransferResult | Literal[False]]: ...
    @overload
    def upload(
        self, bucket: str, key: Key, source: Any, *, callback: Callable[[TransferResult], R], **options: Unpack[_QuietUpload]
    ) -> Job[R | Literal[False]]: ...
    @shows(_Upload)
    def upload(self, bucket: str, key: str | ListEntry, source: Any, **options: Unpack[_Upload]) -> Job[Any]:
        """Queue a Connection.upload(). Its value is a TransferResult."""
        return self._queue('upload', bucket, key, {'source': source, **options})

    @overload
    def upload_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: None = None, **options: Unpack[_LoudUpload]
    ) -> Job[TransferResult]: ...
    @overload
    def upload_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: Callable[[TransferResult], R], **options: Unpack[_LoudUpload]
    ) -> Job[R]: ...
    @overload
    def upload_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: None = None, **options: Unpack[_QuietUpload]
    ) -> Job[TransferResult | Literal[False]]: ...
    @overload
    def upload_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: Callable[[TransferResult], R], **options: Unpack[_QuietUpload]
    ) -> Job[R | Literal[False]]: ...
    @shows(_Upload)
    def upload_file(
        self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[_Upload]
    ) -> Job[Any]:
        """Queue a Connection.upload_file(). Its value is a TransferResult."""
        return self._queue('upload_file', bucket, key, {'path': path, **options})

    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: None = None, **options: Unpack[_LoudBinary]
    ) -> Job[bytes]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: Callable[[bytes], R], **options: Unpack[_LoudBinary]
    ) -> Job[R]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: None = None, **options: Unpack[_LoudText]
    ) -> Job[str]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: Callable[[str], R], **options: Unpack[_LoudText]
    ) -> Job[R]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: Target, *, callback: None = None, **options: Unpack[_LoudBinary]
    ) -> Job[TransferResult]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: Target, *, callback: Callable[[TransferResult], R], **options: Unpack[_LoudBinary]
    ) -> Job[R]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: None = None, **options: Unpack[_QuietBinary]
    ) -> Job[bytes | None]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: Callable[[bytes], R], **options: Unpack[_QuietBinary]
    ) -> Job[R | None]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: None = None, **options: Unpack[_QuietText]
    ) -> Job[str | None]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: None = None, *, callback: Callable[[str], R], **options: Unpack[_QuietText]
    ) -> Job[R | None]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: Target, *, callback: None = None, **options: Unpack[_QuietBinary]
    ) -> Job[TransferResult | None]: ...
    @overload
    def download(
        self, bucket: str, key: Key, target: Target, *, callback: Callable[[TransferResult], R], **options: Unpack[_QuietBinary]
    ) -> Job[R | None]: ...
    @shows(_Download)
    def download(self, bucket: str, key: str | ListEntry, target: Any = None, **options: Unpack[_Download]) -> Job[Any]:
        """Queue a Connection.download(). Its value is bytes, str or a TransferResult."""
        return self._queue('download', bucket, key, {'target': target, **options})

    @overload
    def download_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: None = None, **options: Unpack[_LoudDownload]
    ) -> Job[TransferResult]: ...
    @overload
    def download_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: Callable[[TransferResult], R], **options: Unpack[_LoudDownload]
    ) -> Job[R]: ...
    @overload
    def download_file(
        self, bucket: str, key: Key, path: StrPath, *, callback: None = None, **options: Unpack[_QuietDownload]
    ) -> Job[TransferResult | None]: ...
    @overload
    def download_file(
        self,
        bucket: str,
        key: Key,
        path: StrPath,
        *,
        callback: Callable[[TransferResult], R],
        **options: Unpack[_QuietDownload],
    ) -> Job[R | None]: ...
    @shows(_DownloadFile)
    def download_file(
        self, bucket: str, key: str | ListEntry, path: str | os.PathLike[str], **options: Unpack[_DownloadFile]
    ) -> Job[Any]:
        """Queue a Connection.download_file(). Its value is a TransferResult."""
        return self._queue('download_file', bucket, key, {'path': path, **options})

    @overload
    def head(self, bucket: str, key: Key, *, callback: None = None, **options: Unpack[_PlainHead]) -> Job[ObjectInfo]: ...
    @overload
    def head(self, bucket: str, key: Key, *, callback: Callable[[ObjectInfo], R], **options: Unpack[_PlainHead]) -> Job[R]: ...
    @shows(_Head)
    def head(self, bucket: str, key: str | ListEntry, **options: Unpack[_Head]) -> Job[Any]:
        """Queue a Connection.head(). Its value is an ObjectInfo."""
        return self._queue('head', bucket, key, options)

    @overload
    def delete(self, bucket: str, key: Key, *, callback: None = None, **options: Unpack[_PlainDelete]) -> Job[None]: ...
    @overload
    def delete(self, bucket: str, key: Key, *, callback: Callable[[None], R], **options: Unpack[_PlainDelete]) -> Job[R]: ...
    @shows(_Delete)
    def delete(self, bucket: str, key: str | ListEntry, **options: Unpack[_Delete]) -> Job[Any]:
        """Queue a Connection.delete(). Its value is None."""
        return self._queue('delete', bucket, key, options)

    @overload
    def copy(
        self, bucket: str, key: Key, to_bucket: str, to_key: Key, *, callback: None = None, **options: Unpack[_PlainCopy]
    ) -> Job[TransferResult]: ...
    @overload
    def copy(
        self,
        bucket: str,
        key: Key,
        to_bucket: str,
        to_key: Key,
        *,
        callback: Callable[[TransferResult], R],
        **options: Unpack[_PlainCopy],
    ) -> Job[R]: ...
    @shows(_Copy)
    def copy(
        self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[_Copy]
    ) -> Job[Any]:
        """Queue a Connection.copy(). Its value is a TransferResult."""
        return self._queue('copy', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})

    @overload
    def move(
        self, bucket: str, key: Key, to_bucket: str, to_key: Key, *, callback: None = None, **options: Unpack[_PlainCopy]
    ) -> Job[TransferResult]: ...
    @overload
    def move(
        self,
        bucket: str,
        key: Key,
        to_bucket: str,
        to_key: Key,
        *,
        callback: Callable[[TransferResult], R],
        **options: Unpack[_PlainCopy],
    ) -> Job[R]: ...
    @shows(_Copy)
    def move(
        self, bucket: str, key: str | ListEntry, to_bucket: str, to_key: str | ListEntry, **options: Unpack[_Copy]
    ) -> Job[Any]:
        """Queue a Connection.move(). Its value is a TransferResult."""
        return self._queue('move', bucket, key, {'to_bucket': to_bucket, 'to_key': key_of(to_key), **options})

    @overload
    def exists(self, bucket: str, key: Key, *, callback: None = None, **options: Unpack[_PlainHead]) -> Job[bool]: ...
    @overload
    def exists(self, bucket: str, key: Key, *, callback: Callable[[bool], R], **options: Unpack[_PlainHead]) -> Job[R]: ...
    @shows(_Head)
    def exists(self, bucket: str, key: str | ListEntry, **options: Unpack[_Head]) -> Job[Any]:
        """Queue a Connection.exists(). Its value is a bool."""
        return self._queue('exists', bucket, key, options)

    @overload
    def list(
        self, bucket: str, prefix: str | None = '', *, callback: None = None, **options: Unpack[_ListKeys]
    ) -> Job[builtins.list[ListEntry]]: ...
    @overload
    def list(
        self,
        bucket: str,
        prefix: str | None = '',
        *,
        callback: Callable[[builtins.list[ListEntry]], R],
        **options: Unpack[_ListKeys],
    ) -> Job[R]: ...
    @overload
    def list(
        self, bucket: str, prefix: str | None = '', *, callback: None = None, **options: Unpack[_ListLevel]
    ) -> Job[builtins.list[ListEntry | Prefix]]: ...
    @overload
    def list(
        self,
        bucket: str,
        prefix: str | None = '',
        *,
        callback: Callable[[builtins.list[ListEntry | Prefix]], R],
        **options: Unpack[_ListLevel],
    ) -> Job[R]: ...
    @shows(_List)
    def list(self, bucket: str, prefix: str | None = '', **options: Unpack[_List]) -> Job[Any]:
        """Queue a Connection.list(), to list many prefixes at once. Its value is a list of all entries, from all pages."""
        return self._queue_on_bucket('list', bucket, '' if prefix is None else prefix, options)

    @overload
    def delete_many(
        self, bucket: str, keys: Keys, *, callback: None = None, **options: Unpack[_PlainBucket]
    ) -> Job[DeleteReport]: ...
    @overload
    def delete_many(
        self, bucket: str, keys: Keys, *, callback: Callable[[DeleteReport], R], **options: Unpack[_PlainBucket]
    ) -> Job[R]: ...
    @shows(_Bucket)
    def delete_many(self, bucket: str, keys: Iterable[str | ListEntry | ObjectRef], **options: Unpack[_Bucket]) -> Job[Any]:
        """Queue a Connection.delete_many(). Its value is a DeleteReport, also if it has failures: they do not fail the job."""
        return self._queue_on_bucket('delete_many', bucket, '', {'keys': keys, **options})

    @overload
    def create_bucket(self, bucket: str, *, callback: None = None, **options: Unpack[_PlainBucket]) -> Job[None]: ...
    @overload
    def create_bucket(self, bucket: str, *, callback: Callable[[None], R], **options: Unpack[_PlainBucket]) -> Job[R]: ...
    @shows(_Bucket)
    def create_bucket(self, bucket: str, **options: Unpack[_Bucket]) -> Job[Any]:
        """Queue a Connection.create_bucket(). Its value is None."""
        return self._queue_on_bucket('create_bucket', bucket, '', options)

    @overload
    def delete_bucket(self, bucket: str, *, callback: None = None, **options: Unpack[_PlainBucket]) -> Job[None]: ...
    @overload
    def delete_bucket(self, bucket: str, *, callback: Callable[[None], R], **options: Unpack[_PlainBucket]) -> Job[R]: ...
    @shows(_Bucket)
    def delete_bucket(self, bucket: str, **options: Unpack[_Bucket]) -> Job[Any]:
        """Queue a Connection.delete_bucket(). Its value is None."""
        return self._queue_on_bucket('delete_bucket', bucket, '', options)

    def _queue(self, operation: str, bucket: str, key: str | ListEntry, options: Any) -> Job[Any]:
        """Queue one call. options: One of the dicts above, made for this call."""
        callback, errback = options.pop('callback', None), options.pop('errback', None)
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options, names)
        # Only failed uploads and downloads may be silent; as in Connection.
        silent = options.pop('silent', None) if 'silent' in names else False
        ref = ref_of(bucket, key, options.pop('version_id', None))
        return self.submit(Call(operation, ref, options), callback, errback, silent=silent)

    def _queue_on_bucket(self, operation: str, bucket: str, prefix: str, options: Any) -> Job[Any]:
        """Queue one call on a bucket. options: As for _queue()."""
        callback, errback = options.pop('callback', None), options.pop('errback', None)
        names = NAMES[operation]
        if not options.keys() <= names:
            raise unknown_option(operation, options, names)
        call = Call(operation, bucket_ref_of(bucket, prefix), options)
        return self.submit(call, callback, errback, silent=False)
