"""Limits the memory that transfers use at once.

A budget counts the bytes that transfers hold: parts of streams, parts of an object that arrive early, bodies on their way into
memory, buffers, and blocks that open files read ahead. Each transfer has a `Room`, takes memory before it reads anything, and
gives it back when its bytes were sent or handed over.

Invariants:

- A room that waits, waits in a queue: the first one is admitted first, whatever its size. Rooms that hold memory already, and
  need more to go on, are before those that have not begun.
- Waiting never blocks for ever. Some memory comes back only after a wait: that of rooms that wait for more, and that of open
  files, which their callers close. If nothing but such memory is in use, the first room in the queue is admitted, even if the
  budget is exceeded. So a body larger than the budget is alone with the memory of such rooms.
- A room that was closed holds nothing, whatever ended its transfer.
"""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import gevent
import gevent.event

from s3po.runtime import process
from s3po.runtime.hubs import is_own_hub

__all__ = ['UNCOUNTED_BYTES', 'MemoryBudget', 'Room']

log = logging.getLogger(__name__)

# Bodies up to this size are not counted: fifty of them are 3 MiB, and a room takes 1 µs, which is 2 % of a small request.
UNCOUNTED_BYTES: Final = 64 * 1024
# When a room has waited for this long, its connection is given up: servers close connections that do not read.
LONG_WAIT_S: Final = 5.0
# If no memory came back for this long, and all of it belongs to transfers that run code of the caller (an iterator, the write()
# of a file object), that code may wait for the memory itself.
STALL_S: Final = 30.0


class MemoryBudget:
    """The memory of the transfers of one connection or batch, in one native thread.

    Attributes:
        limit_bytes: The most bytes that are in use at once, apart from the exceptions above.
        used_bytes: The bytes in use.
        stuck_bytes: Those of open files, and of rooms that wait for more.
        queue: The waits of rooms that hold nothing, in order.
        growing: The waits of rooms that hold memory, in order.
        lent: The rooms of transfers that run code of the caller, by greenlet, the innermost one last.
        moves: How often memory came back.
        relief_bytes: By how much the limit is exceeded after a standstill.
        hub: The event loop of its thread.
        process_mark: The process that created it.
    """

    __slots__ = (
        '__weakref__',
        'growing',
        'hub',
        'lent',
        'limit_bytes',
        'moves',
        'process_mark',
        'queue',
        'relief_bytes',
        'stuck_bytes',
        'used_bytes',
    )

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.stuck_bytes = 0
        self.queue: collections.deque[_Wait] = collections.deque()
        self.growing: collections.deque[_Wait] = collections.deque()
        self.lent: dict[object, tuple[Room, ...]] = {}
        self.moves = self.relief_bytes = 0
        self.hub = gevent.get_hub()
        self.process_mark = process.mark

    def __repr__(self) -> str:
        return f'<MemoryBudget used={self.used_bytes:,} of {self.limit_bytes:,} waiting={len(self.queue) + len(self.growing)}>'

    @property
    def is_scarce(self) -> bool:
        """Whether unused buffers should be given back: rooms wait, or more than half is in use."""
        return self.first is not None or 2 * self.used_bytes > self.limit_bytes

    @property
    def first(self) -> _Wait | None:
        """The wait that is admitted next; None if no room waits."""
        waiting = self.growing or self.queue
        return waiting[0] if waiting else None

    def resize(self, limit_bytes: int) -> None:
        """Change the limit. Memory above a lower limit comes back when its transfers end."""
        self.limit_bytes = limit_bytes
        self.admit()

    # --- for Room

    def has_room_for(self, more_bytes: int) -> bool:
        """Whether these bytes can be taken now."""
        used_bytes = self.used_bytes
        return used_bytes + more_bytes <= self.limit_bytes + self.relief_bytes or used_bytes <= self.stuck_bytes

    def give(self, size_bytes: int, stuck_bytes: int) -> None:
        """Give bytes back, and admit those that wait."""
        self.used_bytes -= size_bytes
        self.stuck_bytes -= stuck_bytes
        self.moves += 1
        self.admit()

    def admit(self) -> None:
        """Admit the rooms that have room now."""
        if self.process_mark is not process.mark:
            # In a forked child, the parent's transfers must not go on.
            return
        while (first := self.first) is not None and self.has_room_for(first.more_bytes):
            # In this order: if Ctrl-C interrupts, the next call admits it again, which has no effect.
            first.admit()
            (self.growing or self.queue).popleft()
        if first is None:
            self.relief_bytes = 0

    def relieve(self) -> None:
        """After a standstill: exceed the limit by what the first room needs, until no room waits."""
        lent = {room for rooms in self.lent.values() for room in rooms if not room.is_callers and not room.waits}
        lent_bytes = sum(room.size_bytes for room in lent)
        first = self.first
        if first is not None and self.used_bytes <= self.stuck_bytes + lent_bytes:
            log.warning(
                'max_memory: all %d MiB belong to transfers whose iterators or file objects have delivered nothing for %.0f s; '
                'another transfer exceeds the limit, because they may be waiting for it',
                self.used_bytes >> 20,
                STALL_S,
            )
            self.relief_bytes = max(0, self.used_bytes + first.more_bytes - self.limit_bytes)
            self.admit()


