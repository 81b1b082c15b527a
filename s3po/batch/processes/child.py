"""Starts a worker process, and ends it."""

from __future__ import annotations

import _socket as _native
import collections
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event
from gevent import monkey

from s3po.batch.processes.channel import READ_EVENT, Channel, Message
from s3po.config import KIB
from s3po.errors import ConfigurationError
from s3po.governor import RequestLoad
from s3po.runtime import disowned_in_child

__all__ = ['WorkerProcess', 'check_program']

# How much of a worker's standard error is kept for messages.
KEPT_BYTES: Final = 8 * KIB
READ_BYTES: Final = 64 * KIB
# The interval at which an ending process is polled.
POLL_S: Final = 0.005
# A worker that has not ended after this time is killed. Its own limit (serving.LAST_S) is shorter.
KILL_AFTER_S: Final = 12.0

# The descriptor of the channel in the process.
SOCKET: Final = 3
# The status of a process that other code has waited for.
UNKNOWN: Final = 1 << 16

# Native, also in a patched program.
_waitpid: Any = monkey.get_original('os', 'waitpid')
_socket: Any = monkey.get_original('socket', 'socket')


def check_program() -> None:
    """Check that there is a Python program to start.

    Raises:
        ConfigurationError: This is a frozen program, which would start itself once more, or one with Python built in.
    """
    if not sys.executable or getattr(sys, 'frozen', False):
        raise ConfigurationError(
            f'processes= starts Python, but sys.executable is {sys.executable!r}, and no Python; use processes=1'
        )


class WorkerProcess:
    """One worker process, and the jobs that it has.

    Attributes:
        pid: Its process id.
        jobs: What was sent and not answered, by number.
        uploads: Its open multipart uploads that no journal keeps: bucket, key and further parameters, by id.
        is_ready: Whether it has started.
        settled: Set when it has started, or has ended before that.
        share: Its share of the connection's limits.
        load: The figures of its requests.
        channel: The messages to it and from it.
    """

    def __init__(
        self,
        on_messages: Callable[[WorkerProcess, list[Message]], object],
        on_end: Callable[[WorkerProcess], object],
    ) -> None:
        """
        Args:
            on_messages: Called in the event loop with messages of the process.
            on_end: Called in the event loop when the process has closed its socket.

        Raises:
            OSError: It cannot be started.
        """
        self.jobs: dict[int, Any] = {}
        self.share = 1.0
        self.load = RequestLoad()
        self.uploads: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.is_ready = False
        self.settled = gevent.event.Event()
        with contextlib.ExitStack() as on_error, contextlib.ExitStack() as theirs:
            ours, sock = _pair(on_error, theirs)
            said, saying = _pair(on_error, theirs)
            self._process = _Process(sock, saying)
            on_error.pop_all()
        self.pid = self._process.pid
        self.channel = Channel(ours, lambda messages: on_messages(self, messages), lambda: on_end(self))
        self._said = _Said(said, self)
        disowned_in_child(self)

    def __repr__(self) -> str:
        return f'<WorkerProcess pid={self.pid} jobs={len(self.jobs)} {"ready" if self.is_ready else "starting"}>'

    def started(self) -> None:
        """It is ready: from now on, its standard error is passed on."""
        self.is_ready = True
        self.settled.set()
        self._said.pass_on()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process has ended. Returns False if it has not ended in time."""
        until = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > until:
                return False
            gevent.sleep(POLL_S)
        return True

    def end(self) -> None:
        """End the process, which may finish its clean-up, and wait for it; kill it if it takes too long."""
        self.channel.finish()
        if not self.wait(KILL_AFTER_S):
            self.kill()
            self.wait(1.0)
        self.close()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def close(self) -> None:
        """Close the sockets."""
        self.channel.close()
        self._said.close()

    def how_it_ended(self) -> str:
        """How the process has ended, with the end of its standard error, for a message."""
        status = self._process.poll()
        if status is None or status == UNKNOWN:
            how = 'has ended'
        elif status < 0:
            how = f'was killed by {signal.Signals(-status).name if -status in set(signal.Signals) else status}'
        else:
            how = f'has ended with status {status}'
        text = self._said.text()
        return f'worker process {self.pid} {how}' + (f': {text}' if text and not self.is_ready else '')

    def disown(self) -> None:
        """In a forked child: close the copies of the sockets. The process is the parent's."""
        self.channel.disown()
        self._said.disown()


