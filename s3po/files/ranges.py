"""Ranges of one version of one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s3po.body.sinks import BytesSink, Sink
from s3po.config import TransferConfig
from s3po.errors import PreconditionFailed, SourceChanged
from s3po.files.errors import file_errors
from s3po.memory import MemoryBudget
from s3po.model import Described, ObjectInfo, ObjectRef
from s3po.s3 import Extra
from s3po.s3.expected import is_strong
from s3po.transfer import Attempts, ObjectDownload, download

__all__ = ['Ranges']


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Fetches ranges of one object.

    Attributes:
        ref: The object.
        attempts: Returns a new Attempts, for the requests of one range.
        config: The settings; large ranges are fetched in several requests.
        extra: The caller's further parameters.
        memory: Returns the budget of the calling thread.
        if_match: The ETag that the object must have; None for any.
        opened: The object when it was opened; all bytes must be of this version. None for the first request, which opens it.
    """

    ref: ObjectRef
    attempts: Callable[[], Attempts]
    config: TransferConfig
    extra: Extra
    memory: Callable[[], MemoryBudget]
    if_match: str | None = None
    opened: ObjectInfo | None = None

    def first(self, size_bytes: int) -> tuple[ObjectInfo, bytes]:
        """Return the object's description and up to size_bytes from its beginning. One request.

        Raises:
            NotFound: The object does not exist.
        """
        sink = BytesSink()
        self._fetch(0, size_bytes, sink)
        assert sink.described is not None
        return sink.described.info, sink.value

    def get(self, start: int, stop: int, *, waits: bool = False) -> bytes:
        """Return the bytes [start, stop).

        Args:
            start: The first byte.
            stop: The byte after the last one.
            waits: Whether to wait for room in the budget; else the caller counts the bytes.

        Raises:
            SourceChanged: The object was replaced since it was opened.
            DownloadError: The retries were used up.
        """
        sink = BytesSink()
        self._fetch(start, stop, sink, self.memory if waits else None)
        return sink.value

    def get_into(self, start: int, stop: int, buffer: bytearray) -> None:
        """Write the bytes [start, stop) to the beginning of a buffer. Raises the same errors as get()."""
        self._fetch(start, stop, _BufferSink(buffer))

    def _fetch(
        self, start: int, stop: int, sink: BytesSink | _BufferSink, memory: Callable[[], MemoryBudget] | None = None
    ) -> None:
        opened = self.opened
        with file_errors(str(self.ref)):
            what = ObjectDownload(
                self.attempts(),
                sink,
                self.config,
                byte_range=(start, stop),
                if_match=self.if_match,
                version_id=self.ref.version_id,
                extra=self.extra,
                memory=memory,
            )
            try:
                result = download(what)
            except PreconditionFailed as error:
                if opened is None:
                    raise
                raise self._changed() from error
            # Stores without ETags, or with weak ones: the request had no If-Match, so compare the response.
            if opened is not None:
                is_same = (result.size_bytes, result.etag) == (stop - start, opened.etag)
                if not is_same or not (is_strong(opened.etag) or _is_version(sink.described, opened)):
                    raise self._changed()

    def _changed(self) -> SourceChanged:
        return SourceChanged(f'{self.ref} was replaced while it was read; open it again')


def _is_version(described: Described | None, opened: ObjectInfo) -> bool:
    """Whether a response describes the opened version, as far as a store without strong ETags shows it."""
    if described is None:
        return True
    info = described.info
    return (info.last_modified, info.version_id) == (opened.last_modified, opened.version_id)


class _BufferSink(Sink):
    """A Sink that writes into an existing buffer.

    Attributes:
        described: The store's description of the object; None before the response.
    """

    def __init__(self, buffer: bytearray) -> None:
        self._view = memoryview(buffer)
        self.described: Described | None = None

    def identify(self, bucket: str, key: str, described: Described) -> Sink:
        self.described = described
        return self

    def begin(self, size_bytes: int | None) -> None:
        """Do nothing: the buffer has the length of the range."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._view[offset : offset + len(data)] = data

    def window(self, offset: int, size_bytes: int) -> memoryview:
        return self._view[offset : offset + size_bytes]
