"""Streams without a disk: file objects whose other end is a transfer of boto3, and an upload that is fed by send().

The pipes themselves are in `pipes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

import gevent

from s3po.config import KIB, MIB
from s3po.connection import Connection
from s3po.errors import DownloadError, UploadError
from s3po.interfaces.pipes import Data, Pipe, joined

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


class S3StreamingDownload(Pipe):
    """A file to read from while boto3 downloads into it: `client.download_fileobj(…, file_obj, Config=…)` in a thread.

    The thread closes it after the download: `with file_obj: client.download_fileobj(…)`. The Config must have
    `use_threads=False`: a thread of boto3 that ends would be mistaken for the writer.
    """

    _failure = DownloadError

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the data as it arrives, in pieces of up to 1 MiB."""
        while piece := self.read1():
            yield piece


class _FedStream(S3StreamingUpload):
    # The reading greenlet reports its failure, and send() may be called from different greenlets.
    _is_watched = False


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
    buffer_size: int = 16 * MIB,
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
        buffer_size: The most bytes that wait for the upload; send() blocks while they do.
    """
    stream = _FedStream(file_size, buffer_size, stall_timeout_s=None)
    ended: list[bool] = []

    def work() -> None:
        options: dict[str, Any] = {'headers': headers, 'metadata': metadata, 'content_type': content_type}
        try:
            conn.upload(bucket, key, stream, **options, extra=extra, retries=retries, silent=False)
            ended.append(True)
        except BaseException as error:  # noqa: BLE001  (raised by send(), in the greenlet that waits)
            stream.fail(error)

    def note_end(_: object) -> None:
        # The only report if other code killed the greenlet before it started.
        if not ended:
            stream.fail(UploadError(f'the upload to s3://{bucket}/{key} was killed', bucket=bucket, key=key, attempts=0))

    upload = gevent.Greenlet(work)
    upload.link(note_end)
    upload.start()
    cache: list[Data] = []
    cached = written = 0
    threshold = CACHE_BYTES
    try:
        while (chunk := (yield written)) is not None:
            cache.append(chunk if isinstance(chunk, bytes) else bytes(memoryview(chunk)))
            cached += len(cache[-1])
            written = 0
            if cached >= threshold:
                written, cached = stream.write(joined(cache)), 0
                cache.clear()
                threshold = min(threshold + CACHE_BYTES, MAX_CACHE_BYTES)
                # Otherwise the upload would run only when the buffer is full.
                gevent.sleep(0)
        written = stream.write(joined(cache))
        stream.close()
        upload.join()
        if not ended:
            # gevent may call the link later.
            note_end(upload)
        stream.check_failed()
        yield written
        raise ValueError('send() after the end of the upload; call close()')
    except GeneratorExit:
        upload.kill()
        if callback is not None:
            callback()
    except BaseException:
        upload.kill()
        raise
