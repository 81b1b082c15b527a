"""Streams that need no disk: files whose other end is a transfer of boto3's, and an upload that is fed by send().

What may live here: what is S3's about them. How bytes get from one side to the other is the affair of `pipes`.
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

# The write cache of upload_generator: where it begins, by how much it grows with each write, and where that ends.
CACHE_BYTES: Final = 4 * KIB
MAX_CACHE_BYTES: Final = 80 * KIB


class S3StreamingUpload(Pipe):
    """A file that is written while boto3 uploads it: `client.upload_fileobj(file_obj, …)` in a thread, write() in another.

    It cannot know whether boto3 has published what it read: that is for the thread to tell, which may call fail().

    Attributes:
        bytes_sent: What boto3 has told of as sent; a part that it sends again is counted once.
    """

    _failure = UploadError
    bytes_sent = 0

    def prune(self, bytes_amount: int) -> None:
        """boto3's `Callback`: count what was sent."""
        with self._changed:
            self.bytes_sent += bytes_amount
            self._reader.seen_at = time.monotonic()


class S3StreamingDownload(Pipe):
    """A file that is read while boto3 downloads into it: `client.download_fileobj(…, file_obj, Config=…)` in a thread.

    The thread closes it when boto3 is done: `with file_obj: client.download_fileobj(…)`. The Config has to say
    `use_threads=False`: a thread of boto3's that ends would be taken for the writer.
    """

    _failure = DownloadError

    def __iter__(self) -> Iterator[bytes]:
        """The data as they come, in pieces of any size up to 1 MiB."""
        while piece := self.read1():
            yield piece


class _FedStream(S3StreamingUpload):
    # The greenlet that reads tells its failure, and whoever calls send() may each time be another.
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
    """An upload that is fed by send(), in the thread that began it.

    send(None) begins it. send(data) gives how many bytes it has handed on to the upload: 0 while they are only cached, which
    saves many small writes. The next send(None) hands on the rest and blocks until the store has confirmed the object. close()
    ends it; before that it aborts, and nothing is published. Whatever the upload fails with is raised by send().

    Args:
        conn: The connection.
        bucket: The bucket.
        key: The key.
        file_size: How many bytes there will be: fewer (SourceChanged) or more (ValueError) abort the upload. None for any.
        callback: Called without arguments by close().
        headers: As of Connection.upload(), like the next four.
        metadata: The object's own metadata.
        content_type: None guesses it from the key.
        extra: Further parameters by boto3's names.
        retries: In place of the connection's.
        buffer_size: How many bytes may wait for the upload; then send() blocks.
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
        # Of work that other code killed before it began, nothing else would tell.
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
                # Or the upload would have its turn only when the buffer is full.
                gevent.sleep(0)
        written = stream.write(joined(cache))
        stream.close()
        upload.join()
        if not ended:
            # Its link may be called behind that.
            note_end(upload)
        stream.check_failed()
        yield written
        raise ValueError('send() to an upload that has ended; close() it')
    except GeneratorExit:
        upload.kill()
        if callback is not None:
            callback()
    except BaseException:
        upload.kill()
        raise
