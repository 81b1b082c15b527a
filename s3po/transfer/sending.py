"""The attempts that send the bytes of an upload: each sends them with their checksum, and checks the response.

Invariant: an attempt whose response contradicts what was sent never counts as successful.
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
from s3po.http import SEND_BYTES
from s3po.memory import UNCOUNTED_BYTES
from s3po.model import CompletedPart
from s3po.s3 import ID_HEADER, Extra, Headers, Stored
from s3po.s3.expected import is_proof
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import INVALID_DIGEST, check_echo, check_etag, is_of, new_id, wants_id
from s3po.transfer.reporting import ReportedChunk

__all__ = ['buffer_bytes', 'part_attempt', 'put']

# A chunk up to this size is read once per attempt, for its checksum and for sending. A larger one is read piece by piece: once
# for checksum and signature, and once per attempt for sending.
AT_ONCE_BYTES: Final = 256 * 1024

UNGUARDED: Final = (
    'the upload could not be verified: it was sent unsigned over plain HTTP, the store returned no checksum, and its ETag is '
    "not an MD5. Use https, or payload_signing='signed'; to silence this, set the level of the logger 's3po.transfer' to ERROR"
)


def buffer_bytes(chunk: Chunk, attempts: Attempts) -> int:
    """The memory for sending a chunk; 0 for bytes in memory, which belong to the caller or are counted already."""
    size_bytes = chunk.size_bytes
    if size_bytes <= UNCOUNTED_BYTES or not chunk.needs_buffer:
        return 0
    # Other transports read a chunk as a whole.
    sends_pieces = getattr(attempts.transport, 'sends_pieces', False)
    return SEND_BYTES if sends_pieces and size_bytes > AT_ONCE_BYTES else size_bytes


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
    """Return a function that sends a part of a multipart upload once, given its upload id."""
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
        """Send the bytes once; without a checksum if the store does not accept it."""
        attempts = self._attempts
        chunk = self._chunk
        body = chunk if isinstance(chunk, BytesChunk) else self._read()
        guard = attempts.guard
        algorithm = None if attempts.bucket in guard.refusing else guard.default
        checksum = None
        if algorithm is not None:
            checksum = body.checksum(algorithm) if isinstance(body, BytesChunk) else self._checksum(body, algorithm)
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
        """Send the bytes again after a refusal: either they did not match their checksum, or the store accepts no checksums.

        1. The bytes are read and sent again with the same kind of checksum: a body that was corrupted on its way passes now.
        2. If the store is known to accept checksums, it has now refused these bytes twice: a mismatch.
        3. Otherwise the bytes are sent with a Content-MD5, which every store knows and checks. If they pass, the store refused
        the kind of checksum. Possibly corrupted bytes are never sent without a checksum.

        Raises:
            IntegrityError: The bytes do not arrive unchanged.
            ResponseError: The store refuses the request for another reason, or refuses a checksum that the caller requires.
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
        return IntegrityError(f'{self}: the store repeatedly rejected the bytes, as not matching their checksum: {error}')

    def _compare_etag(self, body: Chunk, checksum: str | None, stored: Stored | CompletedPart) -> None:
        """Compare the ETag if the response has no checksum and nothing else guarded the bytes, or the caller requires it."""
        attempts = self._attempts
        is_wanted = checksum is not None and checksum.startswith('MD5:')
        if not is_wanted and attempts.transport.guards_bodies(attempts.bucket):
            return
        try:
            is_compared = not stored.is_encrypted and check_etag(str(self), body, stored.etag)
        except SourceChanged:
            # The source has changed since then; the sent bytes were equal in two readings.
            is_compared = False
        if not is_compared and not is_wanted:
            attempts.warn(UNGUARDED, is_of_process=True)


class _PutSender(_Sender):
    """Sends a whole object."""

    __slots__ = ('_headers', '_id', '_is_unsure')

    def __init__(self, attempts: Attempts, chunk: Chunk, headers: Headers, extra: Extra, own_id: str | None) -> None:
        # Without super(), to save a call for every small object.
        self._attempts = attempts
        self._chunk = chunk
        self._extra = extra
        self._headers = headers
        self._id = own_id
        # Whether a failed attempt may have succeeded at the store.
        self._is_unsure = False

    def __str__(self) -> str:
        return f'PutObject s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self) -> Stored:
        """Send the object once; returns what was stored."""
        try:
            stored: Stored = self._sent()  # type: ignore[assignment]  # the type that _send() returns
            return stored if is_proof(stored.etag) else self._looked_up(stored)
        except PreconditionFailed:
            # Perhaps our own earlier attempt made the condition false.
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
        """Prove with a HEAD that the object is stored, after a response to the PUT without a valid ETag.

        A proxy's response has none either. The checksum or the MD5 of the bytes is proof; their number is not.

        Raises:
            NetworkError: There is no proof.
        """
        attempts, chunk = self._attempts, self._chunk
        try:
            info = attempts.transport.head_object(
                attempts.bucket, attempts.key, version_id=stored.version_id, wants_checksum=True, extra=self._extra
            )
        except (NotFound, InvalidRequest) as error:
            raise NetworkError(f'{self}: the response has no valid ETag, and the object does not exist: {error}') from error
        if not is_of(chunk, info):
            raise NetworkError(
                f'{self}: the response has no valid ETag, and neither the checksum nor the ETag of a HEAD proves that '
                'these bytes are stored; is the endpoint an S3 store?'
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
        """Send the part once; returns it as completed."""
        self._upload_id = upload_id
        return self._sent()  # type: ignore[return-value]  # the type that _send() returns

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