class _Process:
    """A process that was started by exec.

    Not a Popen, because that of a program that gevent has patched forks in Python. And this one starts with SIGINT and SIGTERM
    blocked: the parent decides what Ctrl-C means, and what it means when a service manager stops all processes of a service. If
    it ends, the process aborts its uploads and ends too.
    """

    def __init__(self, sock: int, saying: int) -> None:
        """
        Args:
            sock: The descriptor of its end of the channel.
            saying: The descriptor for its standard output and error.

        Raises:
            OSError: It cannot be started.
        """
        self._status: int | None = None
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, '-P', '-m', 's3po.worker', str(SOCKET)],
            {**os.environ, 'PYTHONPATH': _python_path()},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, saying, 1),
                (os.POSIX_SPAWN_DUP2, saying, 2),
                (os.POSIX_SPAWN_DUP2, sock, SOCKET),
            ],
            # Ctrl-C and Ctrl-Z in a terminal go to all processes of the foreground group.
            setpgroup=0,
            setsigmask=[signal.SIGINT, signal.SIGTERM],
            # Ends the process if its clean-up hangs: see s3po.batch.processes.serving. The program may ignore it.
            setsigdef=[signal.SIGALRM],
        )

    def poll(self) -> int | None:
        """The exit status, or the negative number of the signal that has ended it; None while it runs."""
        if self._status is None:
            try:
                pid, status = _waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                # Other code of this program has waited for all its children.
                self._status = UNKNOWN
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def kill(self) -> None:
        """Kill it, unless it has ended: then another process may have its id."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class _Said:
    """What a worker process writes to its standard output and error."""

    def __init__(self, sock: Any, worker: WorkerProcess) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._worker = worker
        self._is_passed_on = self._is_closed = False
        self._kept: collections.deque[bytes] = collections.deque()
        self._watcher: Any = gevent.get_hub().loop.io(sock.fileno(), READ_EVENT)
        self._watcher.start(self._read)

    def text(self) -> str:
        """The last of it."""
        if not self._is_closed:
            self._read()
        return b''.join(self._kept)[-KEPT_BYTES:].decode(errors='backslashreplace').strip()

    def pass_on(self) -> None:
        """Print it, and all that follows."""
        self._is_passed_on = True
        while self._kept:
            _print(self._kept.popleft())

    def close(self) -> None:
        """Print what is left, and close the socket."""
        if not self._is_closed:
            self._read()
        self._close()

    def disown(self) -> None:
        """Close the copy of the socket in a forked child."""
        self._is_closed = True
        self._sock.close()

    def _close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._watcher.close()
            self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self._close()
        elif self._is_passed_on:
            _print(data)
        else:
            self._kept.append(data)
            while sum(map(len, self._kept)) > KEPT_BYTES + READ_BYTES:
                self._kept.popleft()


def _print(data: bytes) -> None:
    # None in a program without a console, and anything in a notebook.
    if sys.stderr is not None:
        with contextlib.suppress(Exception):
            sys.stderr.write(data.decode(errors='backslashreplace'))
            sys.stderr.flush()


def _pair(on_error: contextlib.ExitStack, on_end: contextlib.ExitStack) -> tuple[Any, int]:
    """A native socket, which `on_error` closes, and the descriptor of its other end, which `on_end` closes."""
    ours, theirs = _native.socketpair()
    with contextlib.closing(theirs):
        sock = on_error.enter_context(_socket(fileno=ours.detach()))
        # Above the descriptors that the process gets: see _Process.
        descriptor = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, SOCKET + 1)
        on_end.callback(os.close, descriptor)
        return sock, descriptor


def _python_path() -> str:
    """PYTHONPATH with which the process finds the same modules: also s3po in a checkout.

    Python's own come first. Otherwise a types.py beside the program, which the program has never imported, would prevent the
    start of the process.
    """
    found: list[str] = []
    for path in sys.path:
        # A relative path in a directory that is gone.
        with contextlib.suppress(OSError):
            found += [os.path.abspath(path)] if isinstance(path, str) else []
    own = os.path.dirname(os.__file__)
    found.sort(key=lambda path: path not in (own, os.path.join(own, 'lib-dynload')))
    return os.pathsep.join(dict.fromkeys(path for path in found if os.pathsep not in path))
