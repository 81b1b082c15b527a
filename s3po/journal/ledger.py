"""An open journal: what earlier runs have done, and the records of this one.

A record is about the destinations that its call writes. A later record of a destination, of another call, supersedes it: the
call is carried out again. Only records of earlier runs count as done.
"""

from __future__ import annotations

import collections
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import gevent.event

from s3po.jobs import Call
from s3po.jobs.failures import error_to_json
from s3po.journal.file import JournalFile
from s3po.journal.identity import Identity
from s3po.journal.index import Index
from s3po.journal.lines import Tail, done_line, head_of, line_of, parsed, report_of, result_text, size_of, tail_of
from s3po.journal.notes import JobNotes, Kept, is_definite
from s3po.model import TransferResult
from s3po.runtime import offload

__all__ = ['DONE', 'Entry', 'Ledger', 'Stat', 'stat_of']

log = logging.getLogger(__name__)

DONE: Final = 'done'
# States of records about an upload or a partial file that exists.
_NOTES: Final = frozenset({'intent', 'created', 'part', 'opened', 'range'})
# States after which there is none.
_COMPLETE: Final = frozenset({'discarded', 'stored', 'done'})
# A journal is compacted when it is opened, if it has so many records, and most of them are superseded.
LEAST_COMPACTED: Final = 1_000

# Of a local file: size, mtime_ns, inode.
Stat = tuple[int, int, int]


class Entry(Identity):
    """A job of this run.

    Attributes:
        n: Its number among equal calls of this run.
        slot: Where the index has its destination.
        offset: Its last record of this run; 0 for none.
        notes: The notes that its transfer gets; None for none.
        stat: The local source when the job began; None for none.
        result: The result of the transfer.
        has_begun: Whether the call was carried out in this run.
        is_unsure: Whether an earlier attempt has begun it, with an unknown outcome.
        is_skipped: Whether an earlier run has done it.
        is_stored: Whether its last record is that the transfer is complete.
        wants_stored: Whether such a record is needed: something follows the transfer.
    """

    offset: int = 0
    notes: JobNotes | None = None
    stat: Stat | None = None
    result: object = None
    has_begun: bool = False
    is_unsure: bool = False
    is_skipped: bool = False
    is_stored: bool = False
    wants_stored: bool = False

    def __init__(self, ledger: Ledger, call: Call) -> None:
        Identity.__init__(self, call, ledger.store)
        self._ledger = ledger
        self.n, self.slot = ledger.index.number(self.on, self.hash)

    @property
    def recorded_stat(self) -> Stat | None:
        """The stat for a record: of the source when the job began, or of the target now."""
        path = self.path
        return stat_of(path) if path is not None and self.call.operation.startswith('download') else self.stat

    # --- for JobNotes

    def note(self, state: str, note: Mapping[str, Any], *, begins: bool) -> None:
        """Write a note of the transfer."""
        text = f'{head_of(self)},' if begins else '{'
        self._ledger.write(self, f'{text}"note":{json.dumps(note)}', state, on=begins)

    def store(self, result: TransferResult) -> None:
        """Write that the transfer is complete, if something follows it."""
        if self.wants_stored and self.can_skip:
            self.result = result
            self._ledger.stored(self, result)


