"""Completes a multipart upload, and proves that the object exists."""

from __future__ import annotations

from s3po.checksum import combined_text, multipart_count, multipart_etag
from s3po.errors import InvalidRequest, NetworkError, NotFound, PreconditionFailed, TransportError
from s3po.model import CompletedPart, ObjectInfo
from s3po.s3 import ID_HEADER, Extra, Headers, Stored
from s3po.s3.expected import is_proof, version_to_read
from s3po.transfer.attempts import Attempts
from s3po.transfer.integrity import check_echo, is_encrypted, kind_of

__all__ = ['Completion', 'ExpectedUpload', 'UploadVanished']


class UploadVanished(NotFound):
    """The upload did not exist when it was to be completed, and the object is missing or another one."""


class ExpectedUpload:
    """The expected result of a multipart upload.

    Attributes:
        checksum: The checksum of the whole object, as 'ALGORITHM:base64'; None if the store has not confirmed each part's.
    """

    def __init__(self, parts: list[CompletedPart], own_id: str | None, *, has_checksums: bool) -> None:
        sizes = [part.size_bytes for part in parts]
        self._size_bytes = None if -1 in sizes else sum(sizes)
        self._etag = multipart_etag(part.etag for part in parts)
        self._is_encrypted = any(part.is_encrypted for part in parts)
        self._count = len(parts)
        self._id = own_id
        self.checksum = _whole_checksum(parts) if has_checksums else None

    def is_proved_by(self, stored: Stored) -> bool:
        """Whether the response to the completion is proof: only a store can know such a checksum or ETag."""
        if not is_proof(stored.etag):
            return False
        if self._is_encrypted or stored.is_encrypted or (self.checksum is not None and self.checksum == stored.checksum):
            return True
        # The ETag of some stores has another form.
        return stored.etag == self._etag or self._etag is None or multipart_count(stored.etag) is None

    def is_met_by(self, info: ObjectInfo, completed_etag: str = '') -> bool | None:
        """Whether an object is the one that was uploaded; None if that cannot be decided.

        Args:
            info: The object, from a HEAD.
            completed_etag: The ETag in the response to the completion; '' for none.
        """
        if self._size_bytes is not None and info.size_bytes != self._size_bytes:
            return False
        if self.checksum is not None and kind_of(info.checksum) == kind_of(self.checksum):
            return info.checksum == self.checksum
        if self._id is not None:
            return info.headers.get(ID_HEADER) == self._id
        if self._etag is None or info.etag == self._etag:
            return None if self._etag is None else True
        if info.etag == completed_etag and multipart_count(completed_etag) == self._count:
            # Some stores compute ETags in their own way.
            return True
        return None if is_encrypted(info) or '-' not in info.etag else False


class Completion:
    """The attempts to complete one upload. If a response was lost or proves nothing, a HEAD decides."""

    def __init__(
        self,
        attempts: Attempts,
        upload_id: str,
        parts: list[CompletedPart],
        expected: ExpectedUpload,
        headers: Headers,
        extra: Extra,
        *,
        is_unsure: bool = False,
    ) -> None:
        """
        Args:
            attempts: Makes the requests.
            upload_id: The upload.
            parts: Its parts, in order.
            expected: The expected result.
            headers: Headers of the object.
            extra: The caller's further parameters.
            is_unsure: Whether an earlier run may have completed it.
        """
        self._attempts = attempts
        self._upload_id = upload_id
        self._parts = parts
        self._expected = expected
        self._headers = headers
        self._extra = extra
        # Whether a failed attempt may have succeeded at the store.
        self._is_unsure = is_unsure

    def __str__(self) -> str:
        return f'CompleteMultipartUpload s3://{self._attempts.bucket}/{self._attempts.key}'

    def send(self) -> Stored:
        """Send the request once; returns what was stored."""
        attempts = self._attempts
        try:
            stored = attempts.transport.complete_multipart_upload(
                attempts.bucket,
                attempts.key,
                self._parts,
                upload_id=self._upload_id,
                checksum=self._expected.checksum,
                headers=self._headers,
                extra=self._extra,
            )
        except (NotFound, PreconditionFailed) as error:
            # The upload does not exist, or the condition is false: perhaps because an earlier attempt succeeded.
            return self._resolved(error)
        except TransportError:
            self._is_unsure = True
            raise
        # The store has responded, so after an error from here on, a retry may find that the upload no longer exists.
        self._is_unsure = True
        check_echo(str(self), self._expected.checksum, stored.checksum)
        return stored if self._expected.is_proved_by(stored) else self._looked_up(stored)

    def _resolved(self, error: NotFound | PreconditionFailed) -> Stored:
        if not self._is_unsure:
            raise error
        info = self._look()
        if info is not None and self._expected.is_met_by(info):
            return _stored(info)
        if isinstance(error, PreconditionFailed):
            raise error
        raise UploadVanished(
            f'{error}; the first response was lost, and the object does not exist', status=error.status, code=error.code
        ) from error

    def _looked_up(self, stored: Stored) -> Stored:
        """Check with a HEAD, if the response proves nothing. (Ceph's gateway sends no ETag with its first response.)"""
        info = self._look(version_to_read(stored.version_id))
        if info is None or not self._expected.is_met_by(info, stored.etag):
            raise NetworkError(f'{self}: the response has a wrong ETag, and a HEAD does not prove that the object exists')
        return _stored(info, stored.version_id)

    def _look(self, version_id: str | None = None) -> ObjectInfo | None:
        """The object that is now stored under the key; None if there is none, or the store refuses the HEAD."""
        attempts = self._attempts
        try:
            return attempts.transport.head_object(
                attempts.bucket, attempts.key, version_id=version_id, wants_checksum=True, extra=self._extra
            )
        except (NotFound, InvalidRequest):
            return None


def _whole_checksum(parts: list[CompletedPart]) -> str | None:
    """The object's checksum, combined from those of the parts; None if the store has not confirmed one for each."""
    algorithms = {'' if part.checksum is None else part.checksum.partition(':')[0] for part in parts}
    if len(algorithms) != 1 or '' in algorithms:
        return None
    return combined_text(algorithms.pop(), [(part.checksum or '', part.size_bytes) for part in parts])


def _stored(info: ObjectInfo, version_id: str | None = None) -> Stored:
    return Stored(etag=info.etag, version_id=info.version_id or version_id, checksum=info.checksum)
