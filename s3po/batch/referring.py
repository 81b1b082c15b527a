"""Callbacks that also take the object of a result."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from s3po.model import ObjectRef

__all__ = ['RefCallback', 'referring']

RefCallback = Callable[[Any, ObjectRef], object]


def referring(function: Callable[..., object] | None) -> Callable[[ObjectRef], Callable[[Any], object] | None]:
    """A function that makes the callback of a job from the job's ref.

    Args:
        function: Called with the result and, if it needs two positional arguments, with the ref. None for no callback.
    """
    if function is None or not _needs_two(function):
        return lambda _: function
    return lambda ref: lambda value: function(value, ref)


def _needs_two(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some built-in functions have no signature.
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters) == 2
