"""Restores the blocking mode of descriptors that leave gevent's sockets.

The blocking mode is a property of the open file description, which all duplicates of a descriptor share, also in other
processes. gevent makes the description of each of its sockets non-blocking and waits itself. Code that takes over the
descriptor (multiprocessing's pipes, a child process) then gets BlockingIOError. So this module changes:

- `detach()` makes the descriptor blocking again, unless the socket's timeout is 0.
- `socket.fromfd()` returns a socket of the standard library's own class, and leaves the caller's description unchanged.
- A socket that is passed to a child process (`Popen(stdin=sock)`) or in a message (SCM_RIGHTS, `reduction.send_handle`) becomes
  blocking in the same way. If the program continues to use its own object, that blocks its thread.

Not covered: `os.dup(sock.fileno())` and other uses of the bare number; `socket.socket(fileno=…)` for a descriptor that other
code continues to use.
"""

import array
import contextlib
import functools
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterable
from typing import Any, Final

import gevent.socket
from gevent import monkey

__all__ = ['repair_functions', 'repair_sockets']

# Popen's arguments from the fourth on.
_STREAMS: Final = ('stdin', 'stdout', 'stderr')

# gevent's sockets by descriptor. Closed or detached ones may still be in it.
_sockets: Final[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()


def repair_sockets() -> None:
    """Repair the socket classes. Called once."""
    cooperative: Any = gevent.socket.socket
    _note_sockets(cooperative)
    _leave_on_detach(cooperative)
    for kind in (monkey.get_original('socket', 'socket'), cooperative):
        _leave_on_sendmsg(kind)
    reduction: Any = sys.modules.get('multiprocessing.reduction')
    if reduction is not None:
        # It knows only the class that was bound when it was imported.
        reduction.register(cooperative, reduction._reduce_socket)


def repair_functions() -> None:
    """Repair the functions that gevent's patch has bound. Called after each patch."""
    plain: Any = monkey.get_original('socket', 'socket')

    def fromfd(fd: int, family: int, type: int, proto: int = 0) -> Any:  # noqa: A002  (the original's name)
        """Return a socket for a duplicate of a descriptor, whose blocking mode does not change."""
        return plain(family, type, proto, os.dup(fd))

    socket.fromfd = fromfd  # type: ignore[assignment]  # its stub takes more kinds of integers
    _leave_on_popen(subprocess.Popen)


def _note_sockets(cooperative: Any) -> None:
    make = cooperative.__init__

    def make_noted(sock: Any, *args: Any, **kwargs: Any) -> None:
        make(sock, *args, **kwargs)
        _sockets[sock.fileno()] = sock

    cooperative.__init__ = make_noted


def _leave_on_detach(cooperative: Any) -> None:
    detach = cooperative.detach

    def detach_blocking(sock: Any) -> Any:
        """Close the socket object, and return its descriptor, with the blocking mode of the socket."""
        descriptor = sock.fileno()
        # ssl first creates its socket for the same descriptor, and then detaches the plain one.
        if _sockets.get(descriptor) is sock:
            _leave((descriptor,))
        return detach(sock)

    detach_blocking.__name__ = 'detach'
    cooperative.detach = detach_blocking


def _leave_on_sendmsg(kind: Any) -> None:
    send = kind.sendmsg

    def sendmsg(sock: Any, buffers: Any, ancdata: Any = (), *args: Any) -> Any:
        ancdata = tuple(ancdata)
        for level, what, data in ancdata:
            if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                _leave(array.array('i', bytes(data)))
        return send(sock, buffers, ancdata, *args)

    kind.sendmsg = sendmsg


def _leave_on_popen(kind: Any) -> None:
    start = kind.__init__

    @functools.wraps(start)
    def start_left(popen: Any, *args: Any, **kwargs: Any) -> None:
        streams = (*args[3:6], *(kwargs.get(name) for name in _STREAMS))
        _leave(_descriptors((*streams, *kwargs.get('pass_fds', ()))))
        start(popen, *args, **kwargs)

    kind.__init__ = start_left


def _descriptors(streams: Iterable[Any]) -> Iterable[int]:
    for stream in streams:
        if isinstance(stream, int):
            yield stream
        elif stream is not None:
            # Popen reports invalid arguments to the caller.
            with contextlib.suppress(AttributeError, OSError, ValueError):
                yield stream.fileno()


def _leave(descriptors: Iterable[int]) -> None:
    """Make the descriptors of gevent's sockets blocking, unless the socket's timeout is 0."""
    for descriptor in descriptors:
        sock = _sockets.get(descriptor)
        if sock is not None and sock.fileno() == descriptor and sock.timeout != 0.0:
            os.set_blocking(descriptor, True)
