"""Streams without a disk: file objects whose other end is a transfer of boto3, and an upload that is fed by send().

The pipes themselves are in s3po/body/pipes.py.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

import gevent

from s3po.config import KIB
from s3po.connection import Captured, Connection, Data, Pipe, Progress, joined
from s3po.errors import DownloadError, UploadError
from s3po.jobs import Call
from s3po.model import ObjectRef

__all__ = ['S3StreamingDownload', 'S3StreamingUpload', 'upload_generator']

# The write buffer of upload_generator: its initial size, which is also its growth per write, and its largest size.
CACHE_BYTES: Final = 4 * KIB
MAX_CACHE_BYTES: Final = 80 * KIB


class S3StreamingUpload(Pipe):
    """A file to write to while boto3 uploads it: `client.upload_fileobj(file_obj, …)` in one thread, write() in another.

    It cannot know whether boto3 has published what it read: boto3's thread must report a failure by fail().

    Attributes:
        bytes_sent: The bytes that boto3 has reported as sent; a part that is sent again counts once.
    """

    _failure = UploadError
    bytes_sent = 0

    def prune(self, bytes_amount: int) -> None:
        """Count sent bytes: boto3's `Callback`."""
        with self._changed:
            self.bytes_sent += bytes_amount
            self._reader.seen_at = time.monotonic()

    @property
    def processed(self) -> int:
        """The same as bytes_sent."""
        return self.bytes_sent


class S3StreamingDownload(Pipe):
    """A file to read from while boto3 downloads into it: `client.download_fileobj(…, file_obj, Config=…)` in a thread.

    The thread closes it after the download: `with file_obj: client.download_fileobj(…)`. The Config must have
    `use_threads=False`: a thread of boto3 that ends would be mistaken for the writer.
    """

    _failure = DownloadError


def upload_generator(
    conn: Connection,
    bucket: str,
    key: str,
    *,
    file_size: int | None = None,
    callback: Callable[[], object] | None = None,
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    extra: Mapping[str, Any] | None = None,
    retries: int | None = None,
    buffer_size: int | None = None,
    confirmed: bool = False,
) -> Generator[int, Data | None, None]:
    """An upload that is fed by send(), in the thread that started it.

    send(None) starts it. send(data) returns how many bytes were passed on to the upload: 0 while they are only buffered, which
    saves many small writes. The next send(None) passes on the rest and blocks until the store has confirmed the object. close()
    ends the generator; before that confirmation it aborts the upload, and nothing is published. send() raises the errors of the
    upload.

    Args:
        conn: The connection.
        bucket: The bucket.
        key: The key.
        file_size: The length in bytes: fewer (SourceChanged) or more (ValueError) abort the upload. None for any length.
        callback: Called without arguments by close().
        headers: As for Connection.upload(), like the next four.
        metadata: The user-defined metadata of the object.
        content_type: None guesses it from the key.
        extra: Further parameters by boto3's names.
        retries: Retries per request; None for the connection's.
        buffer_size: The most bytes that wait for the upload; send() blocks while they do. None for 16 MiB.
        confirmed: send() returns how many bytes the store has confirmed since the last send(), part by part. Their sum is the
            size of the object.
    """
    options = {'headers': headers, 'metadata': metadata, 'content_type': content_type, 'extra': extra, 'retries': retries}

    def send(source: _FedUpload) -> object:
        observed = {'observer': Progress(source.note_confirmed, is_confirmed=True)} if confirmed else {}
        return conn.perform(Call('upload', ObjectRef(bucket=bucket, key=key), {'source': source, **options, **observed}))

    killed = UploadError(f'the upload to s3://{bucket}/{key} was killed', bucket=bucket, key=key, attempts=0)
    upload = _FedUpload(send, killed, file_size, buffer_size, is_confirmed=confirmed)
    try:
        yield from upload.feed()
    except GeneratorExit:
        upload.kill()
        if callback is not None:
            callback()
    except BaseException:
        upload.kill()
        raise


class _FedUpload(S3StreamingUpload):
    """A stream, and the greenlet that uploads it."""

    # The reading greenlet reports its failure, and send() may be called from different greenlets.
    _is_watched = False

    def __init__(
        self,
        send: Callable[[Any], object],
        killed: UploadError,
        file_size: int | None,
        buffer_size: int | None,
        *,
        is_confirmed: bool,
    ) -> None:
        """
        Args:
            send: Uploads this stream, and calls note_confirmed().
            killed: The error if other code kills the greenlet.
            file_size: As for Pipe.
            buffer_size: As for Pipe.
            is_confirmed: feed() yields confirmed bytes.
        """
        super().__init__(file_size, buffer_size, stall_timeout_s=None)
        self._killed = killed
        self._is_confirmed, self._confirmed = is_confirmed, 0
        self._outcome: Captured[object] = Captured()
        self._greenlet = gevent.Greenlet(self._outcome.capture, functools.partial(send, self))
        # A link is also called if the greenlet is killed before it starts.
        self._greenlet.link(self._note_end)
        self._greenlet.start()

    def kill(self) -> None:
        """Abort the upload if it has not ended."""
        self._greenlet.kill()

    def note_confirmed(self, size_bytes: int) -> None:
        """Count bytes that the store has confirmed."""
        self._confirmed += size_bytes

    def feed(self) -> Generator[int, Data | None, None]:
        """Upload what is sent, up to a None, and wait for the confirmation. Yields the results of send()."""
        cache: list[Data] = []
        cached = written = 0
        threshold = CACHE_BYTES
        while (chunk := (yield self._progress(written))) is not None:
            cache.append(chunk if isinstance(chunk, bytes) else bytes(memoryview(chunk)))
            cached += len(cache[-1])
            written = 0
            if cached >= threshold:
                written, cached = self.write(joined(cache)), 0
                cache.clear()
                threshold = min(threshold + CACHE_BYTES, MAX_CACHE_BYTES)
                # Otherwise the upload would run only when the buffer is full.
                gevent.sleep(0)
        written = self.write(joined(cache))
        self.close()
        self._greenlet.join()
        # gevent may call the link later.
        self._note_end(self._greenlet)
        self.check_failed()
        yield self._progress(written)
        raise ValueError('send() after the end of the upload; call close()')

    def _progress(self, written: int) -> int:
        if not self._is_confirmed:
            return written
        confirmed, self._confirmed = self._confirmed, 0
        return confirmed

    def _note_end(self, _: object) -> None:
        error = self._outcome.error
        if error is not None:
            self.fail(self._killed if isinstance(error, gevent.GreenletExit) else error)
