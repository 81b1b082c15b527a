"""Files with one of fsspec's caches: `open(cache_type='bytes')`, and what `blockcache::` keeps on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import fsspec.spec

from s3po.errors import SourceChanged
from s3po.files import S3Reader, file_errors
from s3po.interfaces.entries import file_entry, split

__all__ = ['Cached']


class Cached(fsspec.spec.AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file that is read through a cache of fsspec. All bytes that it fetches are of one version of the object.

    Blocks that `blockcache::` keeps on disk may be of an earlier one: fsspec merges those of all versions. The object is
    opened when the first bytes are fetched, or at once if fsspec's option `size` is not given.
    """

    def __init__(self, files: Any, path: str, open_reader: Callable[[], S3Reader], **options: Any) -> None:
        self._open_reader = open_reader
        super().__init__(files, path, 'rb', **options)

    @functools.cached_property
    def _reader(self) -> S3Reader:
        with file_errors(self.path):
            return self._open_reader()

    @property
    def details(self) -> dict[str, Any]:
        """The entry of the file, which info() returns."""
        return file_entry(split(self.path)[0], self._reader.info)

    @property
    def cache(self) -> Any:
        """The cache of fsspec, which `blockcache::` replaces by one that would fetch from any version of the object."""
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        self._cache = cache
        if getattr(cache, 'multi_fetcher', None) is not None:
            cache.multi_fetcher = self._fetch_ranges

    def _fetch_range(self, start: int, end: int) -> bytes:
        with file_errors(self.path):
            return self._reader.read_range(start, end)

    def _fetch_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        try:
            if self._reader.size != self.size:
                raise SourceChanged(f'{self.path} has another size than the bytes in the cache: it was replaced')
            return [self._fetch_range(start, end) for start, end in ranges]
        except BaseException:
            # They were marked as present before they were fetched.
            for start, end in ranges:
                self._cache.blocks.difference_update(range(start // self.blocksize, -(-end // self.blocksize)))
            raise

    def close(self) -> None:
        """Close it, and free the memory of its cache."""
        super().close()
        if '_reader' in self.__dict__:
            self._reader.close()
