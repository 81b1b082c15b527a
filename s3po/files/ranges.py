"""The ranges of one version of one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from s3po.body import open_sink
from s3po.body.sinks import BytesSink
from s3po.config import TransferConfig
from s3po.errors import PreconditionFailed, SourceChanged
from s3po.model import ObjectInfo, ObjectRef
from s3po.transfer import Attempts, DownloadRequest, download
from s3po.transport import Extra

__all__ = ['Ranges']


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Fetches ranges of one object.

    Attributes:
        ref: The object.
        attempts: Gives what makes the requests of one range.
        config: How large ranges are fetched in several requests.
        extra: The caller's further parameters.
        if_match: The ETag that it must have; None for any.
    """

    ref: ObjectRef
    attempts: Callable[[], Attempts]
    config: TransferConfig
    extra: Extra
    if_match: str | None = None

    def first(self, size_bytes: int) -> tuple[ObjectInfo, bytes]:
        """What the object is, and its first bytes: all of them, if there are no more than size_bytes. One request.

        Raises:
            NotFound: There is none.
        """
        data, sink = self._fetch(0, size_bytes)
        assert sink.described is not None
        return sink.described.info, data

    def get(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), all of them.

        Raises:
            SourceChanged: The object is another one by now.
            DownloadError: The retries ran out.
        """
        try:
            return self._fetch(start, stop)[0]
        except PreconditionFailed as error:
            raise SourceChanged(f'{self.ref} was replaced while it was read; open it again') from error

    def _fetch(self, start: int, stop: int) -> tuple[bytes, BytesSink]:
        request = DownloadRequest(
            byte_range=(start, stop), if_match=self.if_match, version_id=self.ref.version_id, extra=self.extra
        )
        sink = open_sink(None)
        assert isinstance(sink, BytesSink)
        download(self.attempts(), sink, self.config, request)
        return sink.value, sink
