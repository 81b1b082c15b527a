"""Compares the objects of a store, or local files, with the records of jobs. Transfers no data of objects."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from s3po.batch import Batch
from s3po.checksum import has_md5_form, multipart_count
from s3po.connection.expecting import Job, Name, Stored, common_directories, expected_of, has_result, job_of, records_of
from s3po.errors import ConfigurationError, NotFound, VerifyError
from s3po.jobs.durable import plain_endpoint
from s3po.model import ListEntry, ObjectInfo, ObjectRef
from s3po.s3.expected import is_strong
from s3po.s3.parameters import check_extra
from s3po.transfer.integrity import is_encrypted, kind_of

__all__ = ['Difference', 'VerifyReport', 'compared', 'verify_remote']

log = logging.getLogger(__name__)

# How many differences of each kind the text of a VerifyError describes.
SHOWN: Final = 3
NOTHING: Final = 'nothing was verified: no record has a result of this store'
KINDS: Final = ('missing', 'changed', 'extra', 'unproven')


class Store(Protocol):
    """The part of a connection that verification uses."""

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the store; None for AWS."""
        ...

    def batch(self, size: int, *, on_error: Any, keep_results: bool) -> Batch:
        """A batch that looks up the objects."""
        ...

    def list(self, bucket: str, prefix: str) -> Iterator[ListEntry]:
        """The objects below a prefix."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An object or file that is not, or may not be, as recorded.

    Attributes:
        kind: 'missing', 'changed', 'extra' or 'unproven'.
        bucket: The object's bucket.
        key: The object's key.
        reason: What differs, as a sentence.
        version_id: The version; None for the current one.
        path: The local file; None for an object of the store.
    """

    kind: str
    bucket: str
    key: str
    reason: str
    version_id: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        return f'{self.path or ObjectRef(bucket=self.bucket, key=self.key, version_id=self.version_id)}: {self.reason}'


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The result of Connection.verify(). Iterating over it returns all differences.

    Attributes:
        checked: The number of objects or files that the records name.
        ok: How many of them are proved to be the recorded ones.
        missing: Those that do not exist.
        changed: Those that have another size, checksum or ETag.
        extra: Objects that exist beside them, and that no record names, or that the jobs have deleted.
        unproven: Those of the same size whose bytes are not proved to be the recorded ones: there is no common kind of
            checksum, and the ETag is another one and no MD5; or the store refused the request.
        deleted: The number of objects that the jobs have deleted.
        not_done: The number of jobs that failed, were cancelled, or did not end, and that no later record says are done. Their
            objects are not checked.
    """

    checked: int
    ok: int
    missing: tuple[Difference, ...] = ()
    changed: tuple[Difference, ...] = ()
    extra: tuple[Difference, ...] = ()
    unproven: tuple[Difference, ...] = ()
    deleted: int = 0
    not_done: int = 0

    def __iter__(self) -> Iterator[Difference]:
        yield from (*self.missing, *self.changed, *self.extra, *self.unproven)

    def __str__(self) -> str:
        return (
            f'{self.ok:,} of {self.checked:,} as recorded, {len(self.missing):,} missing, {len(self.changed):,} changed, '
            f'{len(self.extra):,} extra, {len(self.unproven):,} unproven'
            + (f', {self.not_done:,} jobs not done' if self.not_done else '')
        )

    def raise_for_differences(self) -> None:
        """Raise unless all jobs are done, everything is proved to be as recorded, and nothing is extra.

        A file without records about objects of this store raises too: nothing was verified.

        Raises:
            VerifyError: Describes the first differences; its `report` is this report.
        """
        shown = []
        for kind in (self.missing, self.changed, self.extra, self.unproven):
            shown += [f'{each.kind}: {each}' for each in kind[:SHOWN]]
            if len(kind) > SHOWN:
                shown.append(f'and {len(kind) - SHOWN:,} more {kind[0].kind}')
        if self.not_done:
            shown.append(f'{self.not_done:,} jobs of the records are not done; conn.retry_failed() repeats those of a receipt')
        if not (self.checked or self.deleted or self.not_done):
            shown.append(NOTHING)
        if shown:
            raise VerifyError(f'{self}: {"; ".join(shown)}', self)

    @classmethod
    def of(cls, checked: int, differences: Iterable[Difference], *, deleted: int = 0, not_done: int = 0) -> Self:
        """A report of some differences, in the order of their names."""
        found = sorted(differences, key=lambda each: (each.bucket, each.key, each.path or ''))
        kinds = {kind: tuple(each for each in found if each.kind == kind) for kind in KINDS}
        if not checked and not deleted:
            log.warning(NOTHING)
        if not_done:
            log.warning('%d jobs of the records are not done; their objects are not checked', not_done)
        ok = checked - sum(len(each) for kind, each in kinds.items() if kind != 'extra')
        return cls(checked=checked, ok=ok, **kinds, deleted=deleted, not_done=not_done)


def verify_remote(store: Store, receipt: str | os.PathLike[str], *, size: int, prefixes: object, extra: Any) -> VerifyReport:
    """Compare the objects of a store with a file of records: a HEAD for each, and a listing for what is extra.

    Args:
        store: The connection.
        receipt: The file.
        size: How many requests are sent at once.
        prefixes: Where to look for extra objects; see Connection.verify().
        extra: Further parameters of the HEADs.
    """
    prefixes = _checked_prefixes(prefixes)
    _check_extra(extra)
    found, not_done = _found(store, receipt)
    checking = _Checking()
    with store.batch(size, on_error='collect', keep_results=False) as batch:
        checked = 0
        for name, stored in found.items():
            if stored is not None:
                checked += 1
                checking.queue(batch, name, stored, {'ChecksumMode': 'ENABLED', **(extra or {})})
    for job in batch.not_started:
        checking.fail((job.bucket, job.key, job.ref.version_id), job.error)
    differences = [*checking.differences, *_extra(store, found, prefixes)]
    return VerifyReport.of(checked, differences, deleted=len(found) - checked, not_done=not_done)


def _checked_prefixes(prefixes: object) -> list[str] | None:
    if prefixes is None:
        return None
    if isinstance(prefixes, str):
        raise ConfigurationError(f'prefixes must be a list of prefixes: [{prefixes!r}]')
    found = list(prefixes) if isinstance(prefixes, Iterable) else None
    if found is None or not all(isinstance(each, str) for each in found):
        raise ConfigurationError(f'prefixes must be a list of str, not {prefixes!r}; an empty list looks for no extra objects')
    # Without those below another one, whose objects would be listed twice.
    return [each for each in sorted(set(found)) if not any(each != other and each.startswith(other) for other in found)]


def _check_extra(extra: object) -> None:
    """Reject further parameters that no HEAD takes; and True, which is not how extra objects are found."""
    if extra is None:
        return
    if not isinstance(extra, Mapping):
        raise ConfigurationError(
            f"extra must be a mapping of boto3's parameters of HeadObject, not {type(extra).__name__}; to find extra objects, "
            'leave it out: verify() looks for them, below `prefixes` if they are given'
        )
    check_extra(extra, ('HeadObject',))


def compared(stored: Stored, size_bytes: int, etag: str, checksum: str | None, *, is_md5: bool) -> tuple[str, str] | None:
    """The kind of difference and the reason, of something that exists; None if it is as recorded.

    Args:
        stored: The record.
        size_bytes: The size.
        etag: The ETag.
        checksum: The checksum; None for none.
        is_md5: Whether the ETag is made of MD5s, if it has that form.
    """
    if stored.size_bytes is not None and stored.size_bytes != size_bytes:
        return 'changed', f'it has {size_bytes:,} bytes, and {stored.size_bytes:,} are recorded'
    kind = kind_of(stored.checksum)
    if kind and kind == kind_of(checksum):
        same = stored.checksum == checksum
        return None if same else ('changed', f'its checksum is {checksum}, and {stored.checksum} is recorded')
    if is_strong(etag) and stored.etag == etag:
        return None
    reason = f'its ETag is {etag or "unknown"}, and {stored.etag or "none"} is recorded'
    are_md5 = has_md5_form(etag) and has_md5_form(stored.etag)
    have_parts = multipart_count(etag) is not None and multipart_count(etag) == multipart_count(stored.etag)
    if is_md5 and (are_md5 or have_parts):
        return 'changed', reason
    return 'unproven', f'{reason}; these do not tell whether its bytes are the same, and there are no checksums of one kind'


class _Checking:
    """The comparisons by HEADs.

    Attributes:
        differences: What was found.
    """

    def __init__(self) -> None:
        self.differences: list[Difference] = []

    def queue(self, batch: Batch, name: Name, stored: Stored, extra: Mapping[str, Any]) -> None:
        """Queue the HEAD of one object."""
        bucket, key, version_id = name
        compare, fail = functools.partial(self._compare, name, stored), functools.partial(self.fail, name)
        batch.head(bucket, key, version_id=version_id, extra=extra, callback=compare, errback=fail)

    def fail(self, name: Name, error: BaseException) -> None:
        """Note an object whose HEAD failed."""
        if isinstance(error, NotFound):
            self._add('missing', name, 'it does not exist')
        else:
            self._add('unproven', name, f'the request failed: {error}')

    def _compare(self, name: Name, stored: Stored, info: ObjectInfo) -> None:
        found = compared(stored, info.size_bytes, info.etag, info.checksum, is_md5=not is_encrypted(info))
        if found is not None:
            self._add(found[0], name, found[1])

    def _add(self, kind: str, name: Name, reason: str) -> None:
        bucket, key, version_id = name
        self.differences.append(Difference(kind=kind, bucket=bucket, key=key, version_id=version_id, reason=reason))


def _found(store: Store, receipt: str | os.PathLike[str]) -> tuple[dict[Name, Stored | None], int]:
    """What the records say about the objects of a store: the last one about each counts. None for a deleted object.

    Returns:
        The objects, and the number of jobs that are not done.

    Raises:
        ConfigurationError: The records are of several other stores.
    """
    by_endpoint: dict[str | None, tuple[dict[Name, Stored | None], set[Job]]] = {}
    for record in records_of(receipt):
        expected = expected_of(record)
        is_done = has_result(record)
        if not expected.names and is_done:
            continue
        found, not_done = by_endpoint.setdefault(expected.endpoint, ({}, set()))
        if not is_done:
            not_done.add(job_of(record))
        elif not_done:
            not_done.discard(job_of(record))
        for number, name in enumerate(expected.names):
            found[name] = _latest(found.get(name), expected.stored) if number == 0 else None
    own = plain_endpoint(store.endpoint_url)
    if own in by_endpoint or not by_endpoint:
        found, not_done = by_endpoint.get(own, ({}, set()))
        return found, len(not_done)
    if len(by_endpoint) > 1:
        named = ', '.join(sorted(endpoint or 'AWS' for endpoint in by_endpoint))
        raise ConfigurationError(f'the records are of {named}, and this connection is to {own or "AWS"}')
    ((endpoint, (found, not_done)),) = by_endpoint.items()
    log.warning('the records are of %s, and are compared with %s', endpoint or 'AWS', own or 'AWS')
    return found, len(not_done)


def _latest(before: Stored | None, now: Stored | None) -> Stored | None:
    """What the last record says; with the size and checksum of the one before, if it is about the same version."""
    is_same = before is not None and now is not None and before.etag == now.etag and is_strong(now.etag)
    if not is_same or before is None or now is None:
        return now
    size_bytes = before.size_bytes if now.size_bytes is None else now.size_bytes
    return Stored(size_bytes, now.etag, now.checksum or before.checksum)


def _extra(store: Store, found: Mapping[Name, Stored | None], prefixes: list[str] | None) -> Iterator[Difference]:
    """The objects of the store that the records do not name."""
    versions = {(bucket, key) for (bucket, key, version_id), stored in found.items() if version_id and stored}
    for bucket, directory in common_directories(found).items():
        for prefix in [directory] if prefixes is None else prefixes:
            for entry in store.list(bucket, prefix):
                if found.get((bucket, entry.key, None)) is None and (bucket, entry.key) not in versions:
                    is_deleted = (bucket, entry.key, None) in found
                    reason = 'it exists, and was deleted by a job' if is_deleted else 'no record names it'
                    yield Difference(kind='extra', bucket=bucket, key=entry.key, reason=reason)
