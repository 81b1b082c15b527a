"""The Transport protocol and its values: one method for each S3 operation, which sends one request.

The rules of every transport:
- A method sends one request. It never retries and never waits between attempts. (A request with the wrong region or a wrong
  date may be sent once more, corrected: the store refused it before processing it.)
- It returns the response or raises one TransportError (or CredentialsError, ConfigurationError, LocalError for failures before
  anything was sent). It converts the errors of the libraries it uses.
- `headers` are HTTP headers by their HTTP names, as the caller passed them; `extra` are parameters by boto3's names. Of both, a
  method sends those that its request takes and ignores the rest: all requests of one transfer get the same set.
- ETags have no quotes (a weak one, 'W/"…"', is unchanged), keys are unescaped.
- With if_match, the response is of an object with that ETag, even if the store ignores If-Match; otherwise PreconditionFailed
  is raised.
- The response of get_object() holds a connection until it is read to its end or closed.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from s3po.body import Chunk
from s3po.checks import slot_setters
from s3po.model import CompletedPart, DeleteFailure, Described, ListEntry, ObjectInfo

__all__ = [
    'CHECKSUM_ALGORITHMS',
    'ID_HEADER',
    'Answer',
    'Extra',
    'Headers',
    'ListedUpload',
    'Listing',
    'Source',
    'Stored',
    'Transport',
    'listed_upload',
]

# Strongest first: the order in which the checksum of an object is selected.
CHECKSUM_ALGORITHMS: Final = ('CRC64NVME', 'CRC32C', 'CRC32', 'SHA256', 'SHA1')

# Identifies an upload if nothing else in a response proves it; see TransferConfig.sends_id.
ID_HEADER: Final = 'x-amz-meta-s3po-id'

Headers = Mapping[str, str]
Extra = Mapping[str, Any]
# An object to copy: bucket, key and version id; None for the current version.
Source = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Stored:
    """What the store returned about something that it has just stored.

    Attributes:
        etag: The ETag without quotes; '' if the store sent none.
        version_id: The version; None in a bucket without versions.
        checksum: The confirmed checksum, as 'ALGORITHM:base64'; None if the store confirmed none.
        is_encrypted: Whether the object is encrypted with a KMS or customer key, so that its ETag is not an MD5.
    """

    etag: str
    version_id: str | None = None
    checksum: str | None = None
    is_encrypted: bool = False

    def __init__(
        self, *, etag: str, version_id: str | None = None, checksum: str | None = None, is_encrypted: bool = False
    ) -> None:
        _stored_etag(self, etag)
        _stored_version_id(self, version_id)
        _stored_checksum(self, checksum)
        _stored_is_encrypted(self, is_encrypted)


_stored_etag, _stored_version_id, _stored_checksum, _stored_is_encrypted = slot_setters(Stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of a listing.

    Attributes:
        entries: The objects.
        prefixes: The common prefixes, if the request had a delimiter.
        is_truncated: Whether there are more pages.
        next_token: The continuation token of the next page; None on the last one.
    """

    entries: Sequence[ListEntry]
    prefixes: Sequence[str]
    is_truncated: bool
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUpload:
    """A multipart upload in progress.

    Attributes:
        key: The key of the object.
        upload_id: The upload id.
        initiated: When it was created.
        age_s: How long ago that was, by the store's clock, to the second; None if unknown.
    """

    key: str
    upload_id: str
    initiated: datetime.datetime | None
    age_s: float | None = None


def listed_upload(key: str, upload_id: str, initiated: datetime.datetime | None, now: datetime.datetime | None) -> ListedUpload:
    """An upload of a listing that the store sent at `now`, by its clock."""
    age_s = None
    if initiated is not None and now is not None:
        # botocore leaves some times without a zone, which is UTC.
        age_s = (now - initiated.replace(tzinfo=initiated.tzinfo or datetime.UTC)).total_seconds()
    return ListedUpload(key=key, upload_id=upload_id, initiated=initiated, age_s=age_s)


