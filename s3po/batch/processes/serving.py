"""The side of the worker process: carries out the calls that the parent sends."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import gevent
import gevent.event

from s3po.batch.processes.channel import Channel, Message
from s3po.batch.processes.messages import packed_error, packed_outcome, unpacked_call, unpacked_error
from s3po.batch.processes.relays import RelayedNotes, RelayedObserver
from s3po.batch.workers import Interruption
from s3po.credentials import Credentials
from s3po.credentials.base import Packed
from s3po.credentials.keys import Keys
from s3po.errors import Cancelled
from s3po.governor import RequestLoad
from s3po.jobs import Call
from s3po.runtime import Task

__all__ = ['Serving']

log = logging.getLogger(__name__)

# The types of the fields of a log record, and of the parameters of an upload, that are sent.
PLAIN: Final = frozenset({str, int, float, bool, type(None)})
# The interval at which the parent's existence is checked. A child that the parent has forked may keep the socket open.
LOOK_S: Final = 2.0
# The interval at which the figures of the requests are sent, if they have changed.
LOAD_EVERY_S: Final = 0.1
# How long jobs that are interrupted at the end may take for their clean-up.
CLEAN_UP_S: Final = 3.0
# The process ends after this time at the latest, whatever its clean-up waits for.
LAST_S: Final = 10


class Serving:
    """Carries out calls until the parent closes the socket or ends."""

    def __init__(self, sock: Any) -> None:
        self._channel = Channel(sock, self._receive, self._end)
        self._connection: Any = None
        self._early: list[Message] = []
        self._has_something = gevent.event.Event()
        self._is_ended = False
        self._running: dict[int, _Performing] = {}
        self._idle: list[_Performing] = []
        self._requests = itertools.count()
        self._describes = False
        self._request_load: Callable[[], RequestLoad] = RequestLoad
        self._load = RequestLoad()
        # The last of these are the current ones, if the parent sends them unasked.
        self._keys: list[Keys] = []
        self._awaited_keys: dict[int, gevent.event.AsyncResult[Any]] = {}

    def run(self) -> None:
        """Serve until the end."""
        while not self._early and not self._is_ended:
            self._wait()
        if self._early:
            self._begin()
        while not self._is_ended:
            self._wait()
        # The default action of SIGALRM ends the process.
        signal.alarm(LAST_S)
        self._finish()

    def _wait(self) -> None:
        self._has_something.clear()
        self._has_something.wait()

    def _begin(self) -> None:
        """Make the connection, and begin with the jobs that have arrived."""
        (_, packed), *jobs = self._early
        # From the process that started this one.
        hello = pickle.loads(packed)  # noqa: S301
        self._log_to_parent(hello['levels'])
        arguments = hello['arguments']
        os.environ.update(hello['environment'])
        self._describes = hello['describes']
        if hello['asks_for_keys']:
            arguments['credentials'] = _ParentsKeys(arguments.get('region'), self._ask_for_keys)
        elif hello['keys'] is not None:
            self._keys.append(_keys_of(hello['keys']))
            arguments['credentials'] = _SentKeys(arguments.get('region'), self._keys)
        self._connection = hello['kind'](**arguments)
        self._connection.demand_requests(hello['width'])
        if hello['is_observed']:
            self._connection.observer = RelayedObserver(None, self._channel.send)
        self._connection.watch_uploads(self._tell_of_upload)
        load: Any = gevent.get_hub().loop.timer(LOAD_EVERY_S, LOAD_EVERY_S)
        self._request_load = self._connection.request_load()
        load.start(self._report_load)
        timer: Any = gevent.get_hub().loop.timer(LOOK_S, LOOK_S)
        timer.start(self._check_parent, hello['parent'])
        # Garbage collections need not visit what the imports have created.
        gc.collect()
        gc.freeze()
        self._channel.send(('ready', os.getpid()))
        self._early = []
        # In the event loop: the main greenlet would not get control back from the greenlets of the jobs.
        gevent.get_hub().loop.run_callback(self._receive, jobs)

    def _finish(self) -> None:
        """Interrupt what still runs, let it clean up, and close the connection."""
        reason = Cancelled('the process that made the batch has ended, or has closed it')
        for performing in list(self._running.values()):
            performing.interrupt(reason)
        until = time.monotonic() + CLEAN_UP_S
        while self._running and time.monotonic() < until:
            gevent.sleep(0.01)
        if self._connection is not None:
            self._connection.close()
            self._report_load()
        while not self._channel.is_sent and time.monotonic() < until:
            gevent.sleep(0.01)
        # What is logged from now on is printed.
        logging.root.handlers.clear()
        self._channel.close()

    # --- called in the event loop

    def _receive(self, messages: list[Message]) -> None:
        if self._connection is None:
            self._early += messages
            self._has_something.set()
            return
        for message in messages:
            kind, number = message[0], message[1]
            if kind == 'job':
                performing = self._idle.pop() if self._idle else _Performing(self._perform, self._idle)
                self._running[number] = performing
                performing.begin(message)
            elif kind == 'stop':
                if number in self._running:
                    self._running[number].interrupt(unpacked_error(message[2]))
            elif kind == 'noted':
                if number in self._running and (notes := self._running[number].notes) is not None:
                    notes.take(*message[2:])
            elif kind == 'share':
                self._connection.use_share(number)
            elif kind == 'renew':
                self._renew_keys(number)
            elif kind == 'keys' and (waiter := self._awaited_keys.pop(number, None)) is not None:
                if message[3] is None:
                    waiter.set(message[2])
                else:
                    waiter.set_exception(unpacked_error(message[3]))

    def _end(self) -> None:
        self._is_ended = True
        self._has_something.set()

    def _report_load(self) -> None:
        load = self._request_load()
        if load != self._load:
            self._load = load
            self._channel.send(('load', load.width, load.in_flight, load.throttled))

    def _check_parent(self, pid: int) -> None:
        if os.getppid() != pid:
            self._end()

    # --- in the greenlets of jobs

    def _perform(self, message: Message, performing: _Performing) -> None:
        _, number, fields, extras = message
        try:
            call = unpacked_call(fields)
        except Exception:  # noqa: BLE001  (an option of a class that only the parent can import)
            answer: Message = ('yours', number)
        else:
            if extras is not None:
                call = self._observed(call, extras, number, performing)
            try:
                outcome = self._connection.perform(call)
                answer = ('done', number, packed_outcome(outcome, call, describes=self._describes))
            except BaseException as error:  # noqa: BLE001  (sent to the parent)
                answer = ('failed', number, packed_error(error.reason if isinstance(error, Interruption) else error))
        performing.is_interruptible = False
        del self._running[number]
        if answer[0] != 'done' or outcome.retries:
            # The requests may have been refused because of their rate, and the answer may be the last of the batch.
            self._report_load()
        self._channel.send(answer)

    def _observed(self, call: Call, extras: Any, number: int, performing: _Performing) -> Call:
        """The call with its notes and its observer, which are in the parent."""
        state, has_observer = extras
        options = dict(call.options)
        if state is not None:
            options['notes'] = performing.notes = RelayedNotes(state, number, self._channel.send)
        if has_observer:
            options['observer'] = RelayedObserver(number, self._channel.send)
        return Call(call.operation, call.ref, options)

    def _ask_for_keys(self, known: Keys | None) -> Keys:
        """Get keys from the parent, other ones than `known` if it has any."""
        request = next(self._requests)
        waiter = self._awaited_keys[request] = gevent.event.AsyncResult()
        fields = None if known is None else (known.access_key_id, known.secret_access_key, known.session_token)
        self._channel.send(('keys', request, fields))
        return _keys_of(waiter.get())

    def _renew_keys(self, fields: Any) -> None:
        """Take other keys: the store has refused those that this process has."""
        if fields is not None:
            self._keys.append(_keys_of(fields))
        try:
            self._connection.renew_credentials()
        except Exception:
            log.exception('the keys could not be renewed in a worker process')

    def _tell_of_upload(self, upload_id: str, bucket: str, key: str, extra: Mapping[str, Any] | None) -> None:
        """Let the parent know of a multipart upload: it aborts those of a process that is killed."""
        plain = None if extra is None else {name: value for name, value in extra.items() if value.__class__ in PLAIN}
        self._channel.send(('upload', upload_id, bucket, key, plain))

    def _log_to_parent(self, levels: dict[str, int]) -> None:
        for name, level in levels.items():
            logging.getLogger(name or None).setLevel(level)
        logging.root.addHandler(_Sending(self._channel.send))


def _keys_of(fields: Any) -> Keys:
    access_key_id, secret, token, expires_at = fields
    return Keys(
        access_key_id=access_key_id,
        secret_access_key=secret,
        session_token=token,
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )


class _Performing(Task):
    """A greenlet that carries out one call after another.

    Attributes:
        notes: The notes of its call; None for none.
        is_interruptible: Whether its call runs, and was not interrupted.
    """

    def __init__(self, perform: Callable[[Message, _Performing], None], idle: list[_Performing]) -> None:
        super().__init__(self._work)
        self._perform = perform
        self._idle = idle
        self._message: Message | None = None
        self.notes: RelayedNotes | None = None
        self.is_interruptible = False

    def begin(self, message: Message) -> None:
        """Begin with a call. Called in the event loop."""
        self._message = message
        self.is_interruptible = True
        self.switch()

    def interrupt(self, reason: BaseException) -> None:
        """End the call; it cleans up. Any greenlet may call this."""
        gevent.get_hub().loop.run_callback(self._throw, self._message, reason)

    def _throw(self, message: Message | None, reason: BaseException) -> None:
        if self.is_interruptible and self._message is message and isinstance(reason, Exception):
            self.is_interruptible = False
            self.throw(Interruption(reason))

    def _work(self) -> None:
        hub = gevent.get_hub()
        while True:
            message = self._message
            assert message is not None
            self._perform(message, self)
            self._message = self.notes = None
            self._idle.append(self)
            while self._message is None:
                hub.switch()


class _ParentsKeys(Credentials):
    """Keys that the parent looks up and renews."""

    __slots__ = ('_ask', '_keys')

    def __init__(self, region: str | None, ask: Callable[[Keys | None], Keys]) -> None:
        super().__init__(region)
        self._ask = ask
        self._keys: Keys | None = None

    @property
    def can_refresh(self) -> bool:
        """True: the parent has newer ones."""
        return True

    @property
    def reason(self) -> str:
        """The reason for missing keys."""
        return 'the process that made the batch has none'

    def keys(self) -> Keys | None:
        return self._keys

    def issue(self, known: Keys | None) -> Keys:
        self._keys = self._ask(known)
        return self._keys


class _SentKeys(Credentials):
    """Keys that the parent has sent, and replaces when it reads them again."""

    __slots__ = ('_sent',)

    def __init__(self, region: str | None, sent: list[Keys]) -> None:
        """
        Args:
            region: The region.
            sent: The keys; the last ones are the current ones.
        """
        super().__init__(region)
        self._sent = sent

    def keys(self) -> Keys | None:
        return self._sent[-1]

    def packed(self) -> Packed:
        """What makes these credentials again, with the current keys."""
        return Packed(_SentKeys, region=self.region, sent=self._sent)


class _Sending(logging.Handler):
    """Sends log records to the parent, which logs them. Any thread may log."""

    def __init__(self, send: Callable[[Message], object]) -> None:
        super().__init__()
        self._send = send
        self._thread = threading.get_ident()
        self._loop: Any = gevent.get_hub().loop
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if value.__class__ in PLAIN}
        fields |= {'msg': record.getMessage(), 'args': None}
        if record.exc_info and not record.exc_text:
            fields['exc_text'] = self._formatter.formatException(record.exc_info)
        if threading.get_ident() == self._thread:
            self._send(('log', fields))
        else:
            self._loop.run_callback_threadsafe(self._send, ('log', fields))
