"""Stops sending requests that are bound to fail: one circuit breaker for each scope of a batch.

A scope is what fails as a whole: the credentials of a connection, a bucket, an operation on a bucket, a file system. A copy to
another store has those of both connections. After several failures in a row the jobs of a scope are set aside, one remedy is
tried, and one job probes. If it succeeds, the others follow. If it fails in the same way, the scope stops: its other jobs are
not started. Other scopes are not affected.

Invariant: while a scope is held up, a probe is under way, or the next job of the scope becomes the probe. So no job waits for
ever.
"""

from __future__ import annotations

import collections
import enum
import errno
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
import gevent.event

from s3po.batch.job import Job
from s3po.batch.workers import WorkerPool
from s3po.errors import (
    AccessDenied,
    BreakerOpen,
    CredentialsError,
    CredentialsExpired,
    LocalError,
    NoSuchBucket,
    S3poError,
    TransferError,
)
from s3po.jobs.durable import plain_endpoint
from s3po.runtime import Task
from s3po.s3.status import EXPIRED_CODES

__all__ = ['Breaker']

log = logging.getLogger(__name__)

# How many failures in a row hold up a scope.
LIMIT: Final = 5
# S3 refuses requests for missing keys with AccessDenied where listing is not allowed, so more of these are needed.
ACCESS_LIMIT: Final = 20
# From the last of these failures to the probe: other clients may create the bucket, and failed downloads free their space.
PAUSE_S: Final = 0.5
# The longest time for reading the credentials again.
REMEDY_S: Final = 30.0
# How many jobs of a scope are set aside; then the workers wait.
MAX_ASIDE: Final = 10_000
# After so many jobs in a row for a scope that has stopped, further ones are not accepted.
MAX_REFUSED: Final = 100
# How many scopes with failures are watched; then all that are not held up are forgotten.
MAX_SCOPES: Final = 1000

CREDENTIALS: Final = 'credentials'
BUCKET: Final = 'bucket'
ACCESS: Final = 'access'
DISK: Final = 'disk'
# The kind of a scope, and what it applies to. That of a connection has its id: 0 for the connection of the batch.
Key = tuple[Any, ...]
OWN: Final = 0

# Codes of AccessDenied that mean that the store rejects the keys, whatever the request.
REJECTED_CODES: Final = EXPIRED_CODES | {
    'InvalidAccessKeyId',
    'SignatureDoesNotMatch',
    'InvalidClientTokenId',
    'RequestExpired',
}
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class _State(enum.Enum):
    CLOSED = enum.auto()
    PAUSED = enum.auto()
    PROBING = enum.auto()
    STOPPED = enum.auto()


class _Scope:
    """One scope that has failures.

    Attributes:
        key: Its kind, and what it applies to.
        name: Its name in messages.
        to: The other connection, if it is that of a copy's destination; kept while its id is in use.
        failures: The failures in a row.
        error: The last of them.
        state: CLOSED: jobs are carried out. PAUSED and PROBING: they are set aside. STOPPED: they end.
        aside: The jobs that were set aside.
        probe: The job that probes; None for none.
        has_changed: Set when the jobs are no longer set aside.
        reason: The error of its jobs, once it has stopped.
    """

    __slots__ = ('aside', 'error', 'failures', 'has_changed', 'key', 'name', 'probe', 'reason', 'state', 'to')

    def __init__(self, key: Key, name: str, to: Any) -> None:
        self.key = key
        self.name = name
        self.to = to
        self.failures = 0
        self.error: Exception | None = None
        self.state = _State.CLOSED
        self.aside: collections.deque[Job] = collections.deque()
        self.probe: Job | None = None
        self.has_changed = gevent.event.Event()
        self.reason: BreakerOpen | None = None

    @property
    def limit(self) -> int:
        """How many failures in a row hold it up."""
        return ACCESS_LIMIT if self.key[0] is ACCESS else LIMIT

    def is_closed_to(self, job: Job) -> bool:
        """Whether the job must wait."""
        if self.state is _State.PAUSED:
            return True
        return self.state is _State.PROBING and self.probe is not None and self.probe is not job


