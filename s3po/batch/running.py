"""Runs one job of a batch: the call, then its callback.

Invariant: only the batch's own interruption cancels a job. A job that anything else ends has failed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import gevent

from s3po.batch.breaker import Breaker
from s3po.batch.job import Callback, Errback, Job
from s3po.batch.journaled import End
from s3po.batch.last_turns import LastTurns
from s3po.batch.limits import Performer
from s3po.batch.memory import KeptValues, perform_within
from s3po.batch.workers import Interruption, Worker
from s3po.checks import described
from s3po.errors import CallbackError, Cancelled, S3poError, TransferError
from s3po.jobs import Call
from s3po.memory import MemoryBudget
from s3po.model import Outcome
from s3po.observer import Activity, report
from s3po.runtime import leave_child, process

__all__ = ['Layer', 'Runner', 'activity_of']

# The classes of values that are bodies.
BODIES: Final = (bytes, str)


Perform = Callable[[Call], Outcome]
Around = Callable[[Job, Call, Perform], Outcome]


class Layer(Protocol):
    """Something around the connection, such as a journal. A batch without its feature has no such layer."""

    def perform(self, job: Job, call: Call, perform: Perform) -> Outcome:
        """Carry out the call of a job, by `perform` or without it."""
        ...


class Runner:
    """Carries out the jobs of one batch.

    Attributes:
        breaker: Holds up jobs whose scope fails; None while none does.
        size_bytes: The bytes that the successful jobs have moved.
        retries: Requests that were sent again.
    """

    def __init__(
        self,
        connection: Performer,
        end: End,
        job_timeout_s: float | None = None,
        memory: MemoryBudget | None = None,
        kept: KeptValues | None = None,
        layers: Sequence[Layer] = (),
    ) -> None:
        """
        Args:
            connection: Carries out calls.
            end: Called once for each job.
            job_timeout_s: The time limit of a job without its own; None for none.
            memory: The budget of the jobs; None for the connection's.
            kept: Limits the bodies that jobs keep as values; None if jobs are not kept.
            layers: What carries out the calls around the connection, the outermost first.
        """
        perform = connection.perform
        self._perform = perform if memory is None else functools.partial(perform_within, perform, memory)
        self._kept = kept
        self._layers = layers
        self._around: Around | None = None if not layers else layers[0].perform if len(layers) == 1 else self._through
        self._observer = connection.observer
        self._end = end
        self._job_timeout_s = job_timeout_s
        self._process = process.mark
        self._breaker: Breaker
        self._last_turns: LastTurns
        self.breaker: Breaker | None = None
        self.size_bytes = 0
        self.retries = 0

    def begin(self, breaker: Breaker, last_turns: LastTurns) -> None:
        """Set what failures are reported to; called once, before the first job."""
        self._breaker, self._last_turns = breaker, last_turns

    def watch(self, breaker: Breaker | None) -> None:
        """Consult the breaker for each job; None: for none."""
        self.breaker = breaker

    # In one function: a call takes 60 ns, and each job would make it.
    def run(self, job: Job, worker: Worker) -> None:  # noqa: PLR0912
        """Carry out one job, and end it or set it aside. Raises only exceptions that end the worker too."""
        assert job.call is not None
        worker.is_interruptible = True
        try:
            try:
                if self.breaker is not None and not self.breaker.admits(job):
                    worker.is_interruptible = False
                    return
                if job.refusal is not None:
                    raise self._refused(job)
                if job.turns:
                    self._last_turns.forget(job)
                job.turns += 1
                if self._observer is not None and job.turns == 1:
                    report(self._observer.began, activity_of(job))
                call = job.call if self._job_timeout_s is None else self._limited(job.call)
                outcome = self._perform(call) if self._around is None else self._around(job, call, self._perform)
            except Exception as error:
                self._stay_in_parent(error)
                worker.is_interruptible = False
                self._fail(job, error, worker)
            except BaseException as error:
                self._stay_in_parent(error)
                worker.is_interruptible = False
                if not self._interrupted(job, error, worker) and _must_go_on(error):
                    raise
            else:
                if self._process is not process.mark:
                    leave_child()
                worker.is_interruptible = False
                self.size_bytes += outcome.size_bytes
                self.retries += outcome.retries
                if self.breaker is not None:
                    self.breaker.succeeded(job)
                if job.callback is None:
                    kept = self._kept
                    if kept is not None and outcome.value.__class__ in BODIES:
                        kept.left_bytes -= outcome.size_bytes
                        if kept.left_bytes < 0:
                            kept.warn()
                    self._end(job, outcome.value, None)
                else:
                    self.call_back(job, worker, job.callback, outcome.value, None)
        finally:
            if self.breaker is not None:
                self.breaker.left(job)
            if not job.has_ended and self._process is process.mark and job not in worker.pool.aside:
                # A defect in s3po: without this, the batch would wait for ever.
                self._end(job, None, S3poError(f'{job.operation} {job.ref}: its result could not be reported'))

    def _through(self, job: Job, call: Call, perform: Perform, depth: int = 0) -> Outcome:
        """Carry out a call through the layers from this one on, and at last by `perform`."""
        if depth < len(self._layers) - 1:
            return self._layers[depth].perform(job, call, lambda inner: self._through(job, inner, perform, depth + 1))
        return self._layers[depth].perform(job, call, perform)

    def _limited(self, call: Call) -> Call:
        """The call with the batch's time limit, unless it has its own. A failed job does not keep that of its batch."""
        if call.options.get('timeout_s') is not None:
            return call
        return Call(call.operation, call.ref, {**call.options, 'timeout_s': self._job_timeout_s})

    def _interrupted(self, job: Job, error: BaseException, worker: Worker) -> bool:
        """End a job whose transfer was ended by an exception that is no Exception. Returns True if the batch has sent it."""
        is_own = error is worker.interruption
        if isinstance(error, Interruption) and is_own:
            # The errback may be interrupted too.
            worker.interruption = None
            self._stop(job, error.reason, worker)
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self._end(job, None, _foreign_end(job, error))
        else:
            self._fail(job, _foreign_end(job, error), worker)
        return is_own

    def _stay_in_parent(self, error: BaseException) -> None:
        """End a process that the transfer or callback forked: the job belongs to the parent."""
        if self._process is not process.mark:
            leave_child(error)

    def _fail(self, job: Job, error: Exception, worker: Worker) -> None:
        if job.refusal is not None:
            self._stop(job, error, worker)
            return
        if isinstance(error, TransferError):
            self.retries += error.attempts - 1
        self._breaker.failed(job, error)
        if self._last_turns.takes(job, error):
            return
        if job.errback is None:
            self._end(job, None, error)
        else:
            self.call_back(job, worker, job.errback, error, error)

    def _refused(self, job: Job) -> Exception:
        """The error of a job that is not carried out."""
        assert job.refusal is not None
        if job.has_mistake:
            job.turns += 1
            if self._observer is not None:
                report(self._observer.began, activity_of(job))
        return self._last_turns.forget(job) or job.refusal

    def _stop(self, job: Job, error: Exception, worker: Worker) -> None:
        """End a job that the batch has stopped, or never carries out; with its errback, if there is time for that."""
        is_cancelled = isinstance(error, Cancelled)
        if job.errback is None or worker.pool.is_hurried:
            self._end(job, None, error, is_cancelled=is_cancelled)
        else:
            self.call_back(job, worker, job.errback, error, error, is_cancelled=is_cancelled)

    def call_back(
        self,
        job: Job,
        worker: Worker,
        function: Callback | Errback,
        argument: Any,
        failure: Exception | None,
        *,
        is_cancelled: bool = False,
    ) -> None:
        """Call a callback or errback, and end the job with its result, its error, or the failure that the errback got."""
        job.is_read = failure is not None
        try:
            value = function(argument)
        except Exception as error:
            self._stay_in_parent(error)
            self._end(job, None, _callback_error(job, error, failure))
        except BaseException as error:
            self._stay_in_parent(error)
            if error is worker.interruption:
                is_cancelled = is_cancelled or (failure is None and isinstance(error.reason, Cancelled))
                self._end(job, None, failure or _interrupted_callback(job, error.reason), is_cancelled=is_cancelled)
                return
            self._end(job, None, _callback_error(job, error, failure))
            if _must_go_on(error):
                raise
        else:
            if self._process is not process.mark:
                leave_child()
            self._end(job, None if failure else value, failure, is_cancelled=is_cancelled)


