"""Parts of objects, and results of transfers, deletions and calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from s3po.checks import slot_setters
from s3po.errors import ConfigurationError, TransportError
from s3po.model.entries import Described

__all__ = ['CompletedPart', 'DeleteFailure', 'DeleteReport', 'Outcome', 'Part', 'TransferResult']


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A contiguous part of an object, transferred by one request.

    Attributes:
        number: The part number, from 1, as in S3.
        offset: The offset in the object, in bytes.
        size_bytes: The length; 0 only for the single part of an empty object.
    """

    number: int
    offset: int
    size_bytes: int

    def __post_init__(self) -> None:
        if self.number < 1 or self.offset < 0 or self.size_bytes < 0:
            raise ConfigurationError(f'a part needs a number from 1, and an offset and size that are not negative: {self!r}')

    @property
    def stop(self) -> int:
        """The offset of the first byte after the part."""
        return self.offset + self.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """A part that the store has stored, as listed in CompleteMultipartUpload.

    Attributes:
        number: The part number, from 1.
        etag: The ETag of the part, without quotes.
        size_bytes: Its length; -1 if unknown.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None if it confirmed none.
        is_encrypted: Whether it is encrypted with a KMS or customer key, so that the ETag is not an MD5.
    """

    number: int
    etag: str
    size_bytes: int = -1
    checksum: str | None = None
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class TransferResult:
    """The result of a successful upload, download or copy.

    Attributes:
        bucket: The object's bucket; for a copy, that of the new object.
        key: The object's key; for a copy, that of the new object.
        size_bytes: The size of the stored object (of the compressed one, if it is compressed), or of the requested range.
        etag: The ETag without its quotes.
        version_id: The version that was written or read; None in a bucket without versions.
        checksum: The checksum that the store confirmed, as 'ALGORITHM:base64'; None if it confirmed none.
        parts: The number of requests that carried the data; 1 for an object transferred in one piece.
        attempts: `parts`, plus one for every request of the transfer that was retried.
        seconds: The duration, including waits.
        skipped: True if there was nothing to transfer.
        warnings: Warnings as sentences: an upload that could not be verified, a multipart upload that a lost response may have
            left.
    """

    bucket: str
    key: str
    size_bytes: int
    etag: str
    version_id: str | None
    checksum: str | None
    parts: int
    attempts: int
    seconds: float
    skipped: bool = False
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        bucket: str,
        key: str,
        size_bytes: int,
        etag: str,
        version_id: str | None,
        checksum: str | None,
        parts: int,
        attempts: int,
        seconds: float,
        skipped: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        _result_bucket(self, bucket)
        _result_key(self, key)
        _result_size_bytes(self, size_bytes)
        _result_etag(self, etag)
        _result_version_id(self, version_id)
        _result_checksum(self, checksum)
        _result_parts(self, parts)
        _result_attempts(self, attempts)
        _result_seconds(self, seconds)
        _result_skipped(self, skipped)
        _result_warnings(self, warnings)


(
    _result_bucket,
    _result_key,
    _result_size_bytes,
    _result_etag,
    _result_version_id,
    _result_checksum,
    _result_parts,
    _result_attempts,
    _result_seconds,
    _result_skipped,
    _result_warnings,
) = slot_setters(TransferResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFailure:
    """One key that DeleteObjects did not delete.

    Attributes:
        key: The key.
        error: The error that deleting this key alone would have raised.
        version_id: The requested version; None for the current one.
    """

    key: str
    error: TransportError
    version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteReport:
    """The result of `delete_many`.

    Attributes:
        deleted: The number of deleted keys; a missing key counts as deleted.
        failed: The keys that were not deleted, with their errors.
    """

    deleted: int
    failed: tuple[DeleteFailure, ...] = ()

    def __iter__(self) -> Iterator[DeleteFailure]:
        return iter(self.failed)


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Outcome:
    """The result of one call, for a batch: its return value, and figures for the report.

    Attributes:
        value: The return value of the method of Connection.
        size_bytes: The number of bytes transferred.
        retries: The number of retried requests.
        described: The description of an object that was downloaded into memory; None for all other calls.
    """

    value: object
    size_bytes: int = 0
    retries: int = 0
    described: Described | None = None

    def __init__(self, *, value: object, size_bytes: int = 0, retries: int = 0, described: Described | None = None) -> None:
        _outcome_value(self, value)
        _outcome_size_bytes(self, size_bytes)
        _outcome_retries(self, retries)
        _outcome_described(self, described)


_outcome_value, _outcome_size_bytes, _outcome_retries, _outcome_described = slot_setters(Outcome)
