"""Counts the objects of s3po that are alive."""

from __future__ import annotations

import gc
from collections import Counter

__all__ = ['live']


def live() -> Counter[str]:
    """The number of objects of each class of s3po, after a garbage collection. Classes themselves do not count."""
    gc.collect()
    kinds = Counter(type(each) for each in gc.get_objects())
    return Counter({kind.__qualname__: number for kind, number in kinds.items() if _is_ours(kind)})


def _is_ours(kind: type) -> bool:
    # Some classes of C have a descriptor there.
    return str(kind.__module__).partition('.')[0] == 's3po' and not issubclass(kind, type)
