"""Makes the locks and events of botocore and s3transfer yield, for s3po's clients and the program's own.

botocore refreshes credentials and tokens while it holds a native lock, and the refresh does I/O: a second greenlet that waits
for the lock blocks its thread for ever, including the refreshing greenlet. The bucket of its adaptive retries waits for a
native condition, which blocks the thread for up to 2 s. boto3's upload_file and download_file wait for an event that their own
threads set, and these threads may need a lock that a greenlet holds. Here the classes get attributes that convert these locks
to yielding ones when they are read, so that existing objects are covered too. Locks that are not held during I/O are unchanged.

At the end of upload_file and download_file, s3transfer joins its threads. After an interruption they may still wait for the
store, or for a lock that a greenlet holds: here this wait yields too.

Before botocore sends a body, it waits up to 1 s for "100 Continue", with poll(), which the narrow patch leaves native. Here the
wait yields for gevent's sockets.
"""

import contextlib
import functools
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import gevent.socket

from s3po.runtime.locks import NATIVE_LOCK, YieldingLock, pause, wait_until
from s3po.runtime.threads import has_greenlets

__all__ = ['share_botocore_locks']

# The interval at which a waiter checks botocore's bucket again, because its fill rate may have risen.
_LOOK_EVERY_S: Final = 0.05


def share_botocore_locks() -> None:
    """Repair botocore's locks, now or when botocore is imported; does not import it."""
    names = {*_ATTRIBUTES, *_FUNCTIONS}
    awaited = names - set(sys.modules)
    for name in names - awaited:
        _repair(sys.modules[name])
    if awaited:
        # In the first place, because the other finders find botocore without calling later ones.
        sys.meta_path.insert(0, _Finder(awaited))


def _repair(module: types.ModuleType) -> None:
    for class_name, name, wrap in _FUNCTIONS.get(module.__name__, ()):
        owner: Any = getattr(module, class_name, None) if class_name else module
        function = getattr(owner, name, None)
        if function is not None and not hasattr(function, '__wrapped__'):
            setattr(owner, name, wrap(function))
    for class_name, attribute, convert in _ATTRIBUTES.get(module.__name__, ()):
        found = getattr(module, class_name, None)
        if found is not None:
            setattr(found, attribute, _Yielding(attribute, convert))


def _yielding_lock(held: Any) -> Any:
    # A subclass may use another library's lock.
    return YieldingLock(held) if type(held) is NATIVE_LOCK else held


def _yielding_condition(held: Any) -> Any:
    lock = getattr(held, '_lock', None)
    return _YieldingCondition(YieldingLock(lock)) if type(lock) is NATIVE_LOCK else held


def _yielding_event(held: Any) -> Any:
    lock = getattr(getattr(held, '_cond', None), '_lock', None)
    return _YieldingEvent(held) if type(lock) is NATIVE_LOCK else held


# By module: class, attribute, and the function that converts its value.
_ATTRIBUTES: Final[dict[str, tuple[tuple[str, str, Callable[[Any], Any]], ...]]] = {
    'botocore.credentials': (('RefreshableCredentials', '_refresh_lock', _yielding_lock),),
    'botocore.tokens': (('DeferredRefreshableToken', '_refresh_lock', _yielding_lock),),
    's3transfer.futures': (('TransferCoordinator', '_done_event', _yielding_event),),
    'botocore.retries.bucket': (('TokenBucket', '_new_fill_rate_condition', _yielding_condition),),
}


class _TooLongError(Exception):
    """The end of a wait."""


def _yielding_wait(wait_for_read: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(wait_for_read)
    def wait(sock: Any, timeout: float | None = None) -> bool:
        if timeout == 0 or not isinstance(sock, gevent.socket.socket):
            return wait_for_read(sock, timeout)
        try:
            gevent.socket.wait_read(sock.fileno(), timeout, _TooLongError())
        except _TooLongError:
            return False
        return True

    return wait


def _yielding_shutdown(shutdown: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(shutdown)
    def wait(executor: Any, wait: bool = True) -> None:  # noqa: FBT001, FBT002  (as s3transfer has it)
        threads = getattr(executor._executor, '_threads', ())
        if wait and has_greenlets():
            shutdown(executor, False)
            wait_until(lambda: not any(thread.is_alive() for thread in threads))
        shutdown(executor, wait)

    return wait


# By module: class ('' for a function of the module), function, and what wraps it.
_FUNCTIONS: Final[dict[str, tuple[tuple[str, str, Callable[[Any], Any]], ...]]] = {
    'urllib3.util': (('', 'wait_for_read', _yielding_wait),),
    's3transfer.futures': (('BoundedExecutor', 'shutdown', _yielding_shutdown),),
}


class _Yielding:
    """A descriptor for an attribute; reading it converts the value to a yielding form.

    Args:
        name: The name of the attribute.
        convert: Returns the yielding form, or the same object if there is nothing to convert.
    """

    def __init__(self, name: str, convert: Callable[[Any], Any]) -> None:
        self._name = name
        self._convert = convert

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            held = vars(instance)[self._name]
        except KeyError:
            raise AttributeError(self._name) from None
        converted = vars(instance)[self._name] = self._convert(held)
        return converted

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self._name] = value

    def __delete__(self, instance: Any) -> None:
        vars(instance).pop(self._name, None)


class _YieldingCondition:
    """The part of `threading.Condition` that botocore's bucket uses. Waiters wake at intervals and check again."""

    __slots__ = ('_lock',)

    def __init__(self, lock: YieldingLock) -> None:
        self._lock = lock

    def wait(self, timeout: float) -> None:
        self._lock.release()
        try:
            pause(min(timeout, _LOOK_EVERY_S))
        finally:
            self._lock.acquire()

    def notify(self) -> None:
        """Do nothing: waiters wake at intervals."""

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _YieldingEvent:
    """The part of `threading.Event` that s3transfer uses."""

    __slots__ = ('_event', 'is_set', 'set')

    def __init__(self, event: Any) -> None:
        self._event = event
        self.is_set = event.is_set
        self.set = event.set

    def wait(self, timeout: float | None = None) -> bool:
        return wait_until(self.is_set, timeout) if has_greenlets() else bool(self._event.wait(timeout))


class _Finder:
    """Repairs modules as soon as they are imported. Removes itself from the import system after the last one."""

    def __init__(self, awaited: set[str]) -> None:
        self._awaited = awaited

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module by the other finders."""
        if fullname not in self._awaited:
            return None
        for finder in [each for each in sys.meta_path if each is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._repair_after(spec)
                return spec
        return None

    def _repair_after(self, spec: importlib.machinery.ModuleSpec) -> None:
        # Each module has its own loader, so patching one method of it is safe. A wrapper would need all methods of loaders.
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            _repair(module)
            self._awaited.discard(module.__name__)
            if not self._awaited:
                with contextlib.suppress(ValueError):  # another thread was faster
                    sys.meta_path.remove(self)

        loader.exec_module = exec_module
