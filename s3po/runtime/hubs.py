"""Frees the event loops of native threads that have ended, and of forked children.

gevent frees nothing of a hub when its thread ends: each such thread leaves two descriptors, and the threads that looked up
names for it. A server with a thread per request would run out of them. A thread cannot destroy its own hub as its last action,
but another thread can do so later.
"""

import weakref
from typing import Any, Final

import gevent.socket
from gevent import get_hub, monkey

__all__ = ['destroy_ended_hubs', 'is_own_hub', 'note_hub', 'renew']

# A native thread local, patched or not.
_ThreadLocal: Any = monkey.get_original('_thread', '_local')
_native_ident: Final = monkey.get_original('_thread', 'get_ident')


def note_hub() -> object:
    """Register the calling thread's hub, to be destroyed after the thread has ended.

    Returns:
        An object; the hub is kept while the thread exists or the object is referenced.
    """
    hub = get_hub()
    sign: _Sign | None = getattr(_noted.local, 'sign', None)
    if sign is None or sign.hub() is not hub:
        _noted.local.sign = sign = _Sign(hub)
        _noted.hubs.append((weakref.ref(sign), hub))
    return sign


def destroy_ended_hubs() -> None:
    """Destroy the hubs of the threads that have ended. May let other greenlets run."""
    for noted in [each for each in _noted.hubs if each[0]() is None]:
        try:
            _noted.hubs.remove(noted)
        except ValueError:
            # Another thread was faster.
            continue
        hub = noted[1]
        # The thread may have destroyed it, as gevent recommends.
        if hub.loop is not None:
            _let_orphans_close()
            hub.destroy(destroy_loop=True)


def _let_orphans_close() -> None:
    """Let gevent's sockets be closed after their hub was destroyed: they may outlive their thread."""
    cooperative: Any = gevent.socket.socket
    drop_and_close = cooperative._drop_events_and_close
    if drop_and_close.__module__ == __name__:
        return

    def _drop_events_and_close(sock: Any, closefd: bool = True, *further: Any) -> None:  # noqa: FBT001, FBT002  (as gevent has it)
        if sock.hub.loop is not None:
            drop_and_close(sock, closefd, *further)
            return
        # Without a hub, nothing can wait for it.
        sock._read_event = sock._write_event = None
        if closefd:
            sock._sock.close()

    cooperative._drop_events_and_close = _drop_events_and_close


def is_own_hub(hub: Any) -> bool:
    """Whether a hub belongs to the calling thread, also while the thread ends and has no current hub any more."""
    return bool(hub.thread_ident == _native_ident())


class _Sign:
    """An object that is freed when its thread ends.

    Attributes:
        hub: The thread's hub at registration. A thread that destroys its hub gets another one.
    """

    __slots__ = ('__weakref__', 'hub')

    def __init__(self, hub: Any) -> None:
        self.hub = weakref.ref(hub)


class _Noted:
    """The registered hubs of this process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Reset in a forked child, which has only one of its parent's threads."""
        self.local = _ThreadLocal()
        self.hubs: list[tuple[weakref.ref[_Sign], Any]] = []


# The only state of this module.
_noted: Final = _Noted()
renew: Final = _noted.renew
