"""Merges several credentials into one."""

from __future__ import annotations

from collections.abc import Sequence

from s3po.credentials.base import Credentials, Packed
from s3po.credentials.keys import Keys
from s3po.errors import ConfigurationError

__all__ = ['merge_credentials']


def merge_credentials(*credentials: Credentials) -> Credentials:
    """Merge several credentials into one.

    Id, secret and token are always those of one source: the first that has keys now, else the first that can get keys (a
    metadata service that has not responded so far). The region is the first that any of them has.

    Args:
        credentials: The credentials, in order of precedence.

    Raises:
        ConfigurationError: One of them is of another kind.
    """
    for each in credentials:
        if not isinstance(each, Credentials):
            raise ConfigurationError(f'merge_credentials takes credentials of s3po.credentials, not {type(each).__name__}')
    return _MergedCredentials(credentials)


class _MergedCredentials(Credentials):
    __slots__ = ('_source', '_sources')

    def __init__(self, sources: Sequence[Credentials]) -> None:
        super().__init__(next((each.region for each in sources if each.region), None))
        self._sources = tuple(sources)
        # Chosen once, so that it cannot change between the reading of two attributes.
        chosen = [each for each in sources if each] or [each for each in sources if each.can_refresh]
        self._source = chosen[0] if chosen else None

    @property
    def can_refresh(self) -> bool:
        return self._source is not None and self._source.can_refresh

    @property
    def name(self) -> str:
        return 'merge_credentials' if self._source is None else self._source.name

    @property
    def reason(self) -> str:
        reasons = '; '.join(f'{each.name}: {each.reason}' for each in self._sources)
        return f'none of them has keys ({reasons})' if reasons else 'nothing was merged; give credentials'

    def keys(self) -> Keys | None:
        return None if self._source is None else self._source.keys()

    def issue(self, known: Keys | None) -> Keys:
        if self._source is None:
            return super().issue(known)
        return self._source.issue(known)

    def packed(self) -> Packed:
        """All of them: the one with keys is chosen again where the pickle is loaded."""
        return Packed(_merged_again, parcels=[each.packed() for each in self._sources])


def _merged_again(parcels: Sequence[Packed]) -> Credentials:
    """Unpack and merge. Pickles of earlier versions name this function and its argument."""
    return merge_credentials(*(each.unpack() for each in parcels))