class Answer(Described, Protocol):
    """The response to a GET: a description of the object, and the body, which is not read yet.

    Attributes:
        status: 200, or 206 for a range.
        offset: The offset of the body in the object.
        size_bytes: The length of the body; -1 if it is chunked, so that only its end shows the length.
        whole_bytes: The size of the whole object, also for a range.
        version_id: The object's version; None in a bucket without versions.
    """

    status: int
    offset: int
    size_bytes: int
    whole_bytes: int
    version_id: str | None

    @property
    def checksum(self) -> str | None:
        """The whole object's checksum as 'ALGORITHM:base64'; None if the store sent none."""

    def read(self, size_bytes: int) -> bytes:
        """Return up to size_bytes of the body; b'' only at its end.

        Raises:
            TransportError: The body ended too early, or the connection failed.
        """

    def read_into(self, buffer: memoryview) -> int:
        """Read at least one byte of the body into a buffer; returns 0 only at its end.

        It may wait before the first byte is written, but not afterwards: several responses may share the buffer.

        Raises:
            TransportError: As for read().
        """

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end; close it otherwise. May be called twice."""


class Transport(Protocol):
    """S3's API, in snake case. See the rules at the top of this file.

    The transport that a caller passes to a Connection may also have `client`, a boto3 client for buckets, and BotoTransport's
    presigned_url(). Without them, the Connection makes a client of its own.
    """

    def get_object(
        self,
        bucket: str,
        key: str,
        *,
        byte_range: tuple[int, int | None] | None = None,
        if_match: str | None = None,
        version_id: str | None = None,
        wants_checksum: bool = False,
        extra: Extra,
    ) -> Answer:
        """GetObject. byte_range is half-open; its stop None is the object's end. wants_checksum requests the checksum."""

    def head_object(
        self,
        bucket: str,
        key: str,
        *,
        if_match: str | None = None,
        version_id: str | None = None,
        wants_checksum: bool = False,
        extra: Extra,
    ) -> ObjectInfo:
        """HeadObject; size_bytes is -1 if the response has no length. wants_checksum requests the stored checksum."""

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        """PutObject. checksum: the store compares it, 'ALGORITHM:base64'."""

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        """DeleteObject; returns the version id of the delete marker, if one was created."""

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        """DeleteObjects of at most 1,000 (key, version id); returns those that the store does not confirm as deleted."""

    def list_objects_v2(
        self,
        bucket: str,
        *,
        prefix: str = '',
        delimiter: str | None = None,
        start_after: str | None = None,
        page_size: int = 1000,
        token: str | None = None,
        extra: Extra,
    ) -> Listing:
        """One page of ListObjectsV2."""

    def copy_object(self, source: Source, bucket: str, key: str, *, if_match: str, headers: Headers, extra: Extra) -> Stored:
        """CopyObject of an object that must have the ETag if_match."""

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        """CreateMultipartUpload; returns the upload id. algorithm: that of the parts' checksums."""

    def upload_part(
        self,
        bucket: str,
        key: str,
        chunk: Chunk,
        *,
        upload_id: str,
        part_number: int,
        checksum: str | None = None,
        extra: Extra,
    ) -> CompletedPart:
        """UploadPart. checksum: as for put_object()."""

    def upload_part_copy(
        self,
        source: Source,
        byte_range: tuple[int, int],
        bucket: str,
        key: str,
        *,
        upload_id: str,
        part_number: int,
        if_match: str,
        extra: Extra,
    ) -> CompletedPart:
        """UploadPartCopy of a half-open range."""

    def complete_multipart_upload(
        self,
        bucket: str,
        key: str,
        parts: Sequence[CompletedPart],
        *,
        upload_id: str,
        checksum: str | None = None,
        headers: Headers,
        extra: Extra,
    ) -> Stored:
        """CompleteMultipartUpload. checksum: that of the whole object ('…-N' if it is made of the parts' checksums)."""

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        """AbortMultipartUpload."""

    def list_parts(self, bucket: str, key: str, *, upload_id: str, after: int = 0, extra: Extra) -> Sequence[CompletedPart]:
        """One page of ListParts: at most 1,000 parts, in order, with numbers above `after`."""

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        """ListMultipartUploads; returns the uploads of all pages."""

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        """GetObjectTagging; returns the tags as a query string ('a=1&b=2'), '' for none."""

    def put_object_tagging(self, bucket: str, key: str, tagging: str, *, version_id: str | None = None, extra: Extra) -> None:
        """PutObjectTagging. tagging: the tags in the form of get_object_tagging()."""

    def guards_bodies(self, bucket: str) -> bool:
        """Whether uploads to a bucket are protected on their way, by TLS or by the signature."""

    def signs_bodies(self, bucket: str) -> bool:
        """Whether put_object() and upload_part() need a chunk's SHA-256."""

    def close(self) -> None:
        """Close the idle connections. The transport may be used again."""
