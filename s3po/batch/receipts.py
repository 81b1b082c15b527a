"""The receipts of a batch: one record for each job that has ended, with what the store confirmed.

The records are written to a temporary file without a name, so a batch of millions of jobs does not keep them in memory.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

from s3po.batch.job import Job
from s3po.batch.limits import Performer
from s3po.batch.spool import Spool
from s3po.body.local import local_errors
from s3po.config import KIB
from s3po.errors import LocalError
from s3po.jobs import Call, JobRecord
from s3po.model import DeleteReport, ListEntry, ObjectInfo, Outcome, TransferResult

__all__ = ['Receipts']

log = logging.getLogger(__name__)

# How much is kept in memory before it is written.
BUFFER_BYTES: Final = 256 * KIB


class Receipts:
    """Records the jobs of one batch, in its thread."""

    def __init__(self, connection: Performer) -> None:
        """
        Args:
            connection: Its endpoint stands in the records.
        """
        self._connection = connection
        # With the duration, and whether a journal has skipped the job.
        self._outcomes: dict[Job, tuple[Outcome, float, bool]] = {}
        self._lines: list[str] = []
        self._buffered_bytes = 0
        # Each of its records is many lines.
        self._spool: Spool | None = None
        self._failure: OSError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The file belongs to this process; a pickled BatchReport has only figures.
        return type(None), ()

    def perform(self, job: Job, call: Call, perform: Callable[[Call], Outcome]) -> Outcome:
        """Carry out a call by `perform`, and note its outcome and duration."""
        began_at = time.monotonic()
        outcome = perform(call)
        entry = getattr(job, 'entry', None)
        is_skipped = (entry is not None and entry.is_skipped) or (
            isinstance(outcome.value, TransferResult) and outcome.value.skipped
        )
        self._outcomes[job] = outcome, time.monotonic() - began_at, is_skipped
        return outcome

    def add(self, job: Job, error: BaseException | None, *, is_cancelled: bool) -> None:
        """Record a job that ends.

        Args:
            job: The job, which still has its call.
            error: Why it failed; None if it succeeded.
            is_cancelled: Whether it was cancelled.
        """
        outcome, seconds, is_skipped = self._outcomes.pop(job, (None, 0.0, False))
        assert job.call is not None
        record = JobRecord(
            call=job.call,
            endpoint=self._connection.endpoint_url,
            is_silent=job.is_silent,
            state=_state_of(job, error, is_skipped=is_skipped, is_cancelled=is_cancelled),
            result=None if outcome is None else _result_of(job.call, outcome, seconds),
            error=error,
        )
        line = json.dumps(record.to_json()) + '\n'
        self._lines.append(line)
        # JSON is ASCII here.
        self._buffered_bytes += len(line)
        if self._buffered_bytes > BUFFER_BYTES:
            self._spill()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the records of all jobs that have ended. The file is replaced when all is written.

        Raises:
            LocalError: The file cannot be written, or the temporary file could not be: the disk is full.
        """
        if self._failure is not None:
            raise LocalError(
                f'the receipts are incomplete: their temporary file in {tempfile.gettempdir()} could not be written '
                f'({self._failure}); set TMPDIR to a directory with more room',
                errno=self._failure.errno,
            ) from self._failure
        name = os.fsdecode(path)
        with local_errors('write', name):
            with open(f'{name}.part', 'wb') as target:
                if self._spool is not None:
                    target.writelines(map(self._spool.__getitem__, range(len(self._spool))))
                target.writelines(line.encode() for line in self._lines)
            os.replace(f'{name}.part', name)

    def _spill(self) -> None:
        """Write the lines in memory to the temporary file."""
        lines, self._lines, self._buffered_bytes = self._lines, [], 0
        if self._failure is not None:
            return
        try:
            if self._spool is None:
                self._spool = Spool()
            self._spool.append(''.join(lines).encode())
        except OSError as error:
            # The jobs go on: save() raises the error.
            self._failure = error
            log.warning('the receipts of the batch cannot be written: %s', error)


def _state_of(job: Job, error: BaseException | None, *, is_skipped: bool, is_cancelled: bool) -> str:
    if error is None:
        return 'skipped' if is_skipped else 'done'
    if not job.turns:
        return 'not_started'
    return 'cancelled' if is_cancelled else 'failed'


def _result_of(call: Call, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """What the store confirmed, and how it was transferred."""
    value = outcome.value
    result: dict[str, Any] = {}
    if isinstance(value, TransferResult):
        result = {**_described(value), 'parts': value.parts, 'attempts': value.attempts, 'warnings': list(value.warnings)}
    elif outcome.described is not None:
        result = {**_described(outcome.described.info), 'attempts': 1 + outcome.retries}
    elif isinstance(value, ObjectInfo):
        result = {**_described(value), 'attempts': 1 + outcome.retries}
    elif isinstance(value, DeleteReport):
        failed = [{'key': each.key, 'version_id': each.version_id, 'error': str(each.error)} for each in value.failed]
        result = {'deleted': value.deleted, 'failed': failed}
    elif isinstance(value, bool):
        result = {'exists': value}
    elif isinstance(value, list):
        result = {'keys': sum(isinstance(each, ListEntry) for each in value)}
    result |= {
        'moved_bytes': outcome.size_bytes,
        'local_bytes': _local_bytes(call),
        'seconds': round(seconds, 6),
        'ended_at': datetime.datetime.now(datetime.UTC).isoformat(timespec='milliseconds'),
    }
    return {name: each for name, each in result.items() if each not in (None, [])}


def _described(stored: TransferResult | ObjectInfo) -> dict[str, Any]:
    return {
        'size_bytes': stored.size_bytes,
        'etag': stored.etag,
        'version_id': stored.version_id,
        'checksum': stored.checksum,
    }


def _local_bytes(call: Call) -> int | None:
    """The size of the file that a download has written; None for other calls."""
    path = call.options.get('target' if call.operation == 'download' else 'path')
    if not call.operation.startswith('download') or not isinstance(path, str | os.PathLike):
        return None
    try:
        return os.stat(path).st_size
    except OSError:
        # Removed or moved by the callback of another job, or no file.
        return None
