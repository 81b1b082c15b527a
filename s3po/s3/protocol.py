"""The Transport protocol and its values: one method for each S3 operation, which sends one request and returns its answer.

The rules that every transport keeps:
- A method sends one request. It never retries and never waits between attempts. (What was addressed to the wrong region, or
  dated by a wrong clock, may go out once more, corrected: the store has not looked at what it asks for.)
- It returns the answer or raises one TransportError (or CredentialsError, ConfigurationError, LocalError for what failed before
  anything was sent). It translates the errors of whatever it stands on.
- `headers` are HTTP headers by their HTTP names, as the caller gave them; `extra` are parameters by boto3's names. Of both, a
  method sends what its request knows, and leaves out the rest: the same set goes with every request of one transfer.
- ETags come without quotes (a weak one, 'W/"…"', as it is), keys unescaped.
- With if_match, the answer is of an object with that ETag, also where the store ignores If-Match; or it is PreconditionFailed.
- An answer to get_object() holds a connection until it is read to its end or closed.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from s3po.body import Chunk
from s3po.model import CompletedPart, DeleteFailure, ListEntry, ObjectInfo

__all__ = [
    'CHECKSUM_ALGORITHMS',
    'ID_HEADER',
    'Answer',
    'Extra',
    'Headers',
    'ListedUpload',
    'Listing',
    'Stored',
    'Transport',
]

# Strongest first: what an object with several checksums is known by.
CHECKSUM_ALGORITHMS: Final = ('CRC64NVME', 'CRC32C', 'CRC32', 'SHA256', 'SHA1')

# Identifies an upload where the answer proves nothing else; see TransferConfig.sends_id.
ID_HEADER: Final = 'x-amz-meta-s3po-id'

Headers = Mapping[str, str]
Extra = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the store says of something that it has just stored.

    Attributes:
        etag: The ETag without quotes; '' when the store sent none.
        version_id: The version; None in a bucket without versions.
        checksum: The checksum it confirmed, as 'ALGORITHM:base64'; None when it confirmed none.
        is_encrypted: Whether the object is encrypted with a KMS or customer key, so that its ETag is no MD5.
    """

    etag: str
    version_id: str | None = None
    checksum: str | None = None
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of a listing.

    Attributes:
        entries: The objects.
        prefixes: The common prefixes, when a delimiter was asked for.
        is_truncated: Whether the store says that there is more.
        next_token: Where the next page begins; None on the last one.
    """

    entries: Sequence[ListEntry]
    prefixes: Sequence[str]
    is_truncated: bool
    next_token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUpload:
    """A multipart upload that is under way.

    Attributes:
        key: The key that it will have.
        upload_id: The store's id of it.
        initiated: When it was begun.
    """

    key: str
    upload_id: str
    initiated: datetime.datetime | None


class Answer(Protocol):
    """The answer to a GET: what is known of the object, and the body, still to be read.

    Attributes:
        status: 200, or 206 for a range.
        offset: Where in the object the body begins.
        size_bytes: The length of the body; -1 where it is sent in chunks, and only shows at its end.
        whole_bytes: The size of the whole object, also where only a range of it follows.
        etag: The object's ETag without quotes; '' when the store sent none.
        version_id: The object's version; None in a bucket without versions.
    """

    status: int
    offset: int
    size_bytes: int
    whole_bytes: int
    etag: str
    version_id: str | None

    @property
    def checksum(self) -> str | None:
        """The whole object's checksum as 'ALGORITHM:base64'; None when the store sent none."""
        ...

    @property
    def info(self) -> ObjectInfo:
        """The object: `size_bytes` is that of the whole object, also where only a range of it follows."""
        ...

    def header(self, name: str) -> str | None:
        """One header, by its name in lower case; None when it is missing. For each download, so it has to be quick."""
        ...

    def read(self, size_bytes: int) -> bytes:
        """Up to size_bytes of the body; b'' only at its end.

        Raises:
            TransportError: The body ended before size_bytes of it came, or the connection failed.
        """
        ...

    def read_into(self, buffer: memoryview) -> int:
        """Put some bytes of the body into a buffer, at least one; 0 only at its end.

        It may wait before the first byte is written, never between that and its return: one buffer may serve many answers.

        Raises:
            TransportError: As of read().
        """
        ...

    def close(self) -> None:
        """Give the connection back when the body was read to its end; drop it otherwise. May be called twice."""
        ...


class Transport(Protocol):
    """S3's API, in snake case. See the rules at the top of this file."""

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
        """GetObject. byte_range is half-open; None as its end is the object's. wants_checksum requests the stored checksum."""
        ...

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
        """HeadObject; size_bytes is -1 if the answer has no length. wants_checksum requests the stored checksum."""
        ...

    def put_object(
        self, bucket: str, key: str, chunk: Chunk, *, checksum: str | None = None, headers: Headers, extra: Extra
    ) -> Stored:
        """PutObject. checksum: what the store is to check, as 'ALGORITHM:base64'."""
        ...

    def delete_object(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str | None:
        """DeleteObject; gives the version id of the delete marker, where one was made."""
        ...

    def delete_objects(self, bucket: str, keys: Sequence[tuple[str, str | None]], *, extra: Extra) -> Sequence[DeleteFailure]:
        """DeleteObjects of at most 1,000 (key, version id); returns those that the store does not confirm as deleted."""
        ...

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
        ...

    def copy_object(
        self,
        source: tuple[str, str, str | None],
        bucket: str,
        key: str,
        *,
        if_match: str,
        headers: Headers,
        extra: Extra,
    ) -> Stored:
        """CopyObject of (bucket, key, version id), which must have the ETag if_match."""
        ...

    def create_multipart_upload(
        self, bucket: str, key: str, *, algorithm: str | None = None, headers: Headers, extra: Extra
    ) -> str:
        """CreateMultipartUpload; gives the upload id. algorithm: of the checksums that its parts will carry."""
        ...

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
        """UploadPart. checksum: as of put_object()."""
        ...

    def upload_part_copy(
        self,
        source: tuple[str, str, str | None],
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
        ...

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
        """CompleteMultipartUpload. checksum: of the whole object (one that ends in '-N': of its parts' checksums)."""
        ...

    def abort_multipart_upload(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> None:
        """AbortMultipartUpload."""
        ...

    def list_parts(self, bucket: str, key: str, *, upload_id: str, extra: Extra) -> Sequence[CompletedPart]:
        """The first 1,000 parts of a multipart upload."""
        ...

    def list_multipart_uploads(self, bucket: str, *, prefix: str = '', extra: Extra) -> Sequence[ListedUpload]:
        """The multipart uploads under way, all pages."""
        ...

    def get_object_tagging(self, bucket: str, key: str, *, version_id: str | None = None, extra: Extra) -> str:
        """GetObjectTagging; gives the tags as a query string ('a=1&b=2'), '' for none."""
        ...

    def guards_bodies(self, bucket: str) -> bool:
        """Whether what is uploaded to a bucket is guarded on its way, by TLS or as a part of the signature."""
        ...

    def signs_bodies(self, bucket: str) -> bool:
        """Whether put_object() and upload_part() ask a chunk for its SHA-256."""
        ...

    def close(self) -> None:
        """Close the connections that are kept. The transport may be used again."""
        ...
