"""Small checks that several rooms share. Imports nothing of s3po."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeGuard

__all__ = ['described', 'is_seconds', 'is_wait', 'is_whole', 'public_names', 'slot_setters']


def described(error: BaseException | None) -> str:
    """The repr() of an error of the caller's code; its class name if repr() fails."""
    try:
        return repr(error)
    except Exception:  # noqa: BLE001  (the caller's class may raise anything)
        return f'{type(error).__name__} (its repr() failed)'


def is_whole(value: object, least: int | None = None, most: int | None = None) -> TypeGuard[int]:
    """Whether a value is a whole number from `least` to `most`, both included; None for no limit. True and False are not."""
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    return (least is None or value >= least) and (most is None or value <= most)


def is_seconds(value: object) -> TypeGuard[float]:
    """Whether a value is a number of seconds above 0. NaN and True are not."""
    # Not `<= 0`: nothing compares with NaN.
    return not isinstance(value, bool) and isinstance(value, int | float) and value > 0


def is_wait(value: object) -> TypeGuard[float]:
    """Whether a value is a number of seconds from 0. NaN, with which event loops wait for ever, and True are not."""
    return (value == 0 and not isinstance(value, bool)) or is_seconds(value)


def public_names(value: object, internal: Collection[str] = ()) -> list[str]:
    """Names for `__dir__`: the public attributes and methods, without those in `internal`."""
    names = {*vars(value), *object.__dir__(value)}
    return sorted(name for name in names if not name.startswith('_') and name not in internal)


def slot_setters(kind: type) -> list[Callable[[object, Any], None]]:
    """The functions that set each field of a frozen, slotted dataclass, for a handwritten `__init__`.

    Such an `__init__` takes half the time of the generated one, which pays for values that are created with every request.
    """
    return [vars(kind)[name].__set__ for name in kind.__annotations__]
