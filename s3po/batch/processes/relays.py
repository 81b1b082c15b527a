"""Notes and events of calls in a worker process, for the journal and the observers in the parent."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from typing import Any, Final

import gevent.event

from s3po.batch.processes.channel import Message
from s3po.batch.processes.messages import packed_error, unpacked_error
from s3po.batch.workers import Interruption
from s3po.jobs.notes import DownloadNote, Notes, PartNote, RangeNote, UploadNote
from s3po.model import TransferResult
from s3po.observer import Activity, Observer, report
from s3po.runtime import spawn

__all__ = ['NotesRelay', 'RelayedNotes', 'RelayedObserver', 'Sequence', 'State', 'pass_on', 'state_of']

# The attributes of notes: upload, intent_at, download.
State = tuple[UploadNote | None, float | None, DownloadNote | None]
Send = Callable[[Message], object]

# The worker continues without waiting for these: they are written before the answer of the call is taken.
UNAWAITED: Final = frozenset({'confirmed', 'received'})


class Sequence:
    """Functions that are called one after the other, in a greenlet, because they may wait."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Callable[[], object]] = collections.deque()
        self._is_busy = False

    def add(self, function: Callable[[], object]) -> None:
        """Call a function after those that were added before. It must not fail."""
        self._waiting.append(function)
        if not self._is_busy:
            self._is_busy = True
            spawn(self._work)

    def _work(self) -> None:
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._is_busy = False


def state_of(notes: Notes | None) -> State | None:
    """The attributes of notes, for RelayedNotes."""
    return None if notes is None else (notes.upload, notes.intent_at, notes.download)


class NotesRelay:
    """The parent's side of the notes of one call."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self.sequence = Sequence()

    def put(self, message: Message, send: Send) -> None:
        """Take a note, and send a reply if the worker waits for one."""
        self.sequence.add(lambda: self._write(message, send))

    def _write(self, message: Message, send: Send) -> None:
        _, number, request, method, arguments = message
        result, error = None, None
        try:
            if method == 'keeps':
                arguments = [_unpacked_end(*arguments)]
            result = getattr(self._notes, method)(*arguments)
        except Exception as failure:  # noqa: BLE001  (raised in the worker, where the note was made)
            error = packed_error(failure)
        send(('noted', number, request, result, error))


class RelayedNotes:
    """The worker's side: implements Notes."""

    def __init__(self, state: State, number: int, send: Send) -> None:
        self.upload, self.intent_at, self.download = state
        self._number = number
        self._send = send
        self._requests = itertools.count()
        self._awaited: dict[int, gevent.event.AsyncResult[Any]] = {}
        self._failure: BaseException | None = None

    def intend(self) -> None:
        """See Notes."""
        self._ask('intend')

    def created(self, upload: UploadNote) -> None:
        """See Notes."""
        self._ask('created', upload)

    def confirmed(self, part: PartNote) -> None:
        """See Notes."""
        self._ask('confirmed', part)

    def opened(self, download: DownloadNote) -> None:
        """See Notes."""
        self._ask('opened', download)

    def received(self, part: RangeNote) -> None:
        """See Notes."""
        self._ask('received', part)

    def discarded(self) -> None:
        """See Notes."""
        self._ask('discarded')

    def stored(self, result: TransferResult) -> None:
        """See Notes."""
        self._ask('stored', result)

    def keeps(self, error: BaseException) -> bool:
        """See Notes."""
        return bool(self._ask('keeps', *_packed_end(error)))

    def take(self, request: int, result: Any, error: Any) -> None:
        """Take a reply. Called in the event loop."""
        failure = None if error is None else unpacked_error(error)
        waiter = self._awaited.pop(request, None)
        if waiter is None:
            self._failure = self._failure or failure
        elif failure is None:
            waiter.set(result)
        else:
            waiter.set_exception(failure)

    def _ask(self, method: str, *arguments: object) -> Any:
        if self._failure is not None:
            # An earlier note, which was not awaited, could not be written.
            raise self._failure
        request = next(self._requests)
        waiter = None
        if method not in UNAWAITED:
            waiter = self._awaited[request] = gevent.event.AsyncResult()
        self._send(('note', self._number, request, method, arguments))
        return None if waiter is None else waiter.get()


class RelayedObserver(Observer):
    """The worker's side of an observer: of one call, or (number None) of the connection."""

    def __init__(self, number: int | None, send: Send) -> None:
        self._number = number
        self._send = send

    def began(self, activity: Activity) -> None:
        self._event('began', activity)

    def moved(self, activity: Activity, size_bytes: int) -> None:
        self._event('moved', activity, size_bytes)

    def sized(self, activity: Activity, size_bytes: int) -> None:
        self._event('sized', activity, size_bytes)

    def retried(self, activity: Activity, error: Exception) -> None:
        self._event('retried', activity, packed_error(error))

    def throttled(self, activity: Activity) -> None:
        self._event('throttled', activity)

    def ended(self, activity: Activity, error: BaseException | None) -> None:
        self._event('ended', activity, None if error is None else packed_error(error))

    def _event(self, method: str, activity: Activity, *arguments: object) -> None:
        subject = (activity.operation, activity.bucket, activity.key, activity.part_number)
        self._send(('event', self._number, method, subject, *arguments))


def pass_on(observer: Observer, message: Message) -> None:
    """Report the event of a message to an observer."""
    _, _, method, (operation, bucket, key, part_number), *arguments = message
    if method in ('retried', 'ended') and arguments[0] is not None:
        arguments = [unpacked_error(arguments[0])]
    report(
        getattr(observer, method), Activity(operation=operation, bucket=bucket, key=key, part_number=part_number), *arguments
    )


def _packed_end(error: BaseException) -> tuple[bool, Any]:
    """What ended a transfer: an error, or an interruption of the batch."""
    if isinstance(error, Interruption):
        return True, packed_error(error.reason)
    return False, packed_error(error)


def _unpacked_end(is_interruption: bool, packed: Any) -> BaseException:  # noqa: FBT001  (a field of a message)
    error = unpacked_error(packed)
    return Interruption(error) if is_interruption and isinstance(error, Exception) else error