class Breaker:
    """The circuit breaker of one batch."""

    def __init__(
        self,
        workers: WorkerPool,
        *,
        renew_credentials: Callable[[], object],
        stop: Callable[[BreakerOpen], None],
        watch: Callable[[Breaker | None], None],
    ) -> None:
        """
        Args:
            workers: The workers of the batch.
            renew_credentials: Reads the credentials of the connection again from their source.
            stop: Stops the batch.
            watch: Called with the breaker when jobs have to pass it, and with None when they no longer have to.
        """
        self._workers = workers
        self._renew_credentials = renew_credentials
        self._stop_batch = stop
        self._set_watch = watch
        self._scopes: dict[Key, _Scope] = {}
        self._tasks: set[Task] = set()
        # How many jobs in a row were submitted for scopes that had stopped.
        self._refused = 0

    def admits(self, job: Job) -> bool:
        """Whether a job is carried out now, or ends now with its refusal. Otherwise it was set aside. May wait."""
        if job.refusal is not None:
            return True
        while True:
            scopes = [scope for key in self._keys(job) if (scope := self._scopes.get(key)) is not None]
            for scope in scopes:
                if scope.reason is not None:
                    job.refusal = scope.reason
                    return True
            held = next((scope for scope in scopes if scope.is_closed_to(job)), None)
            if held is None:
                break
            if len(held.aside) < MAX_ASIDE:
                held.aside.append(job)
                self._workers.set_aside(job)
                return False
            held.has_changed.clear()
            held.has_changed.wait()
        for scope in scopes:
            if scope.state is _State.PROBING:
                scope.probe = job
        return True

    def refusal(self, job: Job) -> BreakerOpen | None:
        """The error that stopped a scope of the job; None if none has stopped."""
        found = (self._scopes.get(key) for key in self._keys(job))
        return next((scope.reason for scope in found if scope is not None and scope.reason is not None), None)

    def refuses(self, job: Job) -> BreakerOpen | None:
        """The error for a job that is not queued: the last ones were all for scopes that have stopped; None for other jobs."""
        reason = self.refusal(job)
        self._refused = 0 if reason is None else self._refused + 1
        return reason if self._refused > MAX_REFUSED else None

    def succeeded(self, job: Job) -> None:
        """A job has succeeded: its scopes work."""
        for key in list(self._keys(job)):
            scope = self._scopes.get(key)
            if scope is not None and scope.state is not _State.STOPPED:
                del self._scopes[key]
                self._reopen(scope)
        self._watch()

    def failed(self, job: Job, error: Exception) -> None:
        """A job has failed."""
        found = _classified(job, error)
        if found is None:
            return
        key, name, to = found
        scope = self._scopes.get(key)
        if scope is None:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes = {key: scope for key, scope in self._scopes.items() if scope.state is not _State.CLOSED}
            scope = self._scopes[key] = _Scope(key, name, to)
            self._watch()
        scope.failures += 1
        scope.error = error
        if scope.state is _State.PROBING and scope.probe is job:
            self._stop(scope)
        elif scope.state is _State.CLOSED and scope.failures >= scope.limit:
            self._pause(scope)

    def left(self, job: Job) -> None:
        """A job has ended, or was cancelled: if it was a probe without a result, another one probes."""
        for scope in list(self._scopes.values()):
            if scope.probe is job and scope.state is _State.PROBING:
                self._probe(scope)

    def close(self) -> None:
        """End what runs in the background."""
        for task in list(self._tasks):
            task.end_later()

    def _keys(self, job: Job) -> Iterator[Key]:
        """The scopes of a job."""
        call = job.call
        if call is None:
            return
        operation = _plain_operation(job)
        yield CREDENTIALS, OWN
        yield BUCKET, OWN, job.ref.bucket
        yield ACCESS, OWN, job.ref.bucket, operation
        if 'to_bucket' in call.options:
            to, bucket = call.options.get('to'), call.options['to_bucket']
            store = OWN if to is None else id(to)
            yield BUCKET, store, bucket
            if to is not None:
                yield CREDENTIALS, store
                yield ACCESS, store, bucket, operation
        if any(key[0] is DISK for key in self._scopes) and (device := _device_of(job)) is not None:
            yield DISK, device

    def _pause(self, scope: _Scope) -> None:
        scope.state = _State.PAUSED
        log.warning(
            '%s: %d jobs in a row have failed; the others wait for one that probes: %s', scope.name, scope.failures, scope.error
        )
        task = Task(self._mend, scope)
        self._tasks.add(task)
        task.link(self._tasks.discard)
        task.start()

    def _mend(self, scope: _Scope) -> None:
        """Try the remedy of a scope, then let one job probe."""
        try:
            gevent.sleep(PAUSE_S)
            if scope.key[0] is CREDENTIALS and scope.state is _State.PAUSED:
                with gevent.Timeout(REMEDY_S, TimeoutError(f'the credentials were not read within {REMEDY_S:.0f} s')):
                    (self._renew_credentials if scope.to is None else scope.to.renew_credentials)()
        except Exception as error:  # noqa: BLE001  (the caller's source of keys may raise anything; the probe decides)
            log.warning('%s: reading them again has failed: %s', scope.name, error)
        finally:
            if scope.state is _State.PAUSED:
                scope.state = _State.PROBING
                self._probe(scope)

    def _probe(self, scope: _Scope) -> None:
        """Let one job of those that wait probe. If none waits, the next job that comes is the probe."""
        scope.probe = None
        while scope.aside:
            job = scope.aside.popleft()
            if job in self._workers.aside and not job.has_ended:
                scope.probe = job
                self._workers.bring_back(job)
                break
        scope.has_changed.set()

    def _reopen(self, scope: _Scope) -> None:
        if scope.state is not _State.CLOSED:
            log.warning('%s: a job has succeeded; the batch goes on with it', scope.name)
        scope.state = _State.CLOSED
        scope.probe = None
        while scope.aside:
            self._workers.bring_back(scope.aside.popleft())
        scope.has_changed.set()

    def _stop(self, scope: _Scope) -> None:
        reason = BreakerOpen(
            f'{scope.name}: stopped after {scope.failures} failures. {_advice(scope)}. The last one: {scope.error}'
        )
        reason.__cause__ = scope.error
        scope.state = _State.STOPPED
        scope.reason = reason
        scope.probe = None
        log.error('%s', reason)
        while scope.aside:
            # They end when it is their turn.
            self._workers.bring_back(scope.aside.popleft())
        scope.has_changed.set()
        if scope.key == (CREDENTIALS, OWN):
            self._stop_batch(reason)

    def _watch(self) -> None:
        self._set_watch(self if self._scopes else None)