class Ledger:
    """A journal that is open for one batch.

    Attributes:
        path: The path of its file.
        store: The URL of the store, or `AWS`.
        size_bytes: The bytes of the jobs that are done.
        index: The last records.
    """

    def __init__(self, file: JournalFile, *, fsync: bool = False) -> None:
        """
        Args:
            file: The open file. Call load() next.
            fsync: Whether each record is synchronised with the disk.
        """
        self._file = file
        self.path = file.path
        self.store = file.store
        self._fsync = fsync
        self.index = Index()
        # The offsets of the records of calls that were made more than once, by destination and number.
        self._repeated: dict[int, dict[int, int]] = {}
        self._kept: dict[tuple[str, int], Kept] = {}
        self._states = collections.defaultdict[str, int](int)
        self.size_bytes = 0
        self._synced_bytes = 0
        self._is_syncing = False
        self._has_synced = gevent.event.Event()
        # Records from here on are of this run.
        self._begin = file.size_bytes

    def __repr__(self) -> str:
        return f'<Ledger of {self._file!r}>'

    @property
    def is_broken(self) -> bool:
        """Whether a record could not be written: nothing more can be."""
        return self._file.is_broken

    def count(self, *states: str) -> int:
        """The number of jobs whose last record has one of these states."""
        return sum(self._states[state] for state in states)

    def kept(self) -> list[Kept]:
        """What unfinished jobs have left."""
        return list(self._kept.values())

    # --- jobs of this run

    def before(self, entry: Entry) -> int:
        """The offset of the last record of a job's destination; 0 for none."""
        return self.index.offset(entry.on, entry.slot)

    def found(self, entry: Entry) -> dict[str, Any] | None:
        """The report in the last record that an earlier run has written about a job, unless it is superseded; None for none."""
        offset = self.index.offset(entry.on, entry.slot)
        if self._repeated and (repeated := self._repeated.get(entry.on)):
            offset = repeated.get(entry.n, 0)
        if not offset or offset >= self._begin:
            return None
        said = report_of(self._file.read(offset))
        if said['job'] != f'{entry.hash}.{entry.n}':
            return None
        if any(self.index.offset(each) > offset for each in entry.also) or self._is_rewritten(entry.reads):
            return None
        return said

    def _is_rewritten(self, on: int) -> bool:
        """Whether this run has written an object that was read.

        It may be deleted: what was read stays as it was. If an earlier run has written it after the reading, the program may
        have kept the old object in a copy, which must not be replaced by a copy of the new one.
        """
        later = self.index.offset(on) if on else 0
        if later < self._begin:
            return False
        line = self._file.read(later)
        tail = tail_of(line)
        return tail is not None and tail.on[0] == on and parsed(line).get('op') != 'delete'

    def take_kept(self, entry: Entry) -> Kept | None:
        """What an earlier run has left of a job; None for nothing."""
        return self._kept.get((entry.hash, entry.n))

    def has_record(self, entry: Entry) -> bool:
        """Whether a destination of a job has a record that is not the job's own."""
        return self.index.offset(entry.on) not in (0, entry.offset) or any(map(self.index.offset, entry.also))

    def write(self, entry: Entry, text: str, state: str, *, on: bool = True, size_bytes: int = 0) -> None:
        """Write a record. Returns when it is in the file and, with fsync, on the disk.

        Raises:
            LocalError: It could not be written.
        """
        self.append(entry, line_of(text, state, entry, entry.n, on=on), state, on, size_bytes)

    def append(self, entry: Entry, line: bytes, state: str, on: bool, size_bytes: int) -> None:  # noqa: FBT001  (for each job)
        """Write a line, as write() does."""
        offset = self._file.append(line)
        if on:
            before = self.index.put(entry.on, offset, entry.slot)
            if before:
                self._supersede(entry.hash, entry.n, entry.on, before, offset)
            self._states[state] += 1
            self.size_bytes += size_bytes
            for each in entry.also:
                self._supersede_also(entry.hash, entry.n, each, offset)
            entry.offset = offset
        if self._fsync:
            self._sync()

    def begin(self, entry: Entry) -> None:
        """Write that a job begins: its destinations may change, whatever their earlier records are."""
        self.write(entry, head_of(entry), 'begun')

    def stored(self, entry: Entry, result: object) -> None:
        """Write that the transfer of a job is complete, and that its callback or the deletion of its source follows."""
        text = result_text(result) if isinstance(result, TransferResult) else ''
        self.write(entry, f'{head_of(entry)}{text}{stat_text(entry.recorded_stat)}', 'stored')
        entry.is_stored = True

    def done(self, entry: Entry) -> None:
        """Write that a job is done."""
        result = entry.result
        if entry.is_brief and isinstance(result, TransferResult):
            self.append(entry, done_line(entry, entry.n, result), DONE, True, result.size_bytes)
        else:
            text = head_of(entry)
            if isinstance(result, TransferResult):
                text += result_text(result)
            if entry.path is not None:
                text += stat_text(entry.recorded_stat)
            size_bytes = result.size_bytes if isinstance(result, TransferResult) else 0
            self.write(entry, text, DONE, size_bytes=size_bytes)
        if self._kept:
            self._kept.pop((entry.hash, entry.n), None)

    def failed(self, entry: Entry, error: BaseException) -> None:
        """Write that a job failed."""
        unsure = '' if is_definite(error) else ',"unsure":true'
        self.write(entry, f'{head_of(entry)},"error":{json.dumps(error_to_json(error))}{unsure}', 'failed')

    def discard(self) -> None:
        """Remove the file."""
        self._file.remove()

    def close(self) -> None:
        """Close the file, and release its lock."""
        try:
            self._file.check_in_place()
        finally:
            self._file.close()

    # --- reading

    @classmethod
    def read(cls, path: str) -> Ledger:
        """Read a journal that another batch may be writing.

        Raises:
            LocalError: It cannot be read, or is damaged.
            ConfigurationError: It is no journal, or of a newer version.
        """
        file = JournalFile(path, is_read_only=True)
        try:
            found = cls(file)
            offload(found.load)
        finally:
            file.close()
        return found

    def load(self) -> None:
        """Read all records. Takes about 3 s for a million; call it with offload().

        Raises:
            LocalError: The file is damaged.
        """
        self._load()
        if self._fsync:
            self._file.sync_name()
        self._begin = self._file.size_bytes

    def _load(self) -> None:
        records = 0
        self.index = Index.for_destinations(self._file.estimated_jobs())
        for offset, line, tail in self._file.records():
            records += 1
            self._take(tail, offset, line)
        if records > LEAST_COMPACTED and records > 3 * len(self.index) and not self._file.is_read_only:
            self._compact()

    def _take(self, tail: Tail, offset: int, line: bytes) -> None:
        state = tail.state
        if tail.on:
            before = self.index.put(tail.on[0], offset)
            if before:
                self._supersede(tail.hash, tail.n, tail.on[0], before, offset)
            self._states[state] += 1
            if state == DONE:
                self.size_bytes += size_of(line)
            for each in tail.on[1:]:
                self._supersede_also(tail.hash, tail.n, each, offset)
        if state in _NOTES:
            self._kept.setdefault((tail.hash, tail.n), Kept()).take(state, parsed(line))
        elif self._kept and state in _COMPLETE:
            self._kept.pop((tail.hash, tail.n), None)

    def _supersede(self, hash: str, n: int, on: int, before: int, offset: int) -> None:  # noqa: A002
        line = self._file.read(before)
        old = tail_of(line)
        if old is None:
            return
        repeated = self._repeated.get(on)
        if old.on[0] == on and old.hash == hash and (repeated is not None or old.n != n):
            # Equal calls do not supersede each other.
            repeated = self._repeated.setdefault(on, {old.n: before})
            superseded = [repeated[n]] if n in repeated else []
            repeated[n] = offset
        else:
            superseded = [*self._repeated.pop(on, {-1: before}).values()]
        for each in superseded:
            line = self._file.read(each)
            old = tail_of(line)
            if old is not None and old.on[0] == on:
                self._states[old.state] -= 1
                if old.state == DONE:
                    self.size_bytes -= size_of(line)

    def _supersede_also(self, hash: str, n: int, on: int, offset: int) -> None:  # noqa: A002
        before = self.index.put(on, offset)
        if before and before != offset:
            self._supersede(hash, n, on, before, offset)
        self._repeated.pop(on, None)

    def _compact(self) -> None:
        """Write the file again, without superseded records."""
        before = self._file.size_bytes
        try:
            self._file.replace(self._live())
        except OSError as error:
            log.warning('the journal %s could not be compacted: %s', self.path, error)
            return
        log.info('compacted the journal %s from %d to %d bytes', self.path, before, self._file.size_bytes)
        self.index, self._repeated, self._kept = Index.for_destinations(len(self.index)), {}, {}
        self._states.clear()
        self.size_bytes = 0
        for offset, line, tail in self._file.records():
            self._take(tail, offset, line)

    def _live(self) -> Iterator[bytes]:
        index = self.index
        for offset, line, tail in self._file.records():
            is_last = any(index.offset(each) == offset for each in tail.on)
            is_repeated = bool(tail.on) and offset in self._repeated.get(tail.on[0], {}).values()
            if is_last or is_repeated or (tail.state in _NOTES and (tail.hash, tail.n) in self._kept):
                yield line

    # --- synchronising

    def _sync(self) -> None:
        """Wait until the disk has all records so far. Jobs that wait at the same time share one fsync()."""
        wanted = self._file.size_bytes
        while self._synced_bytes < wanted:
            if self._is_syncing:
                self._has_synced.wait()
                continue
            reached = self._file.size_bytes
            self._is_syncing = True
            self._has_synced.clear()
            try:
                offload(self._file.sync)
                self._synced_bytes = reached
            finally:
                self._is_syncing = False
                self._has_synced.set()


def stat_of(path: str) -> Stat | None:
    """What identifies the version of a local file; None if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def stat_text(stat: Stat | None) -> str:
    """A stat as a field of a record."""
    return '' if stat is None else f',"stat":[{stat[0]},{stat[1]},{stat[2]}]'
