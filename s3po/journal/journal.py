"""The public class of a journal."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from s3po.body import remove_kept
from s3po.body.local import close_file, local_errors
from s3po.config import MIB
from s3po.errors import ConfigurationError, JobError, S3poError
from s3po.jobs import JobRecord
from s3po.journal.file import BEGINNING, JournalFile, open_to_read, read_header, records_of
from s3po.journal.ledger import DONE, Ledger
from s3po.journal.lines import parsed
from s3po.journal.notes import Kept
from s3po.runtime import offload

__all__ = ['Journal', 'JournalReport']

log = logging.getLogger(__name__)

# The fields of a line that are not of a JobRecord.
OWN_FIELDS = ('job', 'on', 'crc', 'stat', 'note', 'unsure')


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalReport:
    """The figures of a journal. A job whose destination was written again by another one later does not count.

    Attributes:
        done: The number of jobs that are done.
        pending: Jobs that were begun, and neither done nor failed: those of a running or killed process.
        failed: Jobs whose last attempt failed.
        size_bytes: The size of the objects of the jobs that are done.
        kept: Unfinished uploads and partial files that the next run continues.
    """

    done: int = 0
    pending: int = 0
    failed: int = 0
    size_bytes: int = 0
    kept: int = 0

    def __str__(self) -> str:
        return (
            f'{self.done:,} jobs done ({self.size_bytes / MIB:,.1f} MiB), {self.pending:,} pending, {self.failed:,} failed, '
            f'{self.kept:,} unfinished transfers kept'
        )


class Discarding(Protocol):
    """The part of a connection that discard() uses."""

    def find_endpoint(self) -> str | None:
        """The URL of the store; None for AWS."""
        ...

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Abort a multipart upload. One that does not exist is no error."""
        ...