def _classified(job: Job, error: Exception) -> tuple[Key, str, Any] | None:
    """The scope whose fault an error is, its name and its other connection; None for an error of the job alone."""
    call = job.call
    if call is None:
        return None
    found = error.__cause__ if isinstance(error, TransferError) else error
    if isinstance(found, LocalError):
        device = _device_of(job) if found.errno in FULL else None
        return None if device is None else ((DISK, device), f'the file system of {found.filename}', None)
    to, store, whose, bucket = None, OWN, '', job.ref.bucket
    if isinstance(found, S3poError) and found.is_of_other_store:
        to, bucket = call.options['to'], call.options['to_bucket']
        store, whose = id(to), f' of the other store ({plain_endpoint(to.endpoint_url) or "AWS"})'
    if isinstance(found, CredentialsError | CredentialsExpired) or (
        isinstance(found, AccessDenied) and found.code in REJECTED_CODES
    ):
        return (CREDENTIALS, store), f'the credentials of the connection{whose}', to
    if isinstance(found, NoSuchBucket):
        if call.options.get('to') is None:
            # A copy within the store has read its source before.
            bucket = call.options.get('to_bucket', bucket)
        return (BUCKET, store, bucket), f'bucket {bucket}{whose}', to
    if isinstance(found, AccessDenied):
        operation = _plain_operation(job)
        return (ACCESS, store, bucket, operation), f'{operation} in bucket {bucket}{whose}', to
    return None


def _plain_operation(job: Job) -> str:
    return job.operation.removesuffix('_file')


def _device_of(job: Job) -> int | None:
    """The file system of a download's target (st_dev); None if the target is no path."""
    call = job.call
    if call is None or not job.operation.startswith('download'):
        return None
    target = call.options.get('path', call.options.get('target'))
    if not isinstance(target, str | bytes | os.PathLike):
        return None
    try:
        path = os.path.abspath(os.fsdecode(target))
    except (TypeError, ValueError, OSError):
        return None
    while True:
        path, before = os.path.dirname(path), path
        try:
            return os.stat(path).st_dev
        except (OSError, ValueError):
            # Directories that do not exist yet are created by the download.
            if path == before:
                return None


def _advice(scope: _Scope) -> str:
    """What was tried, and what the user can do."""
    kind = scope.key[0]
    if kind is CREDENTIALS:
        return 'They were read again, unless they are fixed arguments, and one more job failed; give new credentials'
    if kind is BUCKET:
        return 'One more job was tried; create the bucket, or correct its name'
    if kind is DISK:
        return 'One more job was tried; free some space'
    return 'One more job was tried; check the permissions of these keys'
