"""The notes of transfers in a journal: what is kept of an unfinished upload or download for the next run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from s3po.errors import (
    BreakerOpen,
    Cancelled,
    CertificateError,
    ConfigurationError,
    CredentialsError,
    CredentialsExpired,
    DeadlineExceeded,
    LocalError,
    ResponseError,
    SourceChanged,
    TransferError,
    UnsafePath,
)
from s3po.jobs.notes import DownloadNote, PartNote, RangeNote, UploadNote
from s3po.model import TransferResult
from s3po.retry import is_retryable

__all__ = ['JobNotes', 'Kept', 'is_definite', 'is_kept_after']


@dataclass(slots=True)
class Kept:
    """What an unfinished job has left.

    Attributes:
        endpoint: The URL of the other store that the upload is for; '' for the journal's.
        bucket: The bucket of the upload.
        key: The key of the upload.
        upload: The open upload; None for none.
        intent_at: The time of an intent to create one, without its id; None for none.
        download: The partial file; None for none.
    """

    endpoint: str = ''
    bucket: str = ''
    key: str = ''
    upload: UploadNote | None = None
    intent_at: float | None = None
    download: DownloadNote | None = None

    def take(self, state: str, said: Mapping[str, Any]) -> None:
        """Apply a record."""
        note = said.get('note') or {}
        if 'key' in said:
            to = said.get('to') or said
            self.endpoint, self.bucket, self.key = (said.get('to') or {}).get('endpoint', ''), to['bucket'], to['key']
        if state == 'intent':
            self.upload, self.intent_at = None, note['at']
        elif state == 'created':
            self.upload, self.intent_at = UploadNote(**note, parts={}), None
        elif state == 'part' and self.upload is not None:
            _parts(self.upload)[note['number']] = PartNote(**note)
        elif state == 'opened':
            self.download = DownloadNote(**note)
        elif state == 'range' and self.download is not None:
            self.download = replace(self.download, ranges=(*self.download.ranges, RangeNote(**note)))


class NoteWriter(Protocol):
    """Writes the records of one job."""

    def note(self, state: str, note: Mapping[str, Any], *, begins: bool) -> None:
        """Write a note. begins: It is the first one about an upload or partial file, so the call is written too."""
        ...

    def store(self, result: TransferResult) -> None:
        """Write that the transfer is complete."""
        ...


@dataclass(slots=True)
class JobNotes:
    """Implements s3po.jobs.notes.Notes.

    Attributes:
        can_resume: False for a source that cannot be read again: nothing of it is kept.
    """

    writer: NoteWriter
    upload: UploadNote | None = None
    intent_at: float | None = None
    download: DownloadNote | None = None
    can_resume: bool = True

    @property
    def has_kept(self) -> bool:
        """Whether an upload or a partial file exists."""
        return self.upload is not None or self.download is not None

    def intend(self) -> None:
        # Of several intents without an id, the first one counts.
        at = time.time() if self.intent_at is None else self.intent_at
        self.writer.note('intent', {'at': at}, begins=True)
        self.upload, self.intent_at = None, at

    def created(self, upload: UploadNote) -> None:
        self.writer.note('created', _fields(upload, 'parts'), begins=True)
        self.upload, self.intent_at = replace(upload, parts=dict(upload.parts)), None

    def confirmed(self, part: PartNote) -> None:
        self.writer.note('part', _fields(part), begins=False)
        if self.upload is not None:
            _parts(self.upload)[part.number] = part

    def opened(self, download: DownloadNote) -> None:
        self.writer.note('opened', _fields(download, 'ranges'), begins=True)
        self.download = download

    def received(self, part: RangeNote) -> None:
        self.writer.note('range', _fields(part), begins=False)
        if self.download is not None:
            self.download = replace(self.download, ranges=(*self.download.ranges, part))

    def discarded(self) -> None:
        # Part of clean-up, which must go on if the disk is full. The next run finds that there is nothing to continue.
        with contextlib.suppress(LocalError):
            self.writer.note('discarded', {}, begins=False)
        self.upload = self.intent_at = self.download = None

    def stored(self, result: TransferResult) -> None:
        self.writer.store(result)

    def keeps(self, error: BaseException) -> bool:
        return self.can_resume and is_kept_after(error)


def is_kept_after(error: BaseException) -> bool:
    """Whether another run may succeed after this error: interruptions, time limits, what can be retried, lost credentials."""
    if not isinstance(error, Exception):
        return True
    if isinstance(error, TransferError):
        cause = error.__cause__
        return cause is None or is_kept_after(cause)
    return isinstance(
        error, Cancelled | DeadlineExceeded | BreakerOpen | CredentialsError | CredentialsExpired
    ) or is_retryable(error)


def is_definite(error: BaseException) -> bool:
    """Whether it is certain that a call that failed in this way has changed nothing."""
    if isinstance(error, TransferError):
        return error.__cause__ is not None and is_definite(error.__cause__)
    is_refused = isinstance(error, ResponseError) and not is_retryable(error)
    return is_refused or isinstance(error, ConfigurationError | LocalError | SourceChanged | UnsafePath | CertificateError)


def _fields(note: UploadNote | PartNote | DownloadNote | RangeNote, besides: str = '') -> dict[str, Any]:
    return {each.name: getattr(note, each.name) for each in fields(note) if each.name != besides}


def _parts(upload: UploadNote) -> dict[int, PartNote]:
    """The parts of a note of this room, which are a dict."""
    assert isinstance(upload.parts, dict)
    return upload.parts
