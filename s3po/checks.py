"""Small checks and views that several rooms share. Imports nothing of s3po."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ['public_names']


def public_names(value: object, internal: Collection[str] = ()) -> list[str]:
    """Names for `__dir__`: the public attributes and methods, without those in `internal`."""
    names = {*vars(value), *object.__dir__(value)}
    return sorted(name for name in names if not name.startswith('_') and name not in internal)
