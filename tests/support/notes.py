"""A journal in memory: the notes of jobs, for tests of transfers; and the rules that every implementation of `Notes` keeps."""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Callable
from pathlib import Path

from s3po.errors import S3poError, TransferError
from s3po.jobs.notes import DownloadNote, Notes, PartNote, RangeNote, UploadNote
from s3po.model import TransferResult

__all__ = ['MemoryNotes', 'check_notes', 'keeps']

UPLOAD = UploadNote(upload_id='id/+=', source='1 2 3', part_bytes=5, own_id='ours', created_at=1.5)
PARTS = [
    PartNote(number=2, size_bytes=5, etag='b', checksum='CRC64NVME:rosUhgp5mIg='),
    PartNote(number=1, size_bytes=5, etag='a', checksum=None, is_encrypted=True),
]
DOWNLOAD = DownloadNote(path='/directory/näme', etag='e', size_bytes=20, version_id='v', checksum='CRC32:AAAAAA==')
RANGES = (RangeNote(offset=8, size_bytes=8, crc=2**64 - 1), RangeNote(offset=0, size_bytes=8, crc=0))


def keeps(error: BaseException) -> bool:
    """Whether what a transfer has begun is kept: after kills, timeouts and failures that a later run may not have."""
    return not isinstance(error, S3poError) or isinstance(error, TransferError)


class MemoryNotes:
    """The notes of one job.

    Attributes:
        calls: The names of the methods that were called, in order.
        file: The notes are written to this file as well, after each call; None for none.
        keeps: See Notes.keeps().
        results: The arguments of stored().
    """

    def __init__(self, file: Path | None = None) -> None:
        self.upload: UploadNote | None = None
        self.intent_at: float | None = None
        self.download: DownloadNote | None = None
        self.calls: list[str] = []
        self.keeps: Callable[[BaseException], bool] = keeps
        self.results: list[TransferResult] = []
        self.file = file
        if file is not None and file.exists():
            self.upload, self.intent_at, self.download = pickle.loads(file.read_bytes())

    def intend(self) -> None:
        self.upload = None
        self.intent_at = time.time() if self.intent_at is None else self.intent_at
        self._write('intend')

    def created(self, upload: UploadNote) -> None:
        self.upload, self.intent_at = upload, None
        self._write('created')

    def confirmed(self, part: PartNote) -> None:
        assert self.upload is not None
        self.upload = dataclasses.replace(self.upload, parts={**self.upload.parts, part.number: part})
        self._write('confirmed')

    def opened(self, download: DownloadNote) -> None:
        self.download = download
        self._write('opened')

    def received(self, part: RangeNote) -> None:
        assert self.download is not None
        self.download = dataclasses.replace(self.download, ranges=(*self.download.ranges, part))
        self._write('received')

    def discarded(self) -> None:
        self.upload = self.intent_at = self.download = None
        self._write('discarded')

    def stored(self, result: TransferResult) -> None:
        self.upload = self.intent_at = self.download = None
        self.results.append(result)
        self._write('stored')

    def _write(self, name: str) -> None:
        self.calls.append(name)
        if self.file is not None:
            new = self.file.with_suffix('.new')
            new.write_bytes(pickle.dumps((self.upload, self.intent_at, self.download)))
            new.replace(self.file)


def check_notes(reopened: Callable[[], Notes]) -> None:
    """Assert the rules of `Notes`.

    Args:
        reopened: Returns the notes of one job, as the next run of the program reads them.
    """
    new = reopened()
    assert (new.upload, new.intent_at, new.download) == (None, None, None)

    before = time.time()
    new.intend()
    first = reopened()
    assert first.upload is None
    assert first.intent_at is not None
    assert before - 1 <= first.intent_at <= time.time()
    first.intend()
    again = reopened()
    assert again.intent_at == first.intent_at

    again.created(UPLOAD)
    created = reopened()
    assert (created.upload, created.intent_at) == (UPLOAD, None)
    for part in PARTS:
        created.confirmed(part)
    # A part that is sent again replaces the first one.
    replaced = dataclasses.replace(PARTS[0], etag='c')
    created.confirmed(replaced)
    sent = reopened()
    assert sent.upload == dataclasses.replace(UPLOAD, parts={1: PARTS[1], 2: replaced})
    sent.confirmed(dataclasses.replace(PARTS[0], number=3))
    more = reopened()
    assert more.upload is not None
    assert sorted(more.upload.parts) == [1, 2, 3]

    other = dataclasses.replace(UPLOAD, upload_id='other', own_id=None)
    more.created(other)
    assert reopened().upload == other
    reopened().discarded()
    assert (reopened().upload, reopened().intent_at) == (None, None)

    opened = reopened()
    opened.opened(DOWNLOAD)
    for each in RANGES:
        opened.received(each)
    assert reopened().download == dataclasses.replace(DOWNLOAD, ranges=RANGES)
    reopened().opened(dataclasses.replace(DOWNLOAD, version_id=None))
    assert reopened().download == dataclasses.replace(DOWNLOAD, version_id=None)
    reopened().discarded()
    assert reopened().download is None
