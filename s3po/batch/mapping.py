"""map_upload() and map_download(): one call for each item of an iterable, which is read as the queue has room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Unpack

from s3po.batch.calls import Calls
from s3po.batch.job import Callback, Errback, not_callable
from s3po.batch.referring import RefCallback, referring
from s3po.errors import ConfigurationError, S3poError
from s3po.jobs import Call
from s3po.jobs.options import NAMES, DownloadOptions, Key, Target, UploadOptions, shows, unknown_option
from s3po.model import ref_of

__all__ = ['DownloadItem', 'Mapped', 'UploadItem']

UploadItem = tuple[str, Key, Any] | Mapping[str, Any]
DownloadItem = tuple[str, Key] | tuple[str, Key, Target | None] | Mapping[str, Any]

# The names of the values of a tuple, and how many of them are needed.
FORMS: Final = {'upload': (('bucket', 'key', 'source'), 3), 'download': (('bucket', 'key', 'target'), 2)}
# What _map() gets from an iterable that has ended.
END: Final = object()


class _MapUpload(UploadOptions, total=False):
    callback: Callback | RefCallback | None
    errback: Errback | RefCallback | None


class _MapDownload(DownloadOptions, total=False):
    callback: Callback | RefCallback | None
    errback: Errback | RefCallback | None


class Mapped(Calls):
    """Methods that queue a call for each item of an iterable, which may be endless.

    The next item is read when the queue has room, so a generator is never far ahead of the workers.

    Attributes:
        mapped: The index that the last map_upload() or map_download() has reached: the number of items that it has submitted.
            It is valid after an exception too, so the rest is `itertools.islice(items, batch.mapped, None)`.
    """

    mapped = 0

    def make_room(self) -> None:
        """Wait until the queue has room; raise if the batch accepts no more jobs."""
        raise NotImplementedError

    def submit_refused(self, call: Call, errback: Errback | None, *, silent: bool | None) -> None:
        """Count a call that submit() has refused as not started; no effect if the batch is closed."""
        raise NotImplementedError

    def check_outside(self, waiting: str) -> None:
        """Refuse to wait in a callback of the batch."""
        raise NotImplementedError

    @shows(_MapUpload)
    def map_upload(self, iterable: Iterable[UploadItem], **options: Unpack[_MapUpload]) -> int:
        """Queue a Connection.upload() for each item. Blocks until all items are submitted, not until they are uploaded.

        Args:
            iterable: Its items are tuples (bucket, key, source), or mappings with the arguments of upload() by name, such as
                {'bucket': 'b', 'key': 'k', 'source': b'', 'metadata': {'a': '1'}}. It may be endless. For very many items, make
                the batch with keep_results=False.
            options: As for upload(), for all items; an item that is a mapping may have others.
            callback: Called with each result; a function that needs two arguments is called with the result and the job's ref.
            errback: Called with each error, in the same way.

        Returns:
            The number of submitted items.

        Raises:
            Cancelled, DeadlineExceeded, BreakerOpen: The batch accepts no more jobs, or the last 100 items were for a bucket
                (or another scope) that has stopped. The message says how many items were submitted.
            ConfigurationError: An item has another form, or the caller is a callback of the batch.
            BaseException: An exception of the iterable; it has a note with the number of items.
        """
        return self._map('upload', iterable, dict(options))

    @shows(_MapDownload)
    def map_download(self, iterable: Iterable[DownloadItem], **options: Unpack[_MapDownload]) -> int:
        """Queue a Connection.download() for each item. Blocks until all items are submitted, not until they are downloaded.

        Args:
            iterable: Its items are tuples (bucket, key) or (bucket, key, target), or mappings with the arguments of download()
                by name. It may be endless, as for map_upload().
            options: As for download(), for all items; an item that is a mapping may have others.
            callback: Called with each result; a function that needs two arguments is called with the result and the job's ref.
            errback: Called with each error, in the same way.

        Returns:
            The number of submitted items.

        Raises:
            As for map_upload().
        """
        return self._map('download', iterable, dict(options))

    def _map(self, operation: str, iterable: Iterable[Any], options: dict[str, Any]) -> int:
        method = f'map_{operation}'
        self.check_outside(f'{method}()')
        callback, errback = options.pop('callback', None), options.pop('errback', None)
        if not options.keys() <= NAMES[operation]:
            raise unknown_option(method, options, NAMES[operation])
        if (mistake := not_callable(callback, errback)) is not None:
            raise mistake
        callback_of, errback_of = referring(callback), referring(errback)
        items = _iterator(method, iterable)
        self.mapped = index = 0
        while True:
            self._make_room(method)
            try:
                item = next(items, END)
            except BaseException as error:
                self.mapped = index
                error.add_note(self._index_reached(method))
                raise
            # The iterable may have called this method too.
            self.mapped = index
            if item is END:
                return index
            bucket, key, given = _arguments(operation, item, index, options)
            silent = given.pop('silent', None)
            ref = ref_of(bucket, key, given.pop('version_id', None))
            call = Call(operation, ref, given)
            try:
                self.submit(call, callback_of(ref), errback_of(ref), silent=silent)
            except S3poError as error:
                # The item is not lost.
                self.submit_refused(call, errback_of(ref), silent=silent)
                raise self._with_index(error, method) from error.__cause__
            self.mapped = index = index + 1

    def _make_room(self, method: str) -> None:
        try:
            self.make_room()
        except S3poError as error:
            raise self._with_index(error, method) from error.__cause__

    def _with_index(self, error: S3poError, method: str) -> S3poError:
        error.args = (f'{error}; {self._index_reached(method)}', *error.args[1:])
        return error

    def _index_reached(self, method: str) -> str:
        return f'{method}() has submitted {self.mapped:,} items'


def _iterator(method: str, iterable: object) -> Iterator[Any]:
    if isinstance(iterable, Iterable) and not isinstance(iterable, str | bytes | Mapping):
        return iter(iterable)
    raise ConfigurationError(f'{method}() needs an iterable of items, not {type(iterable).__name__}')


def _arguments(operation: str, item: object, index: int, options: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The bucket, the key and the other arguments of an item."""
    names, least = FORMS[operation]
    if isinstance(item, Mapping):
        given = dict(item)
    elif isinstance(item, tuple | list) and least <= len(item) <= len(names):
        given = dict(zip(names, item, strict=False))
    else:
        form = f'({", ".join(names)})'
        raise ConfigurationError(f'item {index} of map_{operation}() must be {form} or a mapping, not {type(item).__name__}')
    for name in names[:least]:
        if name not in given:
            raise ConfigurationError(f'item {index} of map_{operation}() has no {name!r}')
    bucket, key = given.pop('bucket'), given.pop('key')
    if not given.keys() <= NAMES[operation]:
        unknown = min(map(str, given.keys() - NAMES[operation]))
        raise ConfigurationError(f'item {index} of map_{operation}(): {operation}() has no argument {unknown!r}')
    return bucket, key, {**options, **given}
