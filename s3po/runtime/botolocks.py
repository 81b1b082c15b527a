"""The locks and events that botocore and s3transfer wait for, of s3po's and of users' own clients.

botocore refreshes credentials and tokens while it holds a native lock, and refreshing does I/O: a second greenlet that waits
for the lock stops its thread for ever, the refreshing greenlet included. The bucket of its adaptive retries waits for a native
condition, which stops the thread for up to 2 s. boto3's upload_file and download_file wait for an event that their own threads
set, which may need a lock that a greenlet holds. Their classes get attributes here that turn these into ones that yield as they
are read, so that objects made before are covered too. Locks that are held over no I/O are left alone.
"""

import contextlib
import importlib.machinery
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from s3po.runtime.locks import NATIVE_LOCK, YieldingLock, pause, wait_until
from s3po.runtime.threads import has_greenlets

__all__ = ['share_botocore_locks']

# What a waiter for botocore's bucket sleeps at a time; the bucket's fill rate may have risen meanwhile.
_LOOK_EVERY_S: Final = 0.05


def share_botocore_locks() -> None:
    """Let greenlets of one thread wait for botocore's locks, at once or when botocore is imported; it is not imported here."""
    awaited = set(_ATTRIBUTES) - set(sys.modules)
    for name in set(_ATTRIBUTES) - awaited:
        _repair(sys.modules[name])
    if awaited:
        # First, because the others find botocore without asking any further.
        sys.meta_path.insert(0, _Finder(awaited))


def _repair(module: types.ModuleType) -> None:
    for class_name, attribute, convert in _ATTRIBUTES[module.__name__]:
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


# By module: class, attribute, and what makes it yield.
_ATTRIBUTES: Final[dict[str, tuple[tuple[str, str, Callable[[Any], Any]], ...]]] = {
    'botocore.credentials': (('RefreshableCredentials', '_refresh_lock', _yielding_lock),),
    'botocore.tokens': (('DeferredRefreshableToken', '_refresh_lock', _yielding_lock),),
    's3transfer.futures': (('TransferCoordinator', '_done_event', _yielding_event),),
    'botocore.retries.bucket': (('TokenBucket', '_new_fill_rate_condition', _yielding_condition),),
}


class _Yielding:
    """An attribute that holds what its objects set, and gives it in a form that yields.

    Args:
        name: The name of the attribute.
        convert: Gives that form, or the same object where nothing is to be changed.
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
    """As much of a `threading.Condition` as botocore's bucket uses. Its waiters wake by themselves, and look again."""

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
        """Nothing to do: see wait()."""

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _YieldingEvent:
    """As much of a `threading.Event` as s3transfer uses."""

    __slots__ = ('_event', 'is_set', 'set')

    def __init__(self, event: Any) -> None:
        self._event = event
        self.is_set = event.is_set
        self.set = event.set

    def wait(self, timeout: float | None = None) -> bool:
        return wait_until(self.is_set, timeout) if has_greenlets() else bool(self._event.wait(timeout))


class _Finder:
    """Has modules repaired as soon as they are imported. Leaves the import system when it has seen all of them."""

    def __init__(self, awaited: set[str]) -> None:
        self._awaited = awaited

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module as the other finders do."""
        if fullname not in self._awaited:
            return None
        for finder in [each for each in sys.meta_path if each is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._repair_after(spec)
                return spec
        return None

    def _repair_after(self, spec: importlib.machinery.ModuleSpec) -> None:
        # The loader is this module's own. A wrapper around it would have to do all that loaders can do.
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            _repair(module)
            self._awaited.discard(module.__name__)
            if not self._awaited:
                with contextlib.suppress(ValueError):  # another thread has come first
                    sys.meta_path.remove(self)

        loader.exec_module = exec_module
