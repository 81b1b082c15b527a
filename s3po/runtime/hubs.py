"""The event loops of native threads that have ended, and of forked children.

gevent frees nothing of a hub when its thread ends: each thread that used one leaves two descriptors behind, and the threads
that looked names up for it. A server with a thread for each request would run out of them. A thread cannot destroy its hub as
the last that it does, but any other one can do so later.
"""

import weakref
from typing import Any, Final

import gevent.socket
from gevent import get_hub, monkey

__all__ = ['destroy_ended_hubs', 'is_own_hub', 'note_hub', 'renew']

# A thread's own, patched or not.
_ThreadLocal: Any = monkey.get_original('_thread', '_local')
_native_ident: Final = monkey.get_original('_thread', 'get_ident')


def note_hub() -> object:
    """Remember the calling thread's hub, to be destroyed once the thread has ended.

    Returns:
        As long as the thread lives, or somebody holds this, the hub is left alone.
    """
    hub = get_hub()
    sign: _Sign | None = getattr(_noted.local, 'sign', None)
    if sign is None or sign.hub() is not hub:
        _noted.local.sign = sign = _Sign(hub)
        _noted.hubs.append((weakref.ref(sign), hub))
    return sign


def destroy_ended_hubs() -> None:
    """Destroy the hubs of the threads that have ended since. May let other greenlets run."""
    for noted in [each for each in _noted.hubs if each[0]() is None]:
        try:
            _noted.hubs.remove(noted)
        except ValueError:
            # Another thread has come first.
            continue
        hub = noted[1]
        # Its thread may have destroyed it, as gevent advises.
        if hub.loop is not None:
            _let_orphans_close()
            hub.destroy(destroy_loop=True)


def _let_orphans_close() -> None:
    """Let gevent's sockets be closed whose hub is gone: what an ended thread left to others, or to the garbage collector."""
    cooperative: Any = gevent.socket.socket
    drop_and_close = cooperative._drop_events_and_close
    if drop_and_close.__module__ == __name__:
        return

    def _drop_events_and_close(sock: Any, closefd: bool = True, *further: Any) -> None:  # noqa: FBT001, FBT002  (as gevent has it)
        if sock.hub.loop is not None:
            drop_and_close(sock, closefd, *further)
            return
        # Nobody can be waiting for it.
        sock._read_event = sock._write_event = None
        if closefd:
            sock._sock.close()

    cooperative._drop_events_and_close = _drop_events_and_close


def is_own_hub(hub: Any) -> bool:
    """Whether a hub is of the calling thread: also while that ends, and has forgotten its hub."""
    return bool(hub.thread_ident == _native_ident())


def renew() -> None:
    """Begin in a forked child, which has only one of its parent's threads."""
    _noted.renew()


class _Sign:
    """Goes when its thread ends.

    Attributes:
        hub: The thread's hub, when it was noted. A thread that destroys it gets another one.
    """

    __slots__ = ('__weakref__', 'hub')

    def __init__(self, hub: Any) -> None:
        self.hub = weakref.ref(hub)


class _Noted:
    """The hubs of this process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.local = _ThreadLocal()
        self.hubs: list[tuple[weakref.ref[_Sign], Any]] = []


# The one state of this module.
_noted: Final = _Noted()
