"""The calls that a batch takes: Connection's methods, with a callback and an errback.

What may live here: signatures, which tests/unit/test_parity.py compares with Connection's, and nothing that decides anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from s3po.batch.job import Callback, Errback, Job
from s3po.model import ObjectRef, ref_of

__all__ = ['Calls']


class Calls:
    """Queues calls. Every method takes what Connection's method of that name takes, and gives a Job at once.

    What they have in common:

    - callback: Called with the result, in the worker; the job's value is then what it returns. It may submit more work.
    - errback: Called with the error of a transfer that failed; the job has failed all the same.
    - Blocks while the queue is full, unless called from inside a job.
    - Raises Cancelled, DeadlineExceeded or BreakerOpen when the batch takes no more work, and ConfigurationError when it is
      closed or another thread's. What is wrong with one call, a bucket or key that cannot be one too, fails its job.
    """

    def submit(
        self,
        operation: str,
        ref: ObjectRef,
        options: dict[str, Any],
        callback: Callback | None,
        errback: Errback | None,
        silent_value: object = None,
    ) -> Job:
        """Queue one call."""
        raise NotImplementedError

    def upload(
        self,
        bucket: str,
        key: str,
        source: Any,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        compress: str | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.upload(). Its value is a TransferResult."""
        options = {
            'source': source,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'compress': compress,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'silent': silent,
            'timeout_s': timeout_s,
        }
        return self.submit('upload', ref_of(bucket, key), options, callback, errback, silent_value=False)

    def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        extra: Mapping[str, Any] | None = None,
        compress: str | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        retries: int | None = None,
        delete: bool | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.upload_file(). Its value is a TransferResult."""
        options = {
            'path': path,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'extra': extra,
            'compress': compress,
            'if_none_match': if_none_match,
            'if_match': if_match,
            'retries': retries,
            'delete': delete,
            'silent': silent,
            'timeout_s': timeout_s,
        }
        return self.submit('upload_file', ref_of(bucket, key), options, callback, errback, silent_value=False)

    def download(
        self,
        bucket: str,
        key: str,
        target: Any = None,
        *,
        encoding: str | None = None,
        decompress: str | bool = 'auto',
        max_decompressed_size: int | None = None,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.download(). Its value is bytes, str or a TransferResult."""
        options = {
            'target': target,
            'encoding': encoding,
            'decompress': decompress,
            'max_decompressed_size': max_decompressed_size,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'silent': silent,
            'timeout_s': timeout_s,
        }
        return self.submit('download', ref_of(bucket, key, version_id), options, callback, errback)

    def download_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        decompress: str | bool = 'auto',
        max_decompressed_size: int | None = None,
        version_id: str | None = None,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        silent: bool | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.download_file(). Its value is a TransferResult."""
        options = {
            'path': path,
            'decompress': decompress,
            'max_decompressed_size': max_decompressed_size,
            'byte_range': byte_range,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'silent': silent,
            'timeout_s': timeout_s,
        }
        return self.submit('download_file', ref_of(bucket, key, version_id), options, callback, errback)

    def head(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.head(). Its value is an ObjectInfo."""
        options = {'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        return self.submit('head', ref_of(bucket, key, version_id), options, callback, errback)

    def delete(
        self,
        bucket: str,
        key: str,
        *,
        missing_ok: bool = True,
        version_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.delete(). Its value is None."""
        options = {'missing_ok': missing_ok, 'extra': extra, 'retries': retries, 'timeout_s': timeout_s}
        return self.submit('delete', ref_of(bucket, key, version_id), options, callback, errback)

    def copy(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.copy(). Its value is a TransferResult."""
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        return self.submit('copy', ref_of(bucket, key, version_id), options, callback, errback)

    def move(
        self,
        bucket: str,
        key: str,
        to_bucket: str,
        to_key: str,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
        version_id: str | None = None,
        if_match: str | None = None,
        extra: Mapping[str, Any] | None = None,
        retries: int | None = None,
        timeout_s: float | None = None,
        callback: Callback | None = None,
        errback: Errback | None = None,
    ) -> Job:
        """Queue a Connection.move(). Its value is a TransferResult."""
        options = {
            'to_bucket': to_bucket,
            'to_key': to_key,
            'headers': headers,
            'metadata': metadata,
            'content_type': content_type,
            'if_match': if_match,
            'extra': extra,
            'retries': retries,
            'timeout_s': timeout_s,
        }
        return self.submit('move', ref_of(bucket, key, version_id), options, callback, errback)
