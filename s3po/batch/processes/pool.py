"""Carries out calls in worker processes: a Layer of s3po.batch.running."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
import pickle
from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event
import gevent.lock

from s3po.batch.job import Job
from s3po.batch.limits import Performer, WorkerForm
from s3po.batch.processes.channel import Message
from s3po.batch.processes.child import WorkerProcess, check_program
from s3po.batch.processes.limit import TimeLimit
from s3po.batch.processes.messages import Fields, packed_call, packed_error, unpacked_error, unpacked_outcome
from s3po.batch.processes.relays import NotesRelay, Sequence, pass_on, state_of
from s3po.batch.processes.shares import Shares
from s3po.batch.workers import Interruption
from s3po.checks import is_seconds
from s3po.errors import Cancelled, WorkerLost
from s3po.governor import RequestLoad
from s3po.jobs import Call
from s3po.model import Outcome
from s3po.observer import Observer
from s3po.runtime import GRACE_S, CleanUps, outlast, process, spawn

__all__ = ['ProcessPool']

log = logging.getLogger(__name__)

# A job whose workers were lost this often fails.
MAX_LOST: Final = 2
# How long the end of a lost process is awaited, for its status.
STATUS_S: Final = 1.0
# How long leaving the batch waits for the ends of the worker processes. Usually they take less.
CLOSE_S: Final = 0.25
# A worker process that has not started after this time is killed, if a job with a timeout_s waits for it.
START_S: Final = 60.0

ANSWERS: Final = frozenset({'done', 'failed', 'yours'})


class _Sent:
    """A call that a worker process carries out, for the greenlet that waits for it.

    Attributes:
        answer: The answer; None before it has arrived.
        greenlet: The greenlet.
        late: Set by the answer, if the greenlet was interrupted and waits for the end of the clean-up.
        notes: Writes the notes of the call to the journal; None without a journal.
        observer: The call's own observer; None for none.
    """

    __slots__ = ('answer', 'greenlet', 'late', 'notes', 'observer')

    def __init__(self, notes: NotesRelay | None, observer: Observer | None) -> None:
        self.answer: Message | None = None
        self.greenlet: Any = gevent.getcurrent()
        self.late: gevent.event.Event | None = None
        self.notes = notes
        self.observer = observer

    def take(self, answer: Message) -> None:
        """Take the answer, and continue with the greenlet. Called in the event loop."""
        self.answer = answer
        if self.late is None:
            self.greenlet.switch()
        else:
            self.late.set()


class ProcessPool:
    """A performer of calls for one batch. Belongs to the batch's thread.

    The processes are started with the first call. Calls that cannot be sent, and all calls while a mock is active, are carried
    out in this process.
    """

    def __init__(self, connection: Performer, size: int, processes: int, *, max_memory: int | None, describes: bool) -> None:
        """
        Args:
            connection: Carries out what the worker processes cannot.
            size: The number of calls at once, in all processes together.
            processes: The number of worker processes; at most `size` are started, and at most max_requests of the connection.
            max_memory: The limit of all of them together; None for the connection's.
            describes: Whether the outcomes of downloads into memory need the descriptions of the objects.

        Raises:
            ConfigurationError: The connection cannot be sent to other processes, or none can be started.
        """
        self._connection = connection
        self._size = size
        self._count = min(processes, size)
        self._max_memory = max_memory
        self._describes = describes
        self._workers: list[WorkerProcess] = []
        self._shares = Shares(connection, self._workers)
        self._form: WorkerForm | None = None
        if not connection.is_mocked:
            self._form = self._formed()
        self._starting = gevent.lock.RLock()
        self._failure = ''
        self._is_closed = False
        self._numbers = itertools.count()
        self._cleanups = CleanUps()
        self._process = process.mark
        # Reports the events of requests, in their order.
        self._events = Sequence()
        self._is_observed = False
        # Logs the records of worker processes: the program's log handlers may wait.
        self._log_records = Sequence()

    def __repr__(self) -> str:
        return f'<ProcessPool {self._workers}>'

    def perform(self, job: Job, call: Call, perform: Callable[[Call], Outcome]) -> Outcome:
        """Carry out a call in a worker process; if that is lost, again in another one; or in this process, by `perform`.

        Raises:
            WorkerLost: Two worker processes were lost, or none can be started.
            BaseException: The error of the call.
        """
        fields = None if self._connection.is_mocked else packed_call(call)
        if fields is None:
            return self._perform_here(call, perform)
        return self._carry_out(call, fields, perform)

    def request_load(self) -> Callable[[], RequestLoad]:
        """A function that returns the present figures of all processes' requests. Any thread may call it."""
        return self._shares.load()

    def renew_credentials(self) -> None:
        """Read the keys again from their source, here and in the worker processes: the store rejects them.

        Raises:
            CredentialsError: They cannot be read.
        """
        self._connection.renew_credentials()
        if self._workers and self._form is not None:
            keys = self._form.fixed_keys()
            for worker in self._workers:
                worker.channel.send(('renew', keys))

    def close(self) -> None:
        """End the worker processes. In the main thread, waits for a moment; then the rest happens in the background."""
        self._is_closed = True
        self._shares.close()
        workers = list(self._workers)
        if workers:
            doing = f'the end of the worker processes {", ".join(str(worker.pid) for worker in workers)}'
            # Nothing happens in the background of a native thread that ends.
            patience_s = CLOSE_S if gevent.get_hub().main_hub else math.inf
            self._cleanups.run(
                lambda: gevent.joinall([spawn(self._dismiss, worker) for worker in workers]), doing, patience_s=patience_s
            )

    def _dismiss(self, worker: WorkerProcess) -> None:
        worker.end()
        self._abort_uploads(worker)

    def _abort_uploads(self, worker: WorkerProcess) -> None:
        """Abort the uploads that a process has left."""
        uploads, worker.uploads = worker.uploads, {}
        for upload_id, (bucket, key, extra) in uploads.items():
            self._connection.abort_in_background(bucket, key, upload_id, extra)

    def _carry_out(self, call: Call, fields: Fields, perform: Callable[[Call], Outcome]) -> Outcome:
        lost: list[str] = []
        timeout_s = call.options.get('timeout_s')
        limit = None if timeout_s is None or not is_seconds(timeout_s) else TimeLimit(call, timeout_s)
        while True:
            worker = self._least_loaded()
            if limit is None:
                answer = self._ask(worker, call, fields)
            elif worker.is_ready:
                answer = limit.hold(lambda: self._ask(worker, call, fields))  # noqa: B023  (called at once)
            else:
                # Its start does not count.
                if not worker.settled.wait(START_S):
                    worker.kill()
                continue
            kind = answer[0]
            if kind == 'done':
                return unpacked_outcome(answer[2], call)
            if kind == 'failed':
                raise unpacked_error(answer[2])
            if kind == 'yours':
                return self._perform_here(call, perform)
            if worker.is_ready:
                lost.append(answer[2])
            if len(lost) == MAX_LOST:
                pids = tuple(int(text.split()[2]) for text in lost)
                raise WorkerLost(f'{call}: {" and ".join(lost)} while it was carried out', pids=pids)

    def _perform_here(self, call: Call, perform: Callable[[Call], Outcome]) -> Outcome:
        self._shares.in_parent += 1
        try:
            return perform(call)
        finally:
            self._shares.in_parent -= 1

    def _ask(self, worker: WorkerProcess, call: Call, fields: Fields) -> Message:
        """Send a call to a worker process, and wait for the answer."""
        options = call.options
        notes, observer = options.get('notes'), options.get('observer')
        sent = _Sent(None if notes is None else NotesRelay(notes), observer)
        extras = None if notes is observer is None else (state_of(notes), observer is not None)
        number = next(self._numbers)
        worker.jobs[number] = sent
        worker.channel.send(('job', number, fields, extras))
        hub = gevent.get_hub()
        try:
            while sent.answer is None:
                hub.switch()
        except BaseException as error:
            if self._process is process.mark:
                _stop(worker, number, sent, error)
            raise
        return sent.answer

    def _least_loaded(self) -> WorkerProcess:
        if len(self._workers) < self._count or not self._workers:
            self._staff()
        best = self._workers[0]
        for worker in self._workers:
            if len(worker.jobs) < len(best.jobs):
                best = worker
        return best

    def _formed(self) -> WorkerForm:
        check_program()
        form = self._connection.worker_form()
        if form.max_requests is not None:
            # Each process sends one request at least.
            self._count = min(self._count, form.max_requests)
            self._shares.max_requests = form.max_requests
        return form

    def _staff(self) -> None:
        """Start the processes that are missing."""
        with self._starting:
            if self._is_closed:
                raise Cancelled('the batch is closed, and its worker processes have ended')
            if not self._count:
                raise WorkerLost(self._failure)
            if self._form is None:
                # The batch was made while a mock was active.
                self._form = self._formed()
            if len(self._workers) < self._count:
                hello = {
                    **self._form.packed(self._max_memory),
                    'width': -(-self._size // self._count),
                    'describes': self._describes,
                    'is_observed': self._connection.observer is not None,
                    'levels': _levels(),
                    'parent': os.getpid(),
                }
                while len(self._workers) < self._count:
                    self._start(hello)
                self._shares.begin()

    def _start(self, hello: dict[str, Any]) -> None:
        try:
            worker = WorkerProcess(self._receive, self._lose)
        except OSError as error:
            self._count = len(self._workers)
            self._failure = f'a worker process cannot be started: {error}'
            if not self._workers:
                raise WorkerLost(self._failure) from error
            log.warning('%s; the batch continues with %d', self._failure, self._count)
            return
        worker.channel.send(('hello', pickle.dumps(hello)))
        self._workers.append(worker)

    # --- called in the event loop

    def _receive(self, worker: WorkerProcess, messages: list[Message]) -> None:
        jobs = worker.jobs
        for message in messages:
            kind, number = message[0], message[1]
            if kind in ANSWERS:
                sent = jobs.pop(number, None)
                if sent is None:
                    continue
                if sent.notes is None and not self._is_observed:
                    sent.take(message)
                else:
                    self._take_in_order(sent, message)
            else:
                self._take_other(worker, message)

    def _take_other(self, worker: WorkerProcess, message: Message) -> None:
        """Take a message that is no answer."""
        kind, number, jobs = message[0], message[1], worker.jobs
        if kind == 'note':
            if number in jobs and jobs[number].notes is not None:
                jobs[number].notes.put(message, worker.channel.send)
        elif kind == 'event':
            observer = self._connection.observer if number is None else jobs[number].observer if number in jobs else None
            if observer is not None:
                self._is_observed = True
                self._events.add(functools.partial(pass_on, observer, message))
        elif kind == 'upload':
            if message[4] is None:
                worker.uploads.pop(number, None)
            else:
                worker.uploads[number] = message[2:]
        elif kind == 'load':
            worker.load = RequestLoad(width=number, in_flight=message[2], throttled=message[3])
        elif kind == 'log':
            self._log_records.add(functools.partial(_log, number))
        elif kind == 'keys':
            spawn(self._renew_keys, worker, number, message[2])
        elif kind == 'ready':
            worker.started()

    def _take_in_order(self, sent: _Sent, answer: Message) -> None:
        """Take an answer after all notes of the call are written and all events are reported."""

        def take() -> None:
            # In the event loop: from a greenlet, the switch to another one would not return.
            gevent.get_hub().loop.run_callback(sent.take, answer)

        if sent.notes is None:
            self._events.add(take)
        else:
            sent.notes.sequence.add(lambda: self._events.add(take))

    def _renew_keys(self, worker: WorkerProcess, request: int, known: Any) -> None:
        try:
            assert self._form is not None
            worker.channel.send(('keys', request, self._form.keys(known), None))
        except Exception as error:  # noqa: BLE001  (the error of the calls that need the keys)
            worker.channel.send(('keys', request, None, packed_error(error)))

    def _lose(self, worker: WorkerProcess) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self._shares.lose(worker)
            if not worker.is_ready:
                # It is not started again; a process that is lost later is.
                self._count -= 1
                self._failure = f'the worker process {worker.pid} could not start'
        if not self._is_closed:
            spawn(self._bury, worker)

    def _bury(self, worker: WorkerProcess) -> None:
        """Take the jobs of a worker process that has ended back."""
        if not worker.wait(STATUS_S):
            # It has closed its socket, or is cleaning up because this process has.
            spawn(self._dismiss, worker)
        how = worker.how_it_ended()
        worker.close()
        if worker.is_ready:
            log.warning('%s; its %d jobs are carried out again by another one', how, len(worker.jobs))
        else:
            self._failure = f'a worker process could not start: {how}'
            if self._count:
                log.warning('%s; the batch continues with %d', self._failure, self._count)
        jobs, worker.jobs = worker.jobs, {}
        for number, sent in jobs.items():
            # The next worker needs the notes that this one has made.
            self._take_in_order(sent, ('lost', number, how))
        worker.settled.set()
        self._abort_uploads(worker)


def _stop(worker: WorkerProcess, number: int, sent: _Sent, error: BaseException) -> None:
    """Interrupt a call in its worker process, and wait for the end of its clean-up for a moment.

    Raises:
        BaseException: A graver exception than `error`, which was raised meanwhile.
    """
    reason = error.reason if isinstance(error, Interruption) else Cancelled(f'interrupted by {type(error).__name__}')
    sent.late = gevent.event.Event()
    worker.channel.send(('stop', number, packed_error(reason)))
    # The event loop may not run again.
    worker.channel.flush()
    graver = outlast(sent.late.wait, error, patience_s=GRACE_S)
    if graver is not None and graver is not error:
        raise graver


def _levels() -> dict[str, int]:
    """The levels of all loggers that have one."""
    loggers = logging.root.manager.loggerDict
    found = {
        name: logger.level for name, logger in list(loggers.items()) if isinstance(logger, logging.Logger) and logger.level
    }
    return {'': logging.root.level, **found}


def _log(fields: dict[str, Any]) -> None:
    """Log a record of a worker process, as one of this process."""
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    try:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except Exception:  # noqa: BLE001  (a handler of the program may raise anything; there is no caller to raise it in)
        logging.Handler().handleError(record)