class Room:
    """The memory of one transfer; use it in a `with`, or close it.

    It is used in the thread of its budget; that of an open file in any thread, as long as it does not wait there.

    Attributes:
        size_bytes: The bytes that it holds.
        is_callers: Whether it belongs to a file that the caller has opened. It never waits for its first block: the caller may
            hold many open files, and continue with any of them.
        waits: How many greenlets of its transfer wait for memory.
        stuck_bytes: What it held when the first of them began to wait.
        budget: Its budget.
    """

    __slots__ = ('_greenlet', 'budget', 'is_callers', 'size_bytes', 'stuck_bytes', 'waits')

    def __init__(self, budget: MemoryBudget, *, is_callers: bool = False) -> None:
        self.budget = budget
        self._greenlet: object = None
        self.is_callers = is_callers
        self.waits = 0
        self.size_bytes = self.stuck_bytes = 0

    def __repr__(self) -> str:
        return f'<Room {self.size_bytes:,} bytes{" waiting" if self.waits else ""} of {self.budget!r}>'

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def lend(self) -> None:
        """Note that this greenlet runs code of the caller until close(): if that code waits for memory, this room waits too."""
        self._greenlet = gevent.getcurrent()
        self.budget.lent[self._greenlet] = (*self.budget.lent.get(self._greenlet, ()), self)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Like lend(), in a `with` block, and in several greenlets at once."""
        lent, greenlet = self.budget.lent, gevent.getcurrent()
        lent[greenlet] = (*lent.get(greenlet, ()), self)
        try:
            yield
        finally:
            self._end_lending(greenlet)

    def try_fit(self, size_bytes: int) -> bool:
        """Make it hold at least this many bytes, without waiting. Returns False if there is no room, or others wait for it."""
        budget, more_bytes = self.budget, size_bytes - self.size_bytes
        if more_bytes > 0:
            is_above = budget.used_bytes + more_bytes > budget.limit_bytes
            if budget.growing or budget.queue or (is_above and (self.is_callers or not budget.has_room_for(more_bytes))):
                return False
            self.grow(more_bytes)
        return True

    def fit(self, size_bytes: int, on_long_wait: Callable[[], object] | None = None) -> bool:
        """Make it hold at least this many bytes, and wait for them if necessary; that of an open file never waits.

        Args:
            size_bytes: How many bytes.
            on_long_wait: Called once after LONG_WAIT_S. It must not wait.

        Returns:
            Whether on_long_wait was called.
        """
        if self.try_fit(size_bytes):
            return False
        if self.is_callers:
            self.grow(size_bytes - self.size_bytes)
            return False
        return _Wait(self, size_bytes - self.size_bytes).wait(on_long_wait)

    def grow(self, more_bytes: int) -> None:
        """Take more, whether there is room or not: for bytes whose number is not known before they arrive."""
        # Without calls, so that Ctrl-C cannot interrupt between these statements.
        budget, is_callers = self.budget, self.is_callers
        self.size_bytes += more_bytes
        budget.used_bytes += more_bytes
        if is_callers:
            budget.stuck_bytes += more_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give back what it holds above this many bytes."""
        less_bytes = self.size_bytes - size_bytes
        if less_bytes > 0:
            if self.is_callers and not is_own_hub(self.budget.hub):
                self._shrink_later(size_bytes)
                return
            self.size_bytes = size_bytes
            self.budget.give(less_bytes, less_bytes if self.is_callers else 0)

    def close(self) -> None:
        """Give everything back. May be called twice."""
        if self._greenlet is not None:
            greenlet, self._greenlet = self._greenlet, None
            self._end_lending(greenlet)
        self.shrink(0)

    def close_later(self) -> None:
        """Like close(), a moment later, for the garbage collector, which may interrupt other methods."""
        if self.size_bytes:
            self._shrink_later(0)

    def _shrink_later(self, size_bytes: int) -> None:
        less_bytes, self.size_bytes = self.size_bytes - size_bytes, size_bytes
        loop = self.budget.hub.loop
        # A thread that has ended has no loop, and nothing waits there.
        if loop is not None:
            loop.run_callback_threadsafe(self.budget.give, less_bytes, less_bytes if self.is_callers else 0)

    def _end_lending(self, greenlet: object) -> None:
        lent = self.budget.lent
        others = tuple(room for room in lent.get(greenlet, ()) if room is not self)
        if others:
            lent[greenlet] = others
        else:
            lent.pop(greenlet, None)


