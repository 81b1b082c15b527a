"""Repairs objects of `ssl` that were created before it was patched.

gevent replaces `ssl.SSLContext` by a subclass. Code that keeps the original class, or a context of it (urllib3, requests and
boto3 do), then has setters that look up the class by its name, find the subclass and call themselves until RecursionError
(https://github.com/gevent/gevent/issues/1016), and blocking sockets. Binding the new class wherever the old one is bound does
not reach existing contexts. So the original class itself is changed: all contexts, old and new, then create gevent's sockets.

Invariant: the original class stays the base class of gevent's, whose methods call it.
"""

import gc
import ssl
from collections.abc import Callable
from typing import Any

import gevent.ssl

__all__ = ['original_context_class', 'rejoin_classes', 'repair_contexts']

# Much of what is needed here is neither documented nor typed.
_gevent_ssl: Any = gevent.ssl

# Properties whose setters in the standard library look up the class by its global name. gevent's do not.
_REPAIRED_PROPERTIES = ('options', 'verify_flags', 'verify_mode', 'minimum_version', 'maximum_version')


def original_context_class() -> type[ssl.SSLContext]:
    """Return the standard library's own SSLContext class, patched or not."""
    original: type[ssl.SSLContext] = _gevent_ssl.orig_SSLContext
    return original


def repair_contexts() -> None:
    """Give the original SSLContext class the properties of gevent's subclass, for all existing and future contexts."""
    original: Any = original_context_class()
    made_before = [holder for holder in gc.get_referrers(original) if isinstance(holder, original)]
    for name in _REPAIRED_PROPERTIES:
        setattr(original, name, vars(_gevent_ssl.SSLContext)[name])
    original._msg_callback = _repaired_callback(vars(original)['_msg_callback'])
    original.sni_callback = _repaired_callback(vars(original.__base__)['sni_callback'])
    original.sslsocket_class = _gevent_ssl.SSLSocket
    original.wrap_socket = _gevent_ssl.SSLContext.wrap_socket
    for context in made_before:
        if context.sni_callback is not None:
            context.sni_callback = context.sni_callback  # through the property that was just set


def rejoin_classes() -> None:
    """Bind `ssl.SSLContext` to the original class again, after gevent's patch.

    It is repaired and cooperative, and `isinstance(context, ssl.SSLContext)`, which asyncio and others check, stays true for
    existing contexts.
    """
    ssl.SSLContext = original_context_class()  # type: ignore[misc]  # rebinding is intended


class _OwnerCallback:
    """A callback of the user that gets the TLS socket, where gevent would pass the plain socket underneath.

    gevent has the same for its own class, but that one takes asyncio's SSLObject for a gevent socket.
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


def _repaired_callback(standard: Any) -> property:
    """The property of a callback, with _OwnerCallback around what the user sets."""

    def get(context: ssl.SSLContext) -> Any:
        callback = standard.__get__(context)
        return callback.user_function if isinstance(callback, _OwnerCallback) else callback

    def set_(context: ssl.SSLContext, callback: Any) -> None:
        # The standard library's setters look up their class by name (see above); they cannot switch greenlets meanwhile.
        bound = ssl.SSLContext
        ssl.SSLContext = original_context_class()  # type: ignore[misc]  # for the call
        try:
            standard.__set__(context, _wrapped(callback))
        finally:
            ssl.SSLContext = bound  # type: ignore[misc]  # as it was

    return property(get, set_, doc=standard.__doc__)
