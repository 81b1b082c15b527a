"""Repair of what was made of `ssl` before it was patched.

gevent puts a subclass of its own in the place of `ssl.SSLContext`. Whoever holds the original class, or a context made of it
(urllib3, requests and boto3 all do), is left with setters that look the class up by its name and, finding the subclass, call
themselves until RecursionError (https://github.com/gevent/gevent/issues/1016), and with blocking sockets. Binding the new class
wherever the old one is bound does not reach contexts that exist. So the original class itself is changed: all contexts, old and
new, then make gevent's sockets.

A rule that the original must keep: it is still the base class of gevent's, whose methods call it.
"""

import gc
import ssl
from collections.abc import Callable
from typing import Any

import gevent.ssl

__all__ = ['original_context_class', 'rejoin_classes', 'repair_contexts']

# Much of what is needed here is neither documented nor typed.
_gevent_ssl: Any = gevent.ssl

# Their setters in the standard library name the class by its global name. gevent's do not.
_REPAIRED_PROPERTIES = ('options', 'verify_flags', 'verify_mode', 'minimum_version', 'maximum_version')


def original_context_class() -> type[ssl.SSLContext]:
    """Return the standard library's own SSLContext class, patched or not."""
    original: type[ssl.SSLContext] = _gevent_ssl.orig_SSLContext
    return original


def repair_contexts() -> None:
    """Give the original SSLContext class what gevent's subclass has, for all contexts that exist or will."""
    original: Any = original_context_class()
    made_before = [holder for holder in gc.get_referrers(original) if isinstance(holder, original)]
    for name in _REPAIRED_PROPERTIES:
        setattr(original, name, vars(_gevent_ssl.SSLContext)[name])
    original._msg_callback = _repaired_message_callback(vars(original)['_msg_callback'])
    original.sni_callback = _repaired_sni_callback()
    original.sslsocket_class = _gevent_ssl.SSLSocket
    original.wrap_socket = _gevent_ssl.SSLContext.wrap_socket
    for context in made_before:
        if context.sni_callback is not None:
            context.sni_callback = context.sni_callback  # through the property just set


def rejoin_classes() -> None:
    """Bind `ssl.SSLContext` to the original class again, after gevent's patch.

    It is repaired and cooperative, and `isinstance(context, ssl.SSLContext)` stays true for contexts made before, which
    asyncio and others ask for.
    """
    ssl.SSLContext = original_context_class()  # type: ignore[misc]  # the re-binding is the point


class _OwnerCallback:
    """A callback of the user's that is given the TLS socket where gevent gives the plain one underneath.

    gevent does this for its own class, but cannot be used here: it takes asyncio's SSLObject for a socket of its own.
    """

    __slots__ = ('user_function',)

    def __init__(self, user_function: Callable[..., Any]) -> None:
        self.user_function = user_function

    def __call__(self, connection: Any, *args: Any) -> Any:
        owner = getattr(connection, '_sslsock', None)
        return self.user_function(connection if owner is None else owner(), *args)


def _wrapped(callback: Any) -> Any:
    is_done = not callable(callback) or isinstance(callback, _OwnerCallback | _gevent_ssl._Callback)
    return callback if is_done else _OwnerCallback(callback)


def _unwrapped(callback: Any) -> Any:
    return callback.user_function if isinstance(callback, _OwnerCallback) else callback


def _repaired_sni_callback() -> property:
    plain: Any = vars(original_context_class().__base__)['sni_callback']

    def get(context: ssl.SSLContext) -> Any:
        return _unwrapped(plain.__get__(context))

    def set_(context: ssl.SSLContext, callback: Any) -> None:
        plain.__set__(context, _wrapped(callback))

    return property(get, set_, doc=plain.__doc__)


def _repaired_message_callback(standard: Any) -> property:
    def get(context: ssl.SSLContext) -> Any:
        return _unwrapped(standard.fget(context))

    def set_(context: ssl.SSLContext, callback: Any) -> None:
        # The standard library's setter looks its class up by name (see above); it cannot switch greenlets meanwhile.
        bound = ssl.SSLContext
        ssl.SSLContext = original_context_class()  # type: ignore[misc]  # for the call
        try:
            standard.fset(context, _wrapped(callback))
        finally:
            ssl.SSLContext = bound  # type: ignore[misc]  # as it was

    return property(get, set_, doc=standard.__doc__)
