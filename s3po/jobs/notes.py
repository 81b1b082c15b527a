"""What a transfer records about itself while it runs, so that a later run can continue it.

The journal of a batch implements `Notes`, one object for each job; the transfer gets it as the option `notes` of its call.
Without a journal there are no notes, and nothing is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from s3po.model import TransferResult

__all__ = ['DownloadNote', 'Notes', 'PartNote', 'RangeNote', 'UploadNote']


@dataclass(frozen=True, slots=True, kw_only=True)
class PartNote:
    """A part of a multipart upload that the store has confirmed.

    Attributes:
        number: The part number.
        size_bytes: Its size.
        etag: Its ETag.
        checksum: The checksum that the store has confirmed, as 'ALGORITHM:base64'; None for none.
        is_encrypted: Whether it is encrypted with a KMS or customer key, so that its ETag is not an MD5.
    """

    number: int
    size_bytes: int
    etag: str
    checksum: str | None
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadNote:
    """A multipart upload that exists at the store.

    Attributes:
        upload_id: Its id.
        source: What identifies the bytes of the source (its size and times, or size and checksum), and the headers and the
            checksum algorithm of the upload. The upload is not continued if this has changed; '' is never continued.
        part_bytes: The size of all parts but the last.
        own_id: The id in the headers that identifies the object as ours; None for none.
        created_at: When it was created, in seconds since the epoch, by this machine's clock.
        parts: The confirmed parts, by part number.
    """

    upload_id: str
    source: str
    part_bytes: int
    own_id: str | None = None
    created_at: float = 0.0
    parts: Mapping[int, PartNote] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeNote:
    """Bytes of an object that are in the partial file of a download.

    Attributes:
        offset: The offset of the first byte.
        size_bytes: The number of bytes.
        crc: Their CRC64NVME.
    """

    offset: int
    size_bytes: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadNote:
    """A partial file of a download.

    Attributes:
        path: The absolute path of the partial file.
        etag: The ETag of the object.
        size_bytes: The size of the object.
        version_id: The version of the object; None for none.
        checksum: The checksum that the whole object is compared with, as 'ALGORITHM:base64'; None for none.
        ranges: The received ranges, in the order in which they arrived. Of two with the same offset the later one counts.
    """

    path: str
    etag: str
    size_bytes: int
    version_id: str | None = None
    checksum: str | None = None
    ranges: tuple[RangeNote, ...] = ()


class Notes(Protocol):
    """The notes of one job. Each method returns when the note has been written to the journal's file (write(2)).

    The attributes are what earlier attempts recorded, in this run or an earlier one; they need not contain the notes of the
    current attempt. A note replaces those before it: created() an intent or another upload, opened() another partial file.

    Attributes:
        upload: A multipart upload that was begun and not completed; None for none.
        intent_at: When the intent to create an upload was recorded, without the id of one after it, in seconds since the epoch;
            of several such intents, the first; None for none.
        download: A partial file; None for none.
    """

    upload: UploadNote | None
    intent_at: float | None
    download: DownloadNote | None

    def intend(self) -> None:
        """An upload is going to be created."""
        ...

    def created(self, upload: UploadNote) -> None:
        """An upload exists, as yet without parts."""
        ...

    def confirmed(self, part: PartNote) -> None:
        """The store has confirmed a part of the upload."""
        ...

    def opened(self, download: DownloadNote) -> None:
        """A partial file exists, as yet without ranges."""
        ...

    def received(self, part: RangeNote) -> None:
        """The partial file contains a range."""
        ...

    def discarded(self) -> None:
        """The upload was aborted, or the partial file removed: nothing of the job is kept."""
        ...

    def stored(self, result: TransferResult) -> None:
        """The transfer is complete; a source that is to be deleted still exists."""
        ...

    def keeps(self, error: BaseException) -> bool:
        """Whether the upload or partial file is kept after this error, for the next run; else it must be removed."""
        ...
