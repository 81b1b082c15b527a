"""Pickles a Connection's arguments. Credentials cannot be pickled on their own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

from s3po.credentials import Credentials
from s3po.credentials.base import Packed

__all__ = ['made_again', 'packed_credentials']

T = TypeVar('T')


def packed_credentials(given: object) -> object | None:
    """The argument `credentials` in a form that can be pickled; None if there is none (a session, a local function)."""
    if isinstance(given, Credentials):
        return given.packed()
    if not callable(given):
        return None
    try:
        pickle.dumps(given)
    except Exception:  # noqa: BLE001  (a foreign object may raise anything; the caller raises ConfigurationError)
        return None
    return given


def made_again(kind: Callable[..., T], **arguments: Any) -> T:
    """Make a Connection from unpickled arguments."""
    packed = arguments.get('credentials')
    if isinstance(packed, Packed):
        arguments['credentials'] = packed.unpack()
    return kind(**arguments)
