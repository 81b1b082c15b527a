"""Continues downloads of earlier attempts, by the notes of a journal.

Invariant: bytes that are not received again have the noted CRC64NVME when they are read from the disk, are of the ETag that
every further request carries, and are in the comparison of the whole object with its checksum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from s3po.body import KeptSink, Sink, remove_kept
from s3po.checksum import crc_function
from s3po.jobs.notes import DownloadNote, Notes, RangeNote
from s3po.model import Part
from s3po.plan import Plan
from s3po.runtime import offload
from s3po.transfer.integrity import Check

__all__ = ['DownloadRecord', 'Version', 'download_record']

COMPARED = 'CRC64NVME'


class Version(NamedTuple):
    """One version of an object; the fields are those of Answer."""

    etag: str
    version_id: str | None
    whole_bytes: int
    offset: int = 0


def download_record(notes: Notes, sink: Sink) -> DownloadRecord | None:
    """The record of a download into a sink; None if it cannot be continued. Then nothing of an earlier attempt is left."""
    if isinstance(sink, KeptSink):
        return DownloadRecord(notes, sink)
    if notes.download is not None:
        remove_kept(notes.download.path)
        notes.discarded()
    return None


class DownloadRecord:
    """Writes the notes about one download, and reads what an earlier attempt noted.

    Attributes:
        sink: The target.
        is_open: Whether the notes have a partial file that this attempt may add to.
    """

    def __init__(self, notes: Notes, sink: KeptSink) -> None:
        self.sink = sink
        self.is_open = False
        self._notes = notes
        self._compute = crc_function(COMPARED)

    def crc(self, data: memoryview, crc: int) -> int:
        """The CRC64NVME of bytes, given that of the bytes before."""
        return self._compute(data, crc)

    def opened(self, etag: str, version_id: str | None, size_bytes: int, check: Check | None) -> None:
        """The partial file is empty."""
        path = self.sink.kept_path
        self.is_open = path is not None
        if path is not None:
            checksum = None if check is None else check.expected
            self._notes.opened(
                DownloadNote(path=path, etag=etag, size_bytes=size_bytes, version_id=version_id, checksum=checksum)
            )

    def received(self, part: Part, crc: int) -> None:
        """A part is in the partial file."""
        if self.is_open:
            self._notes.received(RangeNote(offset=part.offset, size_bytes=part.size_bytes, crc=crc))

    def end(self, error: BaseException) -> None:
        """End the download after an error: keep the partial file for the next run, or remove it."""
        is_open, self.is_open = self.is_open, False
        if is_open and self._notes.keeps(error):
            self.sink.keep()
            error.add_note(f'{self.sink.kept_path} is kept; the next run with this journal continues it')
            return
        self.sink.rollback()
        if is_open:
            self._notes.discarded()

    def found(self, if_match: str | None) -> DownloadNote | None:
        """What an earlier attempt has left, with its file open. None to start anew; then nothing is left."""
        note = self._notes.download
        if note is None:
            return None
        if if_match in (None, note.etag, f'"{note.etag}"') and self.sink.reopen(note.path, note.size_bytes):
            self.is_open = not self.sink.is_published
            return note
        self.forget()
        return None

    def forget(self) -> None:
        """Remove what an earlier attempt has left."""
        note = self._notes.download
        if note is not None:
            remove_kept(note.path)
            self._notes.discarded()

    def kept_parts(self, note: DownloadNote, plan: Plan, check: Check | None) -> set[int]:
        """The numbers of the parts that are in the file as they were noted; they are passed to the check."""
        noted = {(each.offset, each.size_bytes): each.crc for each in note.ranges}
        kept = set()
        for part in plan:
            crc = noted.get((part.offset, part.size_bytes))
            if crc is not None:
                found, state = offload(self._read, part, check)
                if found == crc:
                    kept.add(part.number)
                    if check is not None:
                        check.end(part.number, state, part.size_bytes)
        return kept

    def _read(self, part: Part, check: Check | None) -> tuple[int, Any]:
        """The CRC of a part of the file, and the state of the check after it."""
        crc, state = 0, None if check is None else check.start()
        for piece in self.sink.pieces(part.offset, part.size_bytes):
            crc = self._compute(piece, crc)
            if check is not None:
                state = check.update(state, piece)
        return crc, state
