"""Sockets, name look-ups and sleeps in native threads of a partially patched process.

In a fully patched process all threads are greenlets of one native thread. In a notebook, under pytest-xdist or in a threaded
server they are not, and gevent's replacements cause problems there:

- A gevent socket belongs to the thread that created it: in any other thread, waiting for it raises greenlet.error. But
  connection pools (requests, boto3's transfers) and `socketserver` pass sockets from thread to thread.
- Each native thread that waits cooperatively even once gets an event loop, which is not freed when the thread ends: two
  descriptors and, after a name look-up, another thread, for each request of a threaded server.

So a thread without greenlets waits natively, and gets no event loop. A thread with greenlets takes over a socket when it waits
for it.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import gevent.socket
from gevent import monkey
from gevent._hub_local import get_hub_if_exists

__all__ = ['has_greenlets', 'keep_blocking_calls', 'share_sockets', 'take_over']

_NAME_LOOKUPS: Final = (
    'create_connection',
    'getaddrinfo',
    'gethostbyname',
    'gethostbyname_ex',
    'gethostbyaddr',
    'getnameinfo',
    'getfqdn',
)


def has_greenlets() -> bool:
    """Whether the calling native thread has greenlets or timers, which a blocking call would stop."""
    hub = get_hub_if_exists()
    # True once its loop has run; before that, spawned or started greenlets count as active.
    return hub is not None and (bool(hub) or hub.loop.activecnt > 0)


def share_sockets() -> None:
    """Let any native thread use gevent's sockets. Only for a partially patched process."""
    cooperative: Any = gevent.socket.socket
    cooperative._wait = _waiting_in_any_thread(cooperative._wait)
    cooperative._internal_connect = _connecting_in_any_thread(cooperative._internal_connect)


def keep_blocking_calls() -> None:
    """Let threads without greenlets sleep and look up names natively."""
    time.sleep = _dispatched('time', 'sleep')
    for name in _NAME_LOOKUPS:
        setattr(socket, name, _dispatched('socket', name))


def _dispatched(module: str, name: str) -> Callable[..., Any]:
    native = monkey.get_original(module, name)
    cooperative = getattr({'time': time, 'socket': socket}[module], name)

    def call(*args: Any, **kwargs: Any) -> Any:
        return (cooperative if has_greenlets() else native)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = native.__doc__
    return call


def _waiting_in_any_thread(wait_in_own_thread: Callable[..., None]) -> Callable[..., None]:
    def _wait(sock: Any, watcher: Any, timeout_exc: BaseException | None = None) -> None:
        if watcher is None or (sock.hub is get_hub_if_exists() and has_greenlets()):
            wait_in_own_thread(sock, watcher, timeout_exc)
            return
        is_reading = watcher is sock._read_event
        if not has_greenlets():
            _poll(sock, is_reading=is_reading, timeout_exc=timeout_exc)
            return
        take_over(sock)
        wait_in_own_thread(sock, sock._read_event if is_reading else sock._write_event, timeout_exc)

    return _wait


def take_over(sock: Any) -> None:
    """Move a socket to the calling thread's hub.

    The watchers are replaced, not closed: another thread may be waiting on them, with references of its own.
    """
    sock.hub = gevent.get_hub()
    sock._read_event = sock.hub.loop.io(sock.fileno(), 1)
    sock._write_event = sock.hub.loop.io(sock.fileno(), 2)


def _poll(sock: Any, *, is_reading: bool, timeout_exc: BaseException | None) -> None:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN if is_reading else select.POLLOUT)
    timeout_s = sock.timeout
    if not poller.poll(None if timeout_s is None else timeout_s * 1000):
        raise timeout_exc if timeout_exc is not None else TimeoutError('timed out')


def _connecting_in_any_thread(connect_cooperatively: Callable[..., Any]) -> Callable[..., Any]:
    def _internal_connect(sock: Any, address: Any) -> Any:
        if sock.timeout == 0.0 or has_greenlets():
            return connect_cooperatively(sock, address)
        # Natively: the system handles the timeout and the name look-up. gevent would start a timer, and an event loop with it.
        native = sock._sock
        native.settimeout(sock.timeout)
        try:
            return native.connect(address)
        finally:
            native.setblocking(False)

    return _internal_connect
