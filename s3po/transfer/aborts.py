"""Multipart uploads that could not be aborted when they failed, because the store did not answer: they are aborted later.

What may live here: ids of uploads that this connection has created itself. Nothing is ever aborted by guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3po.runtime import CleanUps
from s3po.s3 import Extra

__all__ = ['Leftover', 'Leftovers']


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One upload.

    Attributes:
        key: The key that it was for.
        upload_id: The store's id of it.
        extra: The caller's parameters that went with its requests.
    """

    key: str
    upload_id: str
    extra: Extra


class Leftovers:
    """Those of one connection. Any thread may use it: whoever takes some out has them alone.

    Attributes:
        cleanups: The connection's clean-up that goes on in the background.
    """

    def __init__(self) -> None:
        self.cleanups = CleanUps()
        self._by_bucket: dict[str, list[Leftover]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_bucket.values()))

    def buckets(self) -> list[str]:
        """The buckets that have some."""
        return list(self._by_bucket)

    def add(self, bucket: str, leftover: Leftover) -> None:
        """Remember one."""
        self._by_bucket.setdefault(bucket, []).append(leftover)

    def take(self, bucket: str) -> Leftover | None:
        """One of a bucket's, which is forgotten here; whoever cannot abort it adds it again."""
        found = self._by_bucket.get(bucket)
        if not found:
            self._by_bucket.pop(bucket, None)
            return None
        return found.pop(0)

    def upload_ids(self, bucket: str) -> list[str]:
        """The ids of a bucket's, for messages."""
        return [leftover.upload_id for leftover in self._by_bucket.get(bucket, ())]

    def count(self, bucket: str) -> int:
        """How many a bucket has."""
        return len(self._by_bucket.get(bucket, ()))