def activity_of(job: Job) -> Activity:
    """The job, as observers see it."""
    return Activity(operation=job.operation, bucket=job.ref.bucket, key=job.ref.key)


def _callback_error(job: Job, error: BaseException, failure: Exception | None) -> CallbackError:
    """The error for a callback that raised or, with a failure, for an errback that raised."""
    raised = f'of {job.operation} {job.ref} raised {described(error)}'
    if failure is None:
        text = f'the callback {raised}; the transfer itself succeeded'
    else:
        text = f'the errback {raised}; it was called because the transfer failed: {failure}'
    found = CallbackError(text)
    found.__cause__ = error
    return found


def _interrupted_callback(job: Job, reason: Exception) -> Exception:
    """The error for a callback that the batch interrupted."""
    return type(reason)(f'{reason}; the callback of {job.operation} {job.ref} was ended, the transfer itself succeeded')


def _foreign_end(job: Job, error: BaseException) -> S3poError:
    """The error for a transfer that was ended from outside: by a kill, or by a gevent.Timeout of the program."""
    doing = f'{job.operation} {job.ref}'
    if isinstance(error, gevent.GreenletExit):
        found = S3poError(f'{doing} was killed by other code ({type(error).__name__})')
    else:
        found = S3poError(f'{doing} was ended by {described(error)}, which this batch did not send')
    found.__cause__ = error
    return found


def _must_go_on(error: BaseException) -> bool:
    """Whether an exception ends the worker too: a kill waits for that, and the others are for the program."""
    return isinstance(error, gevent.GreenletExit | KeyboardInterrupt | SystemExit)