class Journal:
    """A file that records which jobs of a batch are done, so that a later run skips them: `conn.batch(journal=…)`.

    Creating one opens no file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """
        Args:
            path: The path of the file. The file is created by the first batch; the directory must exist.

        Raises:
            ConfigurationError: It is no path.
        """
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ConfigurationError(f'journal must be a path or a Journal, not {path!r}')
        self.path: str = os.path.abspath(os.fsdecode(path))

    def __repr__(self) -> str:
        return f'Journal({self.path!r})'

    @staticmethod
    def is_one(path: str | os.PathLike[str]) -> bool:
        """Whether a file begins as a journal does. Other files of jobs do not."""
        if os.path.exists(path) and not os.path.isfile(path):
            # What is read from a pipe cannot be read again.
            return False
        with open(path, 'rb') as file:
            return file.read(len(BEGINNING)) == BEGINNING

    def report(self) -> JournalReport:
        """The figures. Also while a batch writes the journal, in any process. A file that does not exist has no jobs.

        Raises:
            LocalError: The file cannot be read, or is damaged.
            ConfigurationError: It is no journal, or of a newer version.
        """
        if not os.path.exists(self.path):
            return JournalReport()
        found = Ledger.read(self.path)
        return JournalReport(
            done=found.count(DONE),
            pending=found.count('begun', 'intent', 'created', 'opened', 'stored'),
            failed=found.count('failed'),
            size_bytes=found.size_bytes,
            kept=len(found.kept()),
        )

    def records(self) -> Iterator[JobRecord]:
        """The records of jobs that ended, in the order of their ends, as those of failed jobs and receipts.

        A job that was carried out several times has a record for each.

        Raises:
            LocalError: The file cannot be read, or is damaged.
            ConfigurationError: It is no journal, or of a newer version.
        """
        for said, endpoint in self._lines():
            if said['state'] in (DONE, 'failed'):
                yield _record_of(said, endpoint)

    def failed(self) -> list[JobRecord]:
        """The records of jobs whose last attempt failed, as `conn.retry_failed(path)` repeats them.

        Raises:
            LocalError: The file cannot be read, or is damaged.
            ConfigurationError: It is no journal, or of a newer version.
        """
        found: dict[str, JobRecord] = {}
        for said, endpoint in self._lines():
            found.pop(said['job'], None)
            if said['state'] == 'failed':
                found[said['job']] = _record_of(said, endpoint)
        return [*found.values()]

    def _lines(self) -> Iterator[tuple[dict[str, Any], object]]:
        """The fields of all lines, each with the endpoint of the journal."""
        with local_errors('read the journal', self.path):
            descriptor = open_to_read(self.path)
        try:
            header = read_header(descriptor, self.path) or {}
            for _, line, _ in records_of(descriptor, self.path):
                yield parsed(line), header.get('endpoint')
        finally:
            close_file(descriptor)

    def discard(self, connection: Discarding | None = None) -> None:
        """Give the jobs up: abort the uploads and remove the partial files that were kept for the next run, then the journal.

        Args:
            connection: A connection to the store. Needed only if uploads were kept.

        Raises:
            ConfigurationError: A connection is needed, or is to another store; or a batch uses the journal.
            S3poError: An upload could not be aborted. The journal is kept.
        """
        if not os.path.exists(self.path):
            return
        uploads = [kept for kept in Ledger.read(self.path).kept() if kept.upload is not None]
        if uploads and connection is None:
            raise ConfigurationError(
                f'{len(uploads):,} uploads are still at the store: give the connection, as in journal.discard(conn)'
            )
        ledger = self.open(None if connection is None else connection.find_endpoint(), is_any_store=connection is None)
        try:
            kept = ledger.kept()
            for each in kept:
                _discard(each, connection)
            ledger.discard()
        finally:
            ledger.close()
        files = sum(each.download is not None for each in kept)
        elsewhere = [kept for kept in uploads if kept.endpoint]
        aborted = len(uploads) - len(elsewhere)
        log.info('discarded the journal %s: aborted %d uploads, removed %d partial files', self.path, aborted, files)
        if elsewhere:
            first = elsewhere[0]
            log.warning(
                '%d uploads to other stores were not aborted; the first is to s3://%s/%s at %s',
                len(elsewhere),
                first.bucket,
                first.key,
                first.endpoint,
            )

    def open(self, endpoint: str | None, *, fsync: bool = False, is_any_store: bool = False) -> Ledger:
        """Open it for a batch. Blocks the caller's greenlet until all records are read.

        Args:
            endpoint: The URL of the store; None for AWS.
            fsync: Whether each record is synchronised with the disk.
            is_any_store: Whether the endpoint does not matter.

        Raises:
            ConfigurationError: The file is no journal, of another store or a newer version, in use, or of another user.
            LocalError: It cannot be read or written, or is damaged.
        """
        file = JournalFile(self.path, endpoint, is_any_store=is_any_store)
        try:
            ledger = Ledger(file, fsync=fsync)
            offload(ledger.load)
        except BaseException:
            file.close()
            raise
        return ledger


def _record_of(line: dict[str, Any], endpoint: object) -> JobRecord:
    said = dict(line)
    for name in OWN_FIELDS:
        said.pop(name, None)
    if endpoint is not None:
        said['endpoint'] = endpoint
    if isinstance(said.get('opts'), dict):
        # Secrets and data are named only.
        lost = [name for name, value in said['opts'].items() if value == '<lost>']
        said['opts'] = {name: value for name, value in said['opts'].items() if name not in lost}
        said['lost'] = lost
    if said['op'] == 'upload' and 'path' not in said:
        said['lost'] = ['source', *said.get('lost', ())]
    try:
        return JobRecord.from_json(said)
    except JobError as error:
        raise S3poError(f'a record of the journal cannot be read: {error}') from error


def _discard(kept: Kept, connection: Discarding | None) -> None:
    if kept.upload is not None and connection is not None and not kept.endpoint:
        connection.abort_upload(kept.bucket, kept.key, kept.upload.upload_id)
    if kept.download is not None:
        remove_kept(kept.download.path)
