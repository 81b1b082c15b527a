"""The attempts that carry an upload's bytes: each reads them afresh, sends them with their checksum, and compares the answer.

Invariant: no attempt counts as successful whose answer contradicts what was sent.
"""

from __future__ import annotations

from typing import Final

from s3po.body import BytesChunk, Chunk
from s3po.errors import PreconditionFailed, ResponseError, TransportError
from s3po.model import CompletedPart
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import check_echo, check_etag
from s3po.transport import ID_HEADER, Extra, Headers, Stored

__all__ = ['PartSender', 'PutSender']

# What is smaller is read once, for its checksum and to be sent; what is larger twice, piece by piece.
AT_ONCE_BYTES: Final = 256 * 1024

UNGUARDED: Final = (
    'nothing guards what was uploaded: it went unsigned over plain HTTP, the store told no checksum of it, and its ETag is '
    "no MD5. Use https, or payload_signing='signed'"
)


class _Sender:
    """What both have in common."""

    __slots__ = ('_attempts', '_chunk', '_extra')

    def __init__(self, attempts: Attempts, chunk: Chunk, extra: Extra) -> None:
        self._attempts = attempts
        self._chunk = chunk
        self._extra = extra

    def _send(self, body: Chunk, checksum: str | None) -> Stored | CompletedPart:
        raise NotImplementedError

    def _sent(self) -> Stored | CompletedPart:
        """Send the bytes once; without a checksum where the store does not take one."""
        attempts, chunk = self._attempts, self._chunk
        body = chunk if chunk.size_bytes > AT_ONCE_BYTES or isinstance(chunk, BytesChunk) else BytesChunk(chunk.read())
        guard = attempts.guard
        algorithm = guard.algorithm(attempts.bucket)
        checksum = None
        if algorithm is not None:
            checksum = body.checksum(algorithm, with_sha256=attempts.transport.signs_bodies(attempts.bucket))
        try:
            stored = self._send(body, checksum)
        except ResponseError as error:
            if checksum is None or not guard.is_refusal(error):
                raise
            checksum = None
            stored = self._send(body, None)
            guard.remember_refusal(attempts.bucket)
        if stored.checksum is not None:
            if checksum != stored.checksum:
                check_echo(str(self), checksum, stored.checksum)
        elif not guard.is_off:
            self._compare_etag(body, checksum, stored)
        return stored

    def _compare_etag(self, body: Chunk, checksum: str | None, stored: Stored | CompletedPart) -> None:
        """The store has told no checksum: compare the ETag where nothing else guarded the bytes, or the caller wants it."""
        attempts = self._attempts
        is_wanted = checksum is not None and checksum.startswith('MD5:')
        if not is_wanted and attempts.transport.guards_bodies(attempts.bucket):
            return
        is_compared = not stored.is_encrypted and check_etag(str(self), body, stored.etag)
        if not is_compared and not is_wanted:
            attempts.warn(UNGUARDED)


class PutSender(_Sender):
    """Sends a whole object."""

    __slots__ = ('_headers', '_id', '_is_unsure')

    def __init__(self, attempts: Attempts, chunk: Chunk, headers: Headers, extra: Extra, own_id: str | None) -> None:
        """
        Args:
            attempts: Names the object.
            chunk: All its bytes.
            headers: Its headers.
            extra: The caller's further parameters.
            own_id: The id among the headers by which the object is known as ours; None where there is none.
        """
        super().__init__(attempts, chunk, extra)
        self._headers = headers
        self._id = own_id
        # Whether an attempt failed that the store may have carried out nevertheless.
        self._is_unsure = False

    def __str__(self) -> str:
        return f'PutObject s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self) -> Stored:
        """One attempt."""
        try:
            return self._sent()  # type: ignore[return-value]  # as _send() gives it
        except PreconditionFailed:
            # Perhaps it was our own write that has made the condition false.
            found = self._own_object() if self._is_unsure and self._id is not None else None
            if found is None:
                raise
            return found
        except TransportError:
            self._is_unsure = True
            raise

    def _send(self, body: Chunk, checksum: str | None) -> Stored:
        attempts = self._attempts
        return attempts.transport.put_object(
            attempts.bucket, attempts.key, body, checksum=checksum, headers=self._headers, extra=self._extra
        )

    def _own_object(self) -> Stored | None:
        attempts = self._attempts
        info = attempts.transport.head_object(attempts.bucket, attempts.key, wants_checksum=True, extra=self._extra)
        if info.headers.get(ID_HEADER) != self._id:
            return None
        return Stored(etag=info.etag, version_id=info.version_id, checksum=info.checksum)


class PartSender(_Sender):
    """Sends one part of a multipart upload."""

    __slots__ = ('_number', '_upload_id')

    def __init__(self, attempts: Attempts, chunk: Chunk, extra: Extra, number: int) -> None:
        super().__init__(attempts, chunk, extra)
        self._number = number
        self._upload_id = ''

    def __str__(self) -> str:
        return f'UploadPart {self._number} of s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self, upload_id: str) -> CompletedPart:
        """One attempt."""
        self._upload_id = upload_id
        return self._sent()  # type: ignore[return-value]  # as _send() gives it

    def _send(self, body: Chunk, checksum: str | None) -> CompletedPart:
        attempts = self._attempts
        return attempts.transport.upload_part(
            attempts.bucket,
            attempts.key,
            body,
            upload_id=self._upload_id,
            part_number=self._number,
            checksum=checksum,
            extra=self._extra,
        )