class _Wait:
    """A room in the queue of its budget."""

    __slots__ = ('_is_admitted', '_room', 'budget', 'more_bytes')

    def __init__(self, room: Room, more_bytes: int) -> None:
        self._room = room
        self.budget = room.budget
        self._is_admitted: Any = gevent.event.Event()
        self.more_bytes = more_bytes

    def admit(self) -> None:
        """Give the room what it waits for. (Called by the budget.) May be called twice."""
        # Without calls before set(), so that Ctrl-C cannot interrupt between these statements.
        more_bytes, self.more_bytes = self.more_bytes, 0
        self._room.size_bytes += more_bytes
        self.budget.used_bytes += more_bytes
        self._is_admitted.set()

    def wait(self, on_long_wait: Callable[[], object] | None) -> bool:
        """Wait in the queue. Returns whether on_long_wait was called. If anything else ends the wait, it leaves the queue."""
        budget, stuck = self.budget, list[Room]()
        # If this room waits, so do those whose code of the caller has led here.
        waiting = {self._room, *budget.lent.get(gevent.getcurrent(), ())}
        held = [room for room in waiting if room.size_bytes and not room.is_callers]
        queue = budget.growing if held else budget.queue
        try:
            for room in held:
                # Without calls before append(), for the same reason.
                room.waits += 1
                if room.waits == 1:
                    room.stuck_bytes = room.size_bytes
                    budget.stuck_bytes += room.stuck_bytes
                stuck.append(room)
            queue.append(self)
            budget.admit()
            return self._wait_admitted(on_long_wait)
        finally:
            for room in stuck:
                room.waits -= 1
                if not room.waits:
                    budget.stuck_bytes -= room.stuck_bytes
            if self in queue:
                queue.remove(self)
            if self.more_bytes:
                budget.admit()

    def _wait_admitted(self, on_long_wait: Callable[[], object] | None) -> bool:
        is_long = not self._is_admitted.wait(LONG_WAIT_S) and on_long_wait is not None
        if is_long and on_long_wait is not None:
            on_long_wait()
        seen = -1
        while self.more_bytes:
            if self.budget.first is self and seen == self.budget.moves:
                self.budget.relieve()
            seen = self.budget.moves
            self._is_admitted.wait(STALL_S)
        return is_long
