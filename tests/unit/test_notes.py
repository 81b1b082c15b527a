"""The notes of transfers: every implementation keeps the same rules."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from s3po.jobs import Call
from s3po.journal import Entry, JobNotes, Journal, Ledger
from s3po.model import ref_of
from tests.support.notes import MemoryNotes, check_notes


def test_in_memory(tmp_path: pathlib.Path) -> None:
    """The notes of tests keep the rules of `Notes`, over their file as well."""
    check_notes(lambda: MemoryNotes(tmp_path / 'notes'))


class Opener:
    """Reads the notes of one job from a journal, as the next run does."""

    def __init__(self, path: pathlib.Path) -> None:
        self._journal = Journal(path)
        self._ledger: Ledger | None = None
        self._call = Call('upload', ref_of('bucket', 'key'), {'source': path})

    def __call__(self) -> JobNotes:
        self.close()
        self._ledger = self._journal.open(None)
        entry = Entry(self._ledger, self._call)
        notes, kept = JobNotes(entry), self._ledger.take_kept(entry)
        if kept is not None:
            notes.upload, notes.intent_at, notes.download = kept.upload, kept.intent_at, kept.download
        return notes

    def close(self) -> None:
        """Release the file."""
        if self._ledger is not None:
            self._ledger.close()


@pytest.fixture
def opener(tmp_path: pathlib.Path) -> Iterator[Opener]:
    found = Opener(tmp_path / 'journal')
    yield found
    found.close()


def test_of_a_journal(opener: Opener) -> None:
    """A journal keeps them in its file."""
    check_notes(opener)
