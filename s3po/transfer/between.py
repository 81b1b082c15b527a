"""Copies one object to another store: its bytes are fetched part by part, and uploaded.

Invariants: a copy holds a slot of one of the stores at a time, so copies in opposite directions, or within one connection,
cannot wait for each other's slots. The memory of its parts is counted once, in the budget of the source's connection or batch.
"""

from __future__ import annotations

import dataclasses
import functools
import http.client
import time
from dataclasses import dataclass

from s3po.checksum import has_md5_form
from s3po.config import TransferConfig
from s3po.errors import AccessDenied, InvalidRequest, SourceChanged, TransferError, TransportError
from s3po.jobs.notes import Notes
from s3po.memory import MemoryBudget, Room
from s3po.model import ObjectInfo, TransferResult
from s3po.s3 import Extra, Headers
from s3po.s3.expected import version_to_read
from s3po.transfer.attempts import Attempts
from s3po.transfer.copying import carried
from s3po.transfer.fetching import RESTARTS
from s3po.transfer.integrity import Mismatch, is_encrypted, kind_of
from s3po.transfer.object_source import Differs, ObjectSource, Replaced, open_object
from s3po.transfer.requesting import ObjectDownload
from s3po.transfer.tags import ensure_tags, source_tags
from s3po.transfer.uploading import upload

__all__ = ['Description', 'copy_between']


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The headers of a copy.

    Attributes:
        headers: Its headers in place of the source's; none keeps the source's.
        conditions: If-None-Match and the like.
        has_tags: Whether the caller passes the tags of the copy, so that the source's are not kept.
    """

    headers: Headers
    conditions: Headers
    has_tags: bool

    def of(self, info: ObjectInfo, tagging: str) -> dict[str, str]:
        """All headers of the copy of a source with these tags."""
        return {**carried(info, self.headers, tagging), **self.conditions}


def copy_between(
    download: ObjectDownload,
    attempts: Attempts,
    config: TransferConfig,
    description: Description,
    extra: Extra,
    memory: MemoryBudget,
    notes: Notes | None = None,
) -> tuple[TransferResult, ObjectInfo]:
    """Copy an object to another store. Blocks until that store has confirmed it.

    Args:
        download: The source; its sink is not used.
        attempts: Makes the requests to the other store; has the new object's name.
        config: The settings of the other connection: the size of the parts, and how many are sent in parallel.
        description: The headers and tags of the new object.
        extra: The caller's further parameters for the upload.
        memory: The budget that counts the parts.
        notes: The journal's notes about the job; see upload().

    Returns:
        The result, and the description of the version that was copied.

    Raises:
        DownloadError, UploadError: The retries were used up. Nothing is published and no multipart upload is left.
        SourceChanged: The source was replaced during each attempt; likewise.
        IntegrityError: The bytes differed from the source's in each attempt.
        TransportError: One of the stores refused the request.
    """
    began, replaced, mismatched = time.monotonic(), 0, 0
    while True:
        try:
            with Room(memory) as room:
                source = open_object(download, config, room, is_new=notes is None or notes.upload is None)
                result = _Copy(download, attempts, description, extra, notes, room).run(source)
        except Replaced as error:
            replaced += 1
            if replaced > RESTARTS:
                name = f's3://{download.attempts.bucket}/{download.attempts.key}'
                raise SourceChanged(f'{name} was replaced {replaced} times while it was copied') from error.__cause__
        except Differs as error:
            mismatched += 1
            # With a condition, the wrong copy would refuse the right one.
            if description.conditions or mismatched > download.attempts.integrity_retries:
                error.mismatch.attempts = mismatched
                raise error.mismatch from None
            download.attempts.retried += 1
        else:
            return _result(result, download.attempts, attempts, time.monotonic() - began), source.info


def _result(result: TransferResult, source: Attempts, target: Attempts, seconds: float) -> TransferResult:
    return dataclasses.replace(
        result,
        attempts=result.parts + source.retried + target.retried,
        seconds=seconds,
        warnings=source.warnings + target.warnings,
    )


class _Copy:
    """One attempt at a copy."""

    def __init__(
        self,
        download: ObjectDownload,
        attempts: Attempts,
        description: Description,
        extra: Extra,
        notes: Notes | None,
        room: Room,
    ) -> None:
        self._download = download
        self._attempts = attempts
        self._description = description
        self._extra = extra
        self._notes = notes
        self._room = room

    def run(self, source: ObjectSource) -> TransferResult:
        """Upload the source; without its tags if the other store does not accept them.

        Raises:
            Replaced, Differs: The copy must be made again.
        """
        tagging = self._tags(source.info)
        try:
            result, refusal = self._upload(source, tagging), None
        except (AccessDenied, InvalidRequest) as error:
            if not tagging or (isinstance(error, InvalidRequest) and error.status != http.client.NOT_IMPLEMENTED):
                raise
            refusal = error
        if refusal is not None:
            result = self._upload(source, '')
            self._attempts.lose(f'the tags of the source are not copied: {refusal}')
        elif tagging:
            ensure_tags(self._attempts, tagging, version_to_read(result.version_id), self._extra)
        self._compare(source, result)
        return result

    def _upload(self, source: ObjectSource, tagging: str) -> TransferResult:
        headers = self._description.of(source.info, tagging)
        return upload(self._attempts, source, source.config, headers, self._extra, self._notes, room=self._room)

    def _tags(self, info: ObjectInfo) -> str:
        """The source's tags as a query string; '' for none."""
        if self._description.has_tags:
            return ''
        version_id = self._download.version_id or version_to_read(info.version_id)
        return source_tags(self._download.attempts, info, version_id, self._download.extra)

    def _compare(self, source: ObjectSource, result: TransferResult) -> None:
        """Compare the copy with its source, where their checksums or ETags prove their bytes.

        Raises:
            Differs: They differ.
        """
        info, doing = source.info, f'copy to s3://{self._attempts.bucket}/{self._attempts.key}'
        kind = kind_of(result.checksum)
        if kind and kind == kind_of(info.checksum) and '-' not in kind:
            if result.checksum != info.checksum:
                raise Differs(
                    Mismatch(f'{doing}: the copy has the checksum {result.checksum}, but its source has {info.checksum}')
                )
            return
        are_md5 = has_md5_form(info.etag) and has_md5_form(result.etag) and not is_encrypted(info)
        if not source.trusts_etag or not are_md5 or info.etag == result.etag:
            return
        # Only a HEAD shows whether the copy is encrypted, so that its ETag is no MD5.
        copy = self._look(result)
        if copy is not None and copy.etag == result.etag and not is_encrypted(copy):
            raise Differs(Mismatch(f'{doing}: the copy has the ETag {result.etag}, but its source has {info.etag}'))

    def _look(self, result: TransferResult) -> ObjectInfo | None:
        """The description of the copy; None if it cannot be read."""
        attempts = self._attempts
        # The conditions were for the object before the copy.
        reading = {name: value for name, value in self._extra.items() if name not in ('IfMatch', 'IfNoneMatch')}
        version_id = version_to_read(result.version_id)
        look = functools.partial(
            attempts.transport.head_object, attempts.bucket, attempts.key, version_id=version_id, extra=reading
        )
        try:
            return attempts.run('HeadObject', look)
        except (TransportError, TransferError):
            # A copy may be forbidden to be read, or replaced by now.
            return None
