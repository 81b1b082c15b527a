"""Carries out the calls of a connection: checks their options, opens source or target, and runs the transfer."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent

from s3po.body import Sink, SizedSource, Source, StreamSource, compressed, open_path, open_sink, open_source
from s3po.body.originals import delete_original
from s3po.body.sinks import BytesSink
from s3po.body.sources import FileSource
from s3po.config import TransferConfig
from s3po.connection.arguments import (
    add_conditions,
    add_content_type,
    check_byte_range,
    check_encoding,
    decode,
    object_headers,
    path_of,
    plain_path,
)
from s3po.connection.compression import add_compression, check_decompress, decompressing
from s3po.connection.looking import exists, head, remove
from s3po.connection.time_limits import within
from s3po.connection.wiring import IncomingCopies, Wiring
from s3po.errors import (
    ConfigurationError,
    DownloadError,
    TransferError,
    UploadError,
)
from s3po.jobs import DEFAULTS, Call
from s3po.jobs.options import DeleteOptions, Download, DownloadFile, Fetch, HeadOptions, Send, Upload, UploadFile
from s3po.model import ObjectRef, Outcome, TransferResult
from s3po.observer import Observer, combined
from s3po.retry import RetryPolicy, check_retries
from s3po.s3 import Extra
from s3po.s3.parameters import check_extra, known_extra
from s3po.transfer import (
    Attempts,
    Fetched,
    Guard,
    ObjectDownload,
    ObservedAttempts,
    PendingAborts,
    abort_pending,
    download,
    download_record,
    result_of,
    upload,
)
from s3po.transfer.aborting import clean_up
from s3po.transfer.parts import PartGroup

__all__ = ['UPLOADS', 'Operations', 'outcome_of']

log = logging.getLogger(__name__)

# The time limit of close() for clean-up: half of it for running clean-up, the rest for aborts that failed before.
CLOSE_S: Final = 5.0

# The S3 requests that one call may make: `extra` takes their parameters.
UPLOADS: Final = ('PutObject', 'CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload')
# The options that become headers of the object.
HEADER_OPTIONS: Final = frozenset({'content_type', 'headers', 'metadata'})


class Operations:
    """Carries out calls on one object, with the connection's defaults.

    Attributes:
        config: The settings of transfers, unless a call has its own.
        observer: Receives the events of all requests; None for no observer.
        deletes_sources: Whether uploads from a path delete the file, unless the call says otherwise.
        memory: Returns the budget of this thread's transfers, unless a call has its own.
        by_name: The function of each operation. It takes the ref and the options of the call, and ignores `timeout_s`. The
            functions of s3po.connection.many and s3po.connection.copies are added by Connection.
    """

    def __init__(
        self, wiring: Wiring, config: TransferConfig, policy: RetryPolicy, *, delete: bool, default_extra: Extra
    ) -> None:
        self._wiring = wiring
        self.config = config
        self.observer: Observer | None = None
        self.memory = wiring.memory
        self._policy = policy
        self._guard = Guard(config.checksum)
        self._pending_aborts = PendingAborts()
        self.deletes_sources = delete
        if default_extra:
            check_extra(default_extra, None, 'default_extra')
        self._default_extra = dict(default_extra)
        self.by_name: dict[str, Callable[[ObjectRef, Any], Outcome]] = {
            'upload': self._upload,
            'upload_file': self._upload_file,
            'download': self._download,
            'download_file': self._download_file,
            'head': self._head,
            'delete': self._delete_object,
            'exists': self._exists,
        }

    def perform_within(self, call: Call) -> Outcome:
        """Carry out a call that has a `timeout_s`."""
        function = self.by_name[call.operation]
        return within(call.options['timeout_s'], functools.partial(function, call.ref, call.options), str(call))

    def width(self) -> int:
        """How many requests of this thread may be in flight at once."""
        return self._wiring.governor().load().width

    def attempts(
        self,
        bucket: str,
        key: str,
        retries: int | None,
        failure: type[TransferError] = TransferError,
        observer: Observer | None = None,
    ) -> Attempts:
        """The attempts for one object, or (with key '') for a bucket, or (with bucket '') for all buckets.

        Args:
            bucket: The bucket.
            key: The key.
            retries: The number of retries; None for the policy's.
            failure: The error class that is raised when the retries are used up.
            observer: Receives the events after the connection's observer.
        """
        if retries is not None:
            check_retries(retries)
        transport, governor = self._wiring.resolve(bucket)
        observer = self.observer if observer is None else combined(self.observer, observer)
        kind = Attempts if observer is None else ObservedAttempts
        return kind(
            transport,
            governor,
            self._policy,
            self._guard,
            self._pending_aborts,
            bucket=bucket,
            key=key,
            retries=retries,
            failure=failure,
            observer=observer,
        )

    def widened(self) -> IncomingCopies:
        """For `with`: allow as many requests at once as there are callers inside, copies from other connections."""
        return self._wiring.incoming()

    def watch_uploads(self, watch: Callable[[str, str, str, Extra | None], object]) -> None:
        """Call a function for each multipart upload that begins or ends: see PendingAborts.watch."""
        self._pending_aborts.watch = watch

    def abort_in_background(self, bucket: str, key: str, upload_id: str, extra: Extra) -> None:
        """Abort a multipart upload of another process that has ended. Returns at once; close() waits for it."""
        end = functools.partial(clean_up, self.attempts(bucket, key, None), upload_id, PartGroup(), extra, None)
        self._pending_aborts.cleanups.run(
            end, f'the abort of the multipart upload {upload_id} of s3://{bucket}/{key}', patience_s=0
        )

    def finish_clean_up(self) -> None:
        """Wait for the clean-up in the background and abort the remaining uploads, within CLOSE_S; log unfinished clean-up."""
        pending_aborts, until = self._pending_aborts, time.monotonic() + CLOSE_S
        for doing in pending_aborts.cleanups.wait(CLOSE_S / 2):
            log.warning('%s was not finished when the connection was closed', doing)
        # The clean-ups that are cancelled here leave their uploads to be aborted below.
        pending_aborts.cleanups.end()
        with gevent.Timeout(until - time.monotonic(), False):  # type: ignore[arg-type]  # False: it ends the block only
            for bucket in pending_aborts.buckets():
                abort_pending(self.attempts(bucket, '', 0))
        for bucket in pending_aborts.buckets():
            if upload_ids := pending_aborts.upload_ids(bucket):
                listed = ', '.join(upload_ids)
                log.warning(
                    '%d multipart uploads to s3://%s are still not aborted; their parts are stored and billed: %s',
                    len(upload_ids),
                    bucket,
                    listed,
                )

    def extra(self, given: Extra | None, *operations: str) -> dict[str, Any]:
        """The connection's further parameters, updated with the caller's."""
        if given is None:
            return self._default_extra
        check_extra(given, operations)
        return {**self._default_extra, **given}

    def known_extra(self, operation: str, extra: Extra) -> dict[str, Any]:
        """The parameters that one request takes."""
        return known_extra(operation, extra) if extra else {}

    def _upload_file(self, ref: ObjectRef, options: UploadFile) -> Outcome:
        return self._send(ref, open_path, plain_path(path_of(options['path'])), options)

    def _upload(self, ref: ObjectRef, options: Upload) -> Outcome:
        return self._send(ref, open_source, options['source'], options)

    def _send(self, ref: ObjectRef, opener: Callable[[Any], SizedSource | StreamSource], source: Any, options: Send) -> Outcome:
        extra = self.extra(options['extra'], *UPLOADS) if 'extra' in options else self._default_extra
        sent = {}
        if not HEADER_OPTIONS.isdisjoint(options):
            sent = object_headers(options.get('headers'), options.get('metadata'), options.get('content_type'))
        if 'if_none_match' in options or 'if_match' in options:
            add_conditions(sent, if_none_match=options.get('if_none_match'), if_match=options.get('if_match'))
        compress = options.get('compress')
        if compress is not None:
            add_compression(sent, extra, compress)
        opened = opener(source)
        try:
            delete = options.get('delete')
            is_to_delete = (self.deletes_sources or delete) and self._is_to_delete(opened, delete=delete)
            if 'ContentType' not in extra:
                add_content_type(sent, opened.path or ref.key)
            attempts = self.attempts(ref.bucket, ref.key, options.get('retries'), UploadError, options.get('observer'))
            to_send = opened if compress is None else compressed(opened, compress)
            notes, memory = options.get('notes'), options.get('memory', self.memory)
            result = upload(attempts, to_send, options.get('config', self.config), sent, extra, notes, memory)
            if notes is not None:
                notes.stored(result)
            if is_to_delete:
                assert isinstance(opened, FileSource)
                delete_original(opened)
        finally:
            opened.close()
        return Outcome(value=result, size_bytes=result.size_bytes, retries=attempts.retried)

    def _is_to_delete(self, opened: Source, *, delete: bool | None) -> bool:
        is_file = isinstance(opened, FileSource) and opened.path is not None
        if delete and not is_file:
            raise ConfigurationError('delete=True needs a path as source; this source is not a file that can be deleted')
        return is_file and (self.deletes_sources if delete is None else delete)

    def _download_file(self, ref: ObjectRef, options: DownloadFile) -> Outcome:
        return self._download_to(path_of(options['path']), ref, options)

    def _download(self, ref: ObjectRef, options: Download) -> Outcome:
        target, encoding = options.get('target'), options.get('encoding')
        if encoding is not None:
            check_encoding(encoding, target)
        if target is not None:
            return self._download_to(target, ref, options)
        fetched, attempts, opened = self._fetch(ref, None, options)
        assert isinstance(opened, BytesSink)
        value = opened.value if encoding is None else decode(opened.value, encoding, ref)
        return Outcome(value=value, size_bytes=fetched.size_bytes, retries=attempts.retried, described=opened.described)

    def _download_to(self, target: Any, ref: ObjectRef, options: Fetch) -> Outcome:
        began = time.monotonic()
        fetched, attempts, _ = self._fetch(ref, target, options)
        result = result_of(attempts, fetched, time.monotonic() - began)
        notes = options.get('notes')
        if notes is not None:
            notes.stored(result)
        return Outcome(value=result, size_bytes=result.size_bytes, retries=attempts.retried)

    def _fetch(self, ref: ObjectRef, target: Any, options: Fetch) -> tuple[Fetched, Attempts, Sink]:
        """Download an object. Returns its attempts and the sink of the target too."""
        config = options.get('config', self.config)
        byte_range = options.get('byte_range')
        decompress = options.get('decompress', DEFAULTS['decompress'])
        max_decompressed_size = options.get('max_decompressed_size')
        if byte_range is not None:
            check_byte_range(byte_range)
        if 'decompress' in options or max_decompressed_size is not None:
            check_decompress(decompress, max_decompressed_size, byte_range)
        notes, job = options.get('notes'), None
        if notes is not None and byte_range is None:
            job = f'{ref.bucket}\0{ref.key}\0{ref.version_id}\0{config.checksum}'
        opened = sink = open_sink(target, use_tmp_file=config.use_tmp_file, fsync=config.fsync, job=job)
        if decompress is not False and byte_range is None:
            sink = decompressing(opened, ref, decompress=decompress, max_bytes=max_decompressed_size)
        attempts = self.attempts(ref.bucket, ref.key, options.get('retries'), DownloadError, options.get('observer'))
        fetched = download(
            ObjectDownload(
                attempts,
                sink,
                config,
                byte_range=byte_range,
                if_match=options.get('if_match'),
                version_id=ref.version_id,
                extra=self.extra(options['extra'], 'GetObject') if 'extra' in options else self._default_extra,
                record=None if notes is None else download_record(notes, opened),
                memory=options.get('memory', self.memory),
            )
        )
        return fetched, attempts, opened

    def _head(self, ref: ObjectRef, options: HeadOptions) -> Outcome:
        attempts = self.attempts(ref.bucket, ref.key, options.get('retries'))
        info = head(attempts, ref, self.extra(options.get('extra'), 'HeadObject'))
        return Outcome(value=info, retries=attempts.retried)

    def _exists(self, ref: ObjectRef, options: HeadOptions) -> Outcome:
        attempts = self.attempts(ref.bucket, ref.key, options.get('retries'))
        is_there = exists(attempts, ref, self.extra(options.get('extra'), 'HeadObject'))
        return Outcome(value=is_there, retries=attempts.retried)

    def _delete_object(self, ref: ObjectRef, options: DeleteOptions) -> Outcome:
        extra = self.extra(options.get('extra'), 'DeleteObject', 'HeadObject')
        attempts = self.attempts(ref.bucket, ref.key, options.get('retries'))
        if not options.get('missing_ok', DEFAULTS['missing_ok']):
            head(attempts, ref, extra)
        remove(attempts, ref, extra)
        return Outcome(value=None, retries=attempts.retried)


def outcome_of(result: TransferResult) -> Outcome:
    """The outcome of a call that returns the result of a transfer. (Small transfers save this call.)"""
    return Outcome(value=result, size_bytes=result.size_bytes, retries=result.attempts - result.parts)
