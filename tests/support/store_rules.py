"""Scripted misbehaviour of the store, and its log of requests.

It uses no sockets, knows nothing of S3, and needs only the standard library. Everything can be used by many threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ['Action', 'Connections', 'Log', 'Rule', 'Script', 'Seen']

# How long a stalled response stays silent, unless the client closes the connection before.
STALL_S = 3600.0
DRIPS_PER_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action for one request. Fields can be combined; with their defaults the request is served normally.

    Attributes:
        status: Respond with this status instead of doing the work.
        code: S3's error code in the XML that is made if there is no body.
        message: The message in that XML.
        headers: Headers of the scripted response.
        body: Body of the scripted response, sent as Latin-1.
        work: Do the work first, then send the scripted response or close the connection.
        delay_s: Wait for this time before the response.
        hang_s: Send no response (with `cut_body_at`: no further byte) for this time, or until the client closes, then close.
        no_continue: Read the body without sending 100 Continue first.
        early: Act before the request's body is read; the connection ends.
        read_bytes: With `early`: act after this number of bytes of the body.
        reset: Close with RST instead of responding.
        close: Close with FIN instead of responding.
        raw: Send these bytes (as Latin-1) instead of a response, then close.
        cut_body_at: Send the real head, this number of bytes of the body, then close with FIN (with `reset`: RST).
        stall_at: Send the real head, this number of bytes of the body, then nothing more until the client closes (at most for
            `hang_s`, by default an hour).
        flip_byte_at: Change one bit of the response's body at this offset; the head is unchanged.
        flip_stored_at: Change one bit of the request's body when it is stored; ETag and checksums are those of the original.
        flip_received_at: Change one bit of the request's body before it is verified, as if it was changed in transit.
        ignore_range: Respond as if the request had no Range header.
        drop_headers: Headers to remove from the response.
        add_headers: Headers to add to the response, or to replace.
        drip_bytes: Send the body (or `raw`) in pieces of this size,
        drip_every_s: and wait for this time before each. In JSON: `drip`, with `bytes` and `every_s`, or with `bytes_per_s`.
    """

    status: int | None = None
    code: str = 'InternalError'
    message: str = 'scripted'
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    work: bool = False
    delay_s: float = 0.0
    hang_s: float = 0.0
    no_continue: bool = False
    early: bool = False
    read_bytes: int = 0
    reset: bool = False
    close: bool = False
    raw: str | None = None
    cut_body_at: int | None = None
    flip_byte_at: int | None = None
    flip_stored_at: int | None = None
    flip_received_at: int | None = None
    ignore_range: bool = False
    drop_headers: Sequence[str] = ()
    add_headers: Mapping[str, str] = field(default_factory=dict)
    drip_bytes: int = 0
    drip_every_s: float = 0.0

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Action:
        """The action of a JSON object.

        Raises:
            ValueError: It has unknown fields (a misspelt script must not mean "do nothing"), or contradicts itself.
        """
        fields = dict(given)
        drip: Mapping[str, Any] | None = fields.pop('drip', None)
        if drip is not None:
            fields.update(_drip(drip))
        stall_at = fields.pop('stall_at', None)
        if stall_at is not None:
            fields = {'hang_s': STALL_S, **fields, 'cut_body_at': stall_at}
        _refuse_unknown(fields, cls, 'an action')
        action = cls(**fields)
        if action.early and (action.does_work or not action.has_answer):
            raise ValueError('what acts early has no body to work with, and needs an answer or an end')
        return action

    @property
    def has_answer(self) -> bool:
        """Whether the real response is replaced, by a scripted one or by none."""
        is_silent = self.cut_body_at is None and (self.reset or self.close or bool(self.hang_s))
        return self.status is not None or self.raw is not None or is_silent

    @property
    def does_work(self) -> bool:
        """Whether the request is carried out."""
        return self.work or not self.has_answer


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request in the log.

    Attributes:
        time: The monotonic clock (the same for all processes of a machine) when the head had been read.
        ended: The clock when the last byte of the response was sent or the connection was closed; None before.
        connection: The number of the connection, from 1 in order of acceptance.
        nth: The number of the request on its connection, from 1.
        method: The HTTP method.
        operation: S3's name, such as 'UploadPart'.
        bucket: The bucket; may be empty.
        key: The key; may be empty.
        query: The decoded parameters; a name without a value has ''.
        headers: The headers, with names in lower case.
        status: The status of the response; None if there is none (yet).
        body_bytes: The length of the request's body in transit.
        in_flight: The number of requests that the store was serving, with this one.
    """

    time: float = field(default_factory=time.monotonic)
    connection: int
    nth: int
    method: str
    operation: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int | None = None
    body_bytes: int = 0
    in_flight: int = 1
    ended: float | None = None


@dataclass(slots=True, kw_only=True)
class Rule:
    """The requests to which an action applies. A field that is None or absent matches anything.

    Attributes:
        action: The action.
        operation: S3's name, such as 'UploadPart'.
        bucket: The bucket.
        key: The key.
        query: Parameters that the request must have with these values.
        headers: Headers that the request must have with these values; names in lower case.
        nth: The number of the request on its connection, from 1.
        skip: The number of matching requests to serve normally first.
        times: The number of requests to which the action then applies; None for no limit.
        for_s: How long it applies, from the first such request on; None for no limit.
        above: It applies only while the store serves more requests than this.
    """

    action: Action
    operation: str | None = None
    bucket: str | None = None
    key: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    nth: int | None = None
    skip: int = 0
    times: int | None = None
    for_s: float | None = None
    above: int = 0
    until: float | None = field(default=None, init=False)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Rule:
        """The rule of a JSON object.

        Raises:
            ValueError: It has unknown fields, or no action.
        """
        fields = {name: value for name, value in given.items() if value is not None or name == 'times'}
        _refuse_unknown(fields, cls, 'a rule')
        if 'action' not in fields:
            raise ValueError('a rule needs an action')
        fields['action'] = Action.parse(fields['action'])
        return cls(**fields)

    def matches(self, seen: Seen) -> bool:
        """Whether the rule matches the request, however often it was used."""
        return (
            seen.in_flight > self.above
            and (self.until is None or time.monotonic() < self.until)
            and self.operation in (None, seen.operation)
            and self.bucket in (None, seen.bucket)
            and self.key in (None, seen.key)
            and self.nth in (None, seen.nth)
            and self.query.items() <= seen.query.items()
            and self.headers.items() <= seen.headers.items()
        )


class Script:
    """The rules in force, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rules: Sequence[Rule]) -> None:
        """Add rules after those in force."""
        with self._lock:
            self._rules.extend(rules)

    def reset(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def take(self, seen: Seen) -> Action:
        """Use the first matching rule that has uses left; returns its action, or an action that changes nothing."""
        with self._lock:
            for rule in self._rules:
                if rule.times == 0 or not rule.matches(seen):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                if rule.for_s is not None and rule.until is None:
                    rule.until = time.monotonic() + rule.for_s
                return rule.action
        return Action()


class Log:
    """The requests in order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[Seen] = []

    def add(self, seen: Seen) -> None:
        """Add a request."""
        with self._lock:
            self._seen.append(seen)

    def reset(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._seen.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All requests, in a form for JSON."""
        with self._lock:
            return [dataclasses.asdict(seen) for seen in self._seen]


class Connections:
    """Counts TCP connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._accepted = 0
        self._open = 0
        self._peak_open = 0
        self._in_flight = 0

    def opened(self) -> int:
        """Count a new connection; returns its number, which `reset` does not restart."""
        with self._lock:
            self._number += 1
            self._accepted += 1
            self._open += 1
            self._peak_open = max(self._peak_open, self._open)
            return self._number

    def closed(self) -> None:
        """Count a connection's end."""
        with self._lock:
            self._open -= 1

    @contextlib.contextmanager
    def serving(self, seen: Seen) -> Iterator[None]:
        """Count a request that is being served."""
        with self._lock:
            self._in_flight += 1
            seen.in_flight = self._in_flight
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def reset(self) -> None:
        """Restart counting; open connections continue to count as open."""
        with self._lock:
            self._accepted = 0
            self._peak_open = self._open

    def as_json(self) -> dict[str, int]:
        """The figures: accepted since the last reset, open now, most open at once."""
        with self._lock:
            return {'connections': self._accepted, 'open': self._open, 'peak_open': self._peak_open}


def _drip(given: Mapping[str, Any]) -> dict[str, Any]:
    """Piece size and pause; for a rate, about twenty pieces per second, or single bytes."""
    if 'bytes_per_s' not in given:
        return {'drip_bytes': given['bytes'], 'drip_every_s': given['every_s']}
    size = max(1, round(given['bytes_per_s'] / DRIPS_PER_S))
    return {'drip_bytes': size, 'drip_every_s': size / given['bytes_per_s']}


def _refuse_unknown(fields: Mapping[str, Any], of: type, what: str) -> None:
    unknown = set(fields) - {each.name for each in dataclasses.fields(of)}
    if unknown:
        raise ValueError(f'{what} has no {", ".join(sorted(unknown))}')
