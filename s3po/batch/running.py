"""One job of a batch: the call, then its callback; and what it fails with when something else than the batch ends it.

Invariant: a job that anything but the batch's own interruption ends has failed, and is no job that was cancelled.
"""

from __future__ import annotations

from typing import Any, Protocol

import gevent

from s3po.batch.job import Callback, Errback, Job
from s3po.batch.limits import Performer
from s3po.batch.workers import Interruption, Worker
from s3po.checks import described
from s3po.errors import CallbackError, Cancelled, S3poError, TransferError
from s3po.runtime import leave_child, process

__all__ = ['Runner']


class End(Protocol):
    """Ends a job with a value or an error."""

    def __call__(self, job: Job, value: Any, error: Exception | None, *, is_cancelled: bool = False) -> None: ...


class Runner:
    """Carries out the jobs of one batch.

    Attributes:
        size_bytes: The bytes that the jobs that went well have moved.
        retries: The requests that had to be sent again.
    """

    def __init__(self, connection: Performer, end: End) -> None:
        """
        Args:
            connection: Carries out calls.
            end: Called once for each job.
        """
        self._connection = connection
        self._end = end
        self._process = process.mark
        self.size_bytes = 0
        self.retries = 0

    def run(self, job: Job, worker: Worker) -> None:
        """Carry out one job, and end it. Raises only what ends its worker too."""
        assert job.call is not None
        worker.is_interruptible = True
        try:
            try:
                if job.refusal is not None:
                    raise job.refusal
                outcome = self._connection.perform(job.call)
            except Exception as error:
                self._stay_in_parent(error)
                worker.is_interruptible = False
                self._fail(job, error, worker)
            except BaseException as error:
                self._stay_in_parent(error)
                worker.is_interruptible = False
                self._interrupted(job, error, worker)
                if error is not worker.interruption and _must_go_on(error):
                    raise
            else:
                if self._process is not process.mark:
                    leave_child()
                worker.is_interruptible = False
                self.size_bytes += outcome.size_bytes
                self.retries += outcome.retries
                if job.callback is None:
                    self._end(job, outcome.value, None)
                else:
                    self._call_back(job, worker, job.callback, outcome.value, None)
        finally:
            if not job.has_ended and self._process is process.mark:
                # A defect. The batch would wait for ever.
                self._end(job, None, S3poError(f'{job.operation} {job.ref}: its result could not be reported'))

    def _interrupted(self, job: Job, error: BaseException, worker: Worker) -> None:
        """End a job whose transfer was ended by something that is no Exception."""
        if isinstance(error, Interruption) and error is worker.interruption:
            self._end(job, None, error.reason, is_cancelled=isinstance(error.reason, Cancelled))
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self._end(job, None, _foreign_end(job, error))
        else:
            self._fail(job, _foreign_end(job, error), worker)

    def _stay_in_parent(self, error: BaseException) -> None:
        """End the process if it was forked by a transfer or callback that raised this: the job belongs to the parent."""
        if self._process is not process.mark:
            leave_child(error)

    def _fail(self, job: Job, error: Exception, worker: Worker) -> None:
        if isinstance(error, TransferError):
            self.retries += error.attempts - 1
        if job.errback is None:
            self._end(job, None, error)
            return
        job.is_read = True
        self._call_back(job, worker, job.errback, error, error)

    def _call_back(
        self, job: Job, worker: Worker, function: Callback | Errback, argument: Any, failure: Exception | None
    ) -> None:
        """Call the caller's function, and end the job with what it returns or raises, or with the failure it was told."""
        try:
            value = function(argument)
        except Exception as error:
            self._stay_in_parent(error)
            self._end(job, None, _callback_error(job, error, failure))
        except BaseException as error:
            self._stay_in_parent(error)
            if error is worker.interruption:
                is_cancelled = failure is None and isinstance(error.reason, Cancelled)
                self._end(job, None, failure or _interrupted_callback(job, error.reason), is_cancelled=is_cancelled)
                return
            self._end(job, None, _callback_error(job, error, failure))
            if _must_go_on(error):
                raise
        else:
            if self._process is not process.mark:
                leave_child()
            self._end(job, None if failure else value, failure)


def _callback_error(job: Job, error: BaseException, failure: Exception | None) -> CallbackError:
    """A callback raised, or (where `failure` is what it was told) an errback did."""
    raised = f'of {job.operation} {job.ref} raised {described(error)}'
    if failure is None:
        text = f'the callback {raised}; the transfer itself succeeded'
    else:
        text = f'the errback {raised}; it was told that the transfer failed: {failure}'
    found = CallbackError(text)
    found.__cause__ = error
    return found


def _interrupted_callback(job: Job, reason: Exception) -> Exception:
    """The batch ended a callback."""
    return type(reason)(f'{reason}; the callback of {job.operation} {job.ref} was ended, the transfer itself succeeded')


def _foreign_end(job: Job, error: BaseException) -> S3poError:
    """A transfer was ended by what is no Exception, and not sent by the batch: a kill, or a time limit of the caller's own."""
    doing = f'{job.operation} {job.ref}'
    if isinstance(error, gevent.GreenletExit):
        found = S3poError(f'{doing} was killed by other code ({type(error).__name__})')
    else:
        found = S3poError(f'{doing} was ended by {described(error)}, which this batch did not send')
    found.__cause__ = error
    return found


def _must_go_on(error: BaseException) -> bool:
    """Whether an exception ends the worker too: its killer waits for that, and the others are the program's."""
    return isinstance(error, gevent.GreenletExit | KeyboardInterrupt | SystemExit)
