"""The attempts that carry an upload's bytes: each sends them with their checksum, and compares the answer.

Invariant: no attempt counts as successful whose answer contradicts what was sent.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Final

from s3po.body import BytesChunk, Chunk
from s3po.errors import (
    IntegrityError,
    InvalidRequest,
    NetworkError,
    NotFound,
    PreconditionFailed,
    ResponseError,
    SourceChanged,
    TransportError,
)
from s3po.model import CompletedPart
from s3po.s3 import ID_HEADER, Extra, Headers, Stored
from s3po.s3.expected import is_proof
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import INVALID_DIGEST, check_echo, check_etag, is_of, new_id, wants_id
from s3po.transfer.reporting import ReportedChunk

__all__ = ['part_attempt', 'put']

# A smaller chunk is read once in each attempt, for its checksum and to be sent. A larger one is read piece by piece: once for
# checksum and signature, and once to be sent in each attempt.
AT_ONCE_BYTES: Final = 256 * 1024

UNGUARDED: Final = (
    'nothing guards what was uploaded: it went unsigned over plain HTTP, the store told no checksum of it, and its ETag is '
    "no MD5. Use https, or payload_signing='signed'; to silence this, set the level of the logger 's3po.transfer' to ERROR"
)


def put(attempts: Attempts, chunk: Chunk, headers: Headers, extra: Extra, *, sends_id: bool) -> Stored:
    """Send a whole object in one request.

    Args:
        attempts: Makes the request; names the object.
        chunk: All its bytes.
        headers: Its headers.
        extra: The caller's further parameters.
        sends_id: TransferConfig.sends_id.
    """
    own_id = None
    if sends_id and (headers or extra) and wants_id(headers, extra, is_multipart=False):
        own_id = new_id()
        headers = {**headers, ID_HEADER: own_id}
    if attempts.observer is None:
        return attempts.run('PutObject', _PutSender(attempts, chunk, headers, extra, own_id).send)
    reported = ReportedChunk(chunk, attempts, 'PutObject')
    return attempts.run('PutObject', reported.attempt(_PutSender(attempts, reported, headers, extra, own_id).send))


def part_attempt(attempts: Attempts, chunk: Chunk, extra: Extra, number: int) -> Callable[[str], CompletedPart]:
    """One attempt to send a part of a multipart upload, given its upload id."""
    if attempts.observer is None:
        return _PartSender(attempts, chunk, extra, number).send
    reported = ReportedChunk(chunk, attempts, 'UploadPart', number)
    return reported.attempt(_PartSender(attempts, reported, extra, number).send)


class _Sender:
    """The attempts to send one chunk."""

    __slots__ = ('_attempts', '_chunk', '_extra')

    def __init__(self, attempts: Attempts, chunk: Chunk, extra: Extra) -> None:
        self._attempts = attempts
        self._chunk = chunk
        self._extra = extra

    def _send(self, body: Chunk, checksum: str | None) -> Stored | CompletedPart:
        raise NotImplementedError

    def _sent(self) -> Stored | CompletedPart:
        """Send the bytes once; without a checksum where the store does not take one."""
        attempts = self._attempts
        chunk = self._chunk
        body = chunk if isinstance(chunk, BytesChunk) else self._read()
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
            body, checksum, stored = self._sent_again(error, checksum)
        else:
            if checksum is not None and attempts.bucket not in guard.taking:
                guard.taking.add(attempts.bucket)
        if stored.checksum is not None:
            if checksum != stored.checksum:
                check_echo(str(self), checksum, stored.checksum)
        elif not guard.is_off:
            self._compare_etag(body, checksum, stored)
        return stored

    def _read(self) -> Chunk:
        chunk = self._chunk
        return chunk if chunk.size_bytes > AT_ONCE_BYTES or isinstance(chunk, BytesChunk) else BytesChunk(chunk.read())

    def _checksum(self, body: Chunk, algorithm: str) -> str:
        attempts = self._attempts
        return body.checksum(algorithm, with_sha256=attempts.transport.signs_bodies(attempts.bucket))

    def _sent_again(self, refusal: ResponseError, checksum: str) -> tuple[Chunk, str, Stored | CompletedPart]:
        """What the store refused may not have matched its checksum, or the store takes no checksums: find out which.

        1. The bytes are read and sent once more, with the same kind of checksum: a body that was spoiled passes now.
        2. A store that is known to take checksums has refused these bytes twice: that is a mismatch.
        3. Else the bytes go with a Content-MD5, which every store knows and compares. Only if they pass like that was it the
           kind of checksum that the store refused. Spoiled bytes are never sent with nothing to compare them with.

        Raises:
            IntegrityError: The bytes do not arrive as they are.
            ResponseError: The store refuses the request for another reason, or a checksum that the caller has asked for.
        """
        guard, bucket = self._attempts.guard, self._attempts.bucket
        body = self._read()
        if refusal.status != http.client.NOT_IMPLEMENTED:
            checksum = self._checksum(body, checksum.partition(':')[0])
            try:
                stored = self._send(body, checksum)
            except ResponseError as error:
                if not guard.is_refusal(error):
                    raise
                if bucket in guard.taking or (guard.is_required and error.code == INVALID_DIGEST):
                    raise self._mismatch(error) from error
                refusal = error
            else:
                guard.taking.add(bucket)
                return body, checksum, stored
        if guard.is_required or bucket in guard.taking:
            raise refusal
        checksum = self._checksum(body, 'MD5')
        try:
            stored = self._send(body, checksum)
        except ResponseError as error:
            if error.code == INVALID_DIGEST:
                raise self._mismatch(error) from error
            raise
        guard.refusing.add(bucket)
        return body, checksum, stored

    def _mismatch(self, error: ResponseError) -> IntegrityError:
        return IntegrityError(f'{self}: the store refused the bytes again and again as not matching their checksum: {error}')

    def _compare_etag(self, body: Chunk, checksum: str | None, stored: Stored | CompletedPart) -> None:
        """Without a checksum in the response: compare the ETag if nothing else guarded the bytes, or the caller wants it."""
        attempts = self._attempts
        is_wanted = checksum is not None and checksum.startswith('MD5:')
        if not is_wanted and attempts.transport.guards_bodies(attempts.bucket):
            return
        try:
            is_compared = not stored.is_encrypted and check_etag(str(self), body, stored.etag)
        except SourceChanged:
            # By now; what was sent was the same at two readings.
            is_compared = False
        if not is_compared and not is_wanted:
            attempts.warn(UNGUARDED, is_of_process=True)


class _PutSender(_Sender):
    """Sends a whole object."""

    __slots__ = ('_headers', '_id', '_is_unsure')

    def __init__(self, attempts: Attempts, chunk: Chunk, headers: Headers, extra: Extra, own_id: str | None) -> None:
        # Not by super(), which is a call more for every small object.
        self._attempts = attempts
        self._chunk = chunk
        self._extra = extra
        self._headers = headers
        self._id = own_id
        # Whether an attempt failed that the store may have carried out nevertheless.
        self._is_unsure = False

    def __str__(self) -> str:
        return f'PutObject s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self) -> Stored:
        """One attempt."""
        try:
            stored: Stored = self._sent()  # type: ignore[assignment]  # as _send() gives it
            return stored if is_proof(stored.etag) else self._looked_up(stored)
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

    def _looked_up(self, stored: Stored) -> Stored:
        """Prove with a HEAD that the object is stored, where the answer to the PUT has no ETag that does.

        A proxy's answer has none either. Only the checksum or the MD5 of the bytes are proof; their number is not.

        Raises:
            NetworkError: There is no proof.
        """
        attempts, chunk = self._attempts, self._chunk
        try:
            info = attempts.transport.head_object(
                attempts.bucket, attempts.key, version_id=stored.version_id, wants_checksum=True, extra=self._extra
            )
        except (NotFound, InvalidRequest) as error:
            raise NetworkError(f'{self}: the answer has no ETag of an object, and the object is not there: {error}') from error
        if not is_of(chunk, info):
            raise NetworkError(
                f'{self}: the answer has no ETag of an object, and neither the checksum nor the ETag that a HEAD tells '
                'proves that these bytes are stored; is the endpoint an S3 store?'
            )
        return Stored(etag=info.etag, version_id=info.version_id or stored.version_id, checksum=info.checksum)

    def _own_object(self) -> Stored | None:
        attempts = self._attempts
        info = attempts.transport.head_object(attempts.bucket, attempts.key, wants_checksum=True, extra=self._extra)
        if info.headers.get(ID_HEADER) != self._id:
            return None
        return Stored(etag=info.etag, version_id=info.version_id, checksum=info.checksum)


class _PartSender(_Sender):
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
