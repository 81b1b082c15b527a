"""Small checks and views that several rooms share. Imports nothing of s3po."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ['described', 'public_names']


def described(error: BaseException | None) -> str:
    """The repr() of an error of the caller's code; its class name where repr() fails."""
    try:
        return repr(error)
    except Exception:  # noqa: BLE001  (whatever the caller's class raises)
        return f'{type(error).__name__} (its repr() failed)'


def public_names(value: object, internal: Collection[str] = ()) -> list[str]:
    """Names for `__dir__`: the public attributes and methods, without those in `internal`."""
    names = {*vars(value), *object.__dir__(value)}
    return sorted(name for name in names if not name.startswith('_') and name not in internal)
