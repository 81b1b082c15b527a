"""Carries out the jobs of a batch under a journal: skips what is done, continues what was begun, records what happens.

Invariants: a job is reported as done only when its record is in the file. A record of this run never makes a job of this run
skip. Without a record of an earlier run, a job is carried out as without a journal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from s3po.batch.job import Job
from s3po.batch.limits import Performer
from s3po.batch.ours import delete_source, is_copy, is_ours
from s3po.config import MIB
from s3po.errors import CallbackError, LocalError, NoSuchBucket, NotFound, PreconditionFailed, ResponseError, S3poError
from s3po.jobs import Call
from s3po.journal import READING, Entry, Identity, JobNotes, Journal, Ledger, is_definite, stat_of
from s3po.model import ObjectInfo, ObjectRef, Outcome, TransferResult

__all__ = ['Journaled', 'opened']

log = logging.getLogger(__name__)

# An upload of no more bytes has no parts, whatever the configuration, and nothing of it can be kept:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
SMALL_BYTES: Final = 5 * MIB
# Operations that take notes.
NOTED: Final = frozenset({'upload', 'upload_file', 'download', 'download_file', 'copy', 'move'})
BUCKETS: Final = frozenset({'create_bucket', 'delete_bucket'})


Perform = Callable[[Call], Outcome]


class End(Protocol):
    """Ends a job with a value or an error."""

    def __call__(self, job: Job, value: Any, error: Exception | None, *, is_cancelled: bool = False) -> None: ...


def opened(journal: str | os.PathLike[str] | Journal, connection: Performer, *, fsync: bool) -> Ledger:
    """Open the journal of a batch.

    Raises:
        ConfigurationError: The file is no journal, of another store or a newer version, in use, or of another user.
        LocalError: It cannot be read or written, or is damaged.
    """
    found = journal if isinstance(journal, Journal) else Journal(journal)
    return found.open(connection.find_endpoint(), fsync=fsync)


class Journaled:
    """The jobs of one batch, and the journal.

    Attributes:
        skipped: The number of skipped jobs.
    """

    def __init__(
        self,
        connection: Performer,
        ledger: Ledger,
        end: End,
        stop: Callable[[S3poError], object],
        *,
        verify_skipped: bool,
        replay_callbacks: bool,
    ) -> None:
        """
        Args:
            connection: Carries out the calls.
            ledger: The open journal.
            end: Ends a job.
            stop: Stops the batch.
            verify_skipped: Whether a HEAD checks each object before a job is skipped.
            replay_callbacks: Whether the callbacks of skipped jobs are called.
        """
        self._connection = connection
        self._ledger = ledger
        self._end = end
        self._stop = stop
        self._verify_skipped = verify_skipped
        self._replay_callbacks = replay_callbacks
        self._deletes_sources = connection.deletes_sources
        self.skipped = self._kept = 0

    def enter(self, job: Job) -> None:
        """Identify a job when it is submitted: equal calls are numbered in the order of submission."""
        call = job.call
        assert call is not None
        job.entry = None
        if job.refusal is not None or call.operation in READING:
            return
        try:
            job.entry = Entry(self._ledger, call)
        except Exception as error:  # noqa: BLE001  (arguments of the caller may raise anything, and the job will)
            log.debug('%s cannot be identified, and is not in the journal: %s', call, error)

    def perform(self, job: Job, call: Call, perform: Perform) -> Outcome:
        """Carry out a call by `perform`, unless an earlier run has done it."""
        entry = job.entry
        if entry is None:
            return perform(call)
        if (
            0 <= entry.data_bytes <= SMALL_BYTES
            and not entry.options
            and job.callback is None
            and not self._ledger.before(entry)
        ):
            # The short way of new small objects, which have no notes.
            entry.has_begun = True
            outcome = perform(call)
            entry.result = outcome.value
            return outcome
        found = self._ledger.found(entry)
        if found is not None and (done := self._done_before(job, entry, call, found)) is not None:
            entry.result = done.value
            return done
        outcome = self._carry_out(job, entry, call, found, perform)
        entry.result = outcome.value
        if job.callback is not None and not entry.is_stored and entry.can_skip:
            self._ledger.stored(entry, outcome.value)
        return outcome

    def end(self, job: Job, value: Any, error: Exception | None, *, is_cancelled: bool = False) -> None:
        """Record the end of a job, then report it."""
        entry = job.entry
        if entry is not None:
            job.entry = None
            try:
                if entry.is_brief and error is None and not entry.is_skipped:
                    self._ledger.done(entry)
                else:
                    self._record(entry, error, is_cancelled=is_cancelled)
            except LocalError as failure:
                if error is None:
                    value, error = None, _unrecorded(job, failure)
        self._end(job, value, error, is_cancelled=is_cancelled)
        # The job whose record cannot be written fails.
        if error is not None and self._ledger.is_broken:
            self._stop(LocalError(f'the batch stopped, because its journal {self._ledger.path} cannot be written'))

    def close(self) -> None:
        """Close the journal, and log what is kept for the next run."""
        self._ledger.close()
        if self._kept:
            log.warning(
                '%d unfinished transfers are kept: run again with journal=%r to continue them, or remove them with '
                's3po.journal.Journal(%r).discard(conn)',
                self._kept,
                self._ledger.path,
                self._ledger.path,
            )
            self._kept = 0

    # --- earlier runs

    def _done_before(self, job: Job, entry: Entry, call: Call, found: Mapping[str, Any]) -> Outcome | None:
        """The outcome of a call that an earlier run has carried out, and that need not be repeated; None for others."""
        state = found['state']
        entry.is_unsure = state not in ('done', 'failed') or 'unsure' in found
        if state not in ('done', 'stored') or not entry.can_skip:
            return None
        stat = found.get('stat')
        recorded = None if stat is None else tuple(stat)
        if state == 'done':
            if not self._is_unchanged(entry, call, recorded) or (self._verify_skipped and not self._is_verified(call, found)):
                return None
            self.skipped += 1
            entry.is_skipped = True
            if not self._replay_callbacks:
                job.callback = None
        else:
            if call.operation == 'move' or not self._finish_stored(entry, call, recorded):
                return None
            # The record of its end is of the source that was uploaded.
            entry.is_stored, entry.stat = True, recorded
        return Outcome(value=_result_of(call, found))

    def _is_unchanged(self, entry: Entry, call: Call, recorded: object) -> bool:
        path = entry.path
        if path is None:
            return True
        if self._deletes(entry, call):
            # The source was deleted after the upload. A new file at this path is another one.
            return stat_of(path) is None
        return recorded is not None and stat_of(path) == recorded

    def _finish_stored(self, entry: Entry, call: Call, recorded: object) -> bool:
        """Delete the source of a complete transfer, if it is to be deleted. Returns False if it must run again."""
        path = entry.path
        if path is None:
            return True
        current = stat_of(path)
        if call.operation.startswith('download'):
            return current is not None and current == recorded
        if current is None:
            return True
        if current != recorded:
            return False
        if self._deletes(entry, call):
            delete_source(path)
        return True

    def _is_verified(self, call: Call, found: Mapping[str, Any]) -> bool:
        """Whether the store still has what the record describes."""
        result = found.get('result')
        bucket, key = _destination(call)
        if call.operation in BUCKETS:
            return True
        try:
            to: Performer = call.options.get('to') or self._connection
            info = to.perform(Call('head', ObjectRef(bucket=bucket, key=key), {})).value
        except NotFound:
            return call.operation == 'delete'
        assert isinstance(info, ObjectInfo)
        if result is None:
            return call.ref.version_id is not None
        is_whole = call.options.get('byte_range') is None
        return info.etag == result['etag'] and (not is_whole or info.size_bytes == result['size_bytes'])

    # --- this run

    def _carry_out(self, job: Job, entry: Entry, call: Call, found: Mapping[str, Any] | None, perform: Perform) -> Outcome:
        entry.has_begun = True
        entry.wants_stored = job.callback is not None or call.operation == 'move' or self._deletes(entry, call)
        if call.operation.startswith('upload') and entry.path is not None:
            entry.stat = stat_of(entry.path)
        call = self._noted(entry, call)
        if _is_delicate(call) or self._ledger.has_record(entry):
            self._ledger.begin(entry)
        try:
            return perform(call)
        except S3poError as error:
            done = self._forgiven(entry, call, found, error) if entry.is_unsure else None
            if done is None and entry.is_stored and self._has_no_source(entry, call, error):
                # A worker process was lost after it had deleted the source.
                done = Outcome(value=entry.result)
            entry.is_unsure = entry.is_unsure or not is_definite(error)
            if done is None:
                raise
            log.info('%s was done before: %s', call, error)
            return done

    def _noted(self, entry: Entry, call: Call) -> Call:
        """The call with the notes of its job, if its transfer may need them."""
        operation, options = call.operation, call.options
        if operation == 'delete_many' and not isinstance(options.get('keys'), list | tuple | str | bytes):
            call = Call(operation, call.ref, {**options, 'keys': tuple(options['keys'])})
            entry.changes(call.options['keys'])
        if operation not in NOTED or (operation == 'download' and entry.path is None):
            return call
        if entry.notes is None:
            kept = self._ledger.take_kept(entry)
            if kept is None and not self._deletes(entry, call) and _is_small(entry, call):
                return call
            can_resume = entry.can_skip
            entry.notes = JobNotes(entry, can_resume=can_resume)
            if kept is not None:
                entry.notes.upload, entry.notes.intent_at, entry.notes.download = kept.upload, kept.intent_at, kept.download
        return Call(operation, call.ref, {**options, 'notes': entry.notes})

    def _forgiven(self, entry: Entry, call: Call, found: Mapping[str, Any] | None, error: S3poError) -> Outcome | None:
        """The outcome of a call that failed only because it was done before, by a run that could not record it."""
        operation = call.operation
        if isinstance(error, PreconditionFailed) and operation.startswith('upload'):
            info = is_ours(self._connection, call, entry.path)
            return None if info is None else Outcome(value=_result_of_info(call, info))
        if isinstance(error, PreconditionFailed) and operation == 'copy':
            info = is_copy(self._connection, call)
            return None if info is None else Outcome(value=_result_of_info(call, info))
        if operation == 'move' and isinstance(error, NotFound) and found is not None and found['state'] == 'stored':
            return Outcome(value=_result_of(call, found))
        is_done = (
            (operation == 'delete' and isinstance(error, NotFound))
            or (operation == 'delete_bucket' and isinstance(error, NoSuchBucket))
            or (operation == 'create_bucket' and isinstance(error, ResponseError) and error.code == 'BucketAlreadyOwnedByYou')
        )
        return Outcome(value=None) if is_done else None

    def _has_no_source(self, entry: Entry, call: Call, error: S3poError) -> bool:
        """Whether a call failed because its source, which it deletes at its end, does not exist."""
        if call.operation == 'move':
            return isinstance(error, NotFound)
        return self._deletes(entry, call) and isinstance(error, LocalError) and stat_of(str(entry.path)) is None

    def _record(self, entry: Entry, error: Exception | None, *, is_cancelled: bool) -> None:
        if entry.is_skipped and error is None:
            return
        if error is None:
            if entry.data_bytes >= 0 and _has_changed(entry):
                self._ledger.begin(entry)
            else:
                self._ledger.done(entry)
            return
        if entry.notes is not None and entry.notes.has_kept:
            self._kept += 1
        # What is stored stays so: the next run continues there.
        is_complete = entry.is_stored or (isinstance(error, CallbackError) and entry.is_skipped)
        if entry.has_begun and not is_cancelled and not is_complete and not self._ledger.is_broken:
            self._ledger.failed(entry, error)

    def _deletes(self, entry: Entry, call: Call) -> bool:
        if entry.path is None or not call.operation.startswith('upload'):
            return False
        delete = call.options.get('delete')
        return self._deletes_sources if delete is None else bool(delete)


def _is_delicate(call: Call) -> bool:
    """Whether a repetition may fail because the first run has succeeded."""
    options = call.options
    if call.operation == 'delete':
        return options.get('missing_ok') is False
    if call.operation.startswith('upload') or call.operation == 'copy':
        return options.get('if_none_match') is not None or options.get('if_match') is not None
    return call.operation in BUCKETS


def _is_small(entry: Entry, call: Call) -> bool:
    """Whether an upload has no parts."""
    if not call.operation.startswith('upload'):
        return False
    if entry.path is not None:
        return entry.stat is not None and entry.stat[0] <= SMALL_BYTES
    return 0 <= entry.data_bytes <= SMALL_BYTES


def _has_changed(entry: Entry) -> bool:
    """Whether the data of an upload changed in memory after it was submitted, so that the record would be of other data."""
    source = entry.call.options.get('source')
    if isinstance(source, bytes | str):
        return False
    try:
        return Identity(entry.call).hash != entry.hash
    except Exception:  # noqa: BLE001  (the caller may have closed or released it)
        return True


def _destination(call: Call) -> tuple[str, str]:
    if 'to_key' in call.options:
        return call.options['to_bucket'], call.options['to_key']
    return call.ref.bucket, call.ref.key


def _result_of(call: Call, found: Mapping[str, Any]) -> TransferResult | None:
    """The result of a transfer of an earlier run."""
    result = found.get('result')
    if result is None:
        return None
    bucket, key = _destination(call)
    return TransferResult(
        bucket=bucket,
        key=key,
        size_bytes=result['size_bytes'],
        etag=result['etag'],
        version_id=result.get('version_id'),
        checksum=result.get('checksum'),
        parts=result['parts'],
        attempts=0,
        seconds=0.0,
        skipped=True,
    )


def _result_of_info(call: Call, info: ObjectInfo) -> TransferResult:
    bucket, key = _destination(call)
    return TransferResult(
        bucket=bucket,
        key=key,
        size_bytes=info.size_bytes,
        etag=info.etag,
        version_id=info.version_id,
        checksum=info.checksum,
        parts=1,
        attempts=0,
        seconds=0.0,
        skipped=True,
    )


def _unrecorded(job: Job, failure: LocalError) -> LocalError:
    error = LocalError(
        f'{job.operation} {job.ref} was carried out, but not recorded: {failure}',
        errno=failure.errno,
        filename=failure.filename,
    )
    error.__cause__ = failure
    return error
