"""What the store says about objects: entries of listings, and descriptions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ['Described', 'ListEntry', 'ObjectInfo', 'Prefix']


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One object of a listing.

    Attributes:
        key: The key, unescaped.
        size_bytes: The object's size.
        etag: The ETag without its quotes; '' if the store sent none.
        last_modified: The time of the last write, with its time zone; None if the store sent none.
        storage_class: For example 'STANDARD'.
    """

    key: str
    size_bytes: int
    etag: str = ''
    last_modified: datetime.datetime | None = None
    storage_class: str = 'STANDARD'

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The entry of a listing with a delimiter that stands for all keys with the same beginning.

    Attributes:
        prefix: The common beginning, up to and including the delimiter.
    """

    prefix: str

    def __str__(self) -> str:
        return self.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo(ListEntry):
    """The description of one object, from a HEAD or a GET.

    Attributes:
        content_type: The object's Content-Type; None if it has none.
        metadata: The user-defined metadata; names in lower case, without `x-amz-meta-`.
        headers: All headers of the response, with lower-case names.
        checksum: The store's checksum of the object as 'ALGORITHM:base64' ('CRC64NVME:…'; if made of the parts' checksums, the
            value ends with '-N'); None if the store has none or sent none.
        version_id: The version; None in a bucket without versions.
    """

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    checksum: str | None = None
    version_id: str | None = None


class Described(Protocol):
    """The store's description of an object whose body follows.

    Attributes:
        etag: The ETag without quotes; '' if the store sent none.
    """

    etag: str

    @property
    def info(self) -> ObjectInfo:
        """The whole description. Computed on access, so it has a cost. `size_bytes` is that of the object, also for a range."""

    def header(self, name: str) -> str | None:
        """Return a header of the response, by its lower-case name; None if it is missing. Cheap."""
