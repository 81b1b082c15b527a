"""The multipart uploads of a connection: those that are under way, and those whose abort failed and that are aborted later.

Only uploads that this connection created are kept here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import gevent.lock

from s3po.runtime import CleanUps
from s3po.s3 import Extra

__all__ = ['PendingAbort', 'PendingAborts']


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingAbort:
    """One multipart upload that is still to be aborted.

    Attributes:
        key: The key that it was for.
        upload_id: Its id.
        extra: The caller's parameters of its requests.
    """

    key: str
    upload_id: str
    extra: Extra


class PendingAborts:
    """The pending aborts of one connection, by bucket. Any thread may use it: a caller owns what it takes out.

    Attributes:
        cleanups: The connection's clean-up in the background.
        live: The ids of the uploads that are under way.
        watch: Called with the id, bucket, key and further parameters of each upload that no journal keeps, and again, with
            None for the parameters, when it does not exist any more; None for nothing to call. Must neither wait nor fail.
    """

    def __init__(self) -> None:
        self.cleanups = CleanUps()
        self.live: set[str] = set()
        self.watch: Callable[[str, str, str, Extra | None], object] | None = None
        self._creations = weakref.WeakValueDictionary[tuple[str, str], gevent.lock.BoundedSemaphore]()
        self._by_bucket: dict[str, list[PendingAbort]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_bucket.values()))

    def buckets(self) -> list[str]:
        """The buckets that have pending aborts."""
        return list(self._by_bucket)

    def add(self, bucket: str, pending: PendingAbort) -> None:
        """Add a pending abort."""
        self._by_bucket.setdefault(bucket, []).append(pending)

    def opened(self, bucket: str, key: str, upload_id: str, extra: Extra) -> None:
        """An upload exists, and no journal keeps it."""
        if self.watch is not None:
            self.watch(upload_id, bucket, key, extra)

    def closed(self, bucket: str, key: str, upload_id: str) -> None:
        """An upload does not exist any more: it was completed or aborted."""
        if self.watch is not None:
            self.watch(upload_id, bucket, key, None)

    def creation(self, bucket: str, key: str) -> gevent.lock.BoundedSemaphore:
        """The lock of a key: held from the creation of an upload until its id is in `live`, and while uploads are listed."""
        return self._creations.setdefault((bucket, key), gevent.lock.BoundedSemaphore())

    def take(self, bucket: str) -> PendingAbort | None:
        """Remove and return the oldest one of a bucket; None if there is none. If its abort fails again, add() it again."""
        found = self._by_bucket.get(bucket)
        if not found:
            self._by_bucket.pop(bucket, None)
            return None
        return found.pop(0)

    def upload_ids(self, bucket: str) -> list[str]:
        """The upload ids of a bucket, for messages."""
        return [pending.upload_id for pending in self._by_bucket.get(bucket, ())]

    def count(self, bucket: str) -> int:
        """The number of pending aborts of a bucket."""
        return len(self._by_bucket.get(bucket, ()))
