"""The options of each operation: their names, types and defaults, which are defined only here.

The methods of Connection and Batch take them as `**options: Unpack[UploadOptions]`, which type checkers read. The decorator
`shows` puts them into the signatures that help() and inspect.signature() show. A `…Options` class has the keywords of a method,
and the class without that suffix all options of a `Call`: the source or target too.

The type of a result depends on `silent` and `encoding`, so the methods have overloads. Those with a `Loud…` class return the
result or raise; those with a `Quiet…` class may return False or None instead.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal, Protocol, TypedDict, TypeVar

from s3po.config import MAX_PAGE_KEYS, TransferConfig
from s3po.jobs.notes import Notes
from s3po.model import ListEntry, ObjectRef, Outcome, ProgressEvent

__all__ = [
    'DEFAULTS',
    'INTERNAL',
    'NAMES',
    'OBSERVED',
    'ON_BUCKETS',
    'BucketOptions',
    'Copy',
    'CopyOptions',
    'DeleteMany',
    'DeleteOptions',
    'Download',
    'DownloadFile',
    'DownloadFileOptions',
    'DownloadOptions',
    'Fetch',
    'HeadOptions',
    'Key',
    'Keys',
    'ListKeys',
    'ListLevel',
    'ListOptions',
    'LoudBinary',
    'LoudDownload',
    'LoudText',
    'LoudUpload',
    'ProgressOption',
    'QuietBinary',
    'QuietDownload',
    'QuietText',
    'QuietUpload',
    'Send',
    'StrPath',
    'Target',
    'Upload',
    'UploadFile',
    'UploadOptions',
    'shows',
    'unknown_option',
]

Method = TypeVar('Method', bound=Callable[..., object])


class Writable(Protocol):
    """A file object as the target of a download, binary or text."""

    def write(self, data: Any, /) -> object:
        """Write bytes or, to a text file without a binary layer, a str."""
        ...


# An object's key, or its entry in a listing.
Key = str | ListEntry
Keys = Iterable[str | ListEntry | ObjectRef]
StrPath = str | os.PathLike[str]
# A function for the progress, or True for a display.
ProgressOption = bool | Callable[[ProgressEvent], object] | None
# The target of a download.
Target = StrPath | Writable


class _Silent(TypedDict, total=False):
    silent: bool | None


class _Loud(TypedDict, total=False):
    silent: Literal[False]


class _Quiet(TypedDict):
    silent: bool | None


class _Upload(TypedDict, total=False):
    headers: Mapping[str, str] | None
    metadata: Mapping[str, str] | None
    content_type: str | None
    extra: Mapping[str, Any] | None
    compress: str | None
    if_none_match: str | None
    if_match: str | None
    retries: int | None
    delete: bool | None
    timeout_s: float | None
    progress: ProgressOption


class UploadOptions(_Upload, _Silent, total=False):
    """The keyword options of upload() and upload_file()."""


class LoudUpload(_Upload, _Loud, total=False):
    """UploadOptions of an upload that raises if it fails."""


class QuietUpload(_Upload, _Quiet, total=False):
    """UploadOptions of an upload that may return False if it fails."""


class _Download(TypedDict, total=False):
    decompress: str | bool
    max_decompressed_size: int | None
    version_id: str | None
    byte_range: tuple[int, int | None] | None
    if_match: str | None
    extra: Mapping[str, Any] | None
    retries: int | None
    timeout_s: float | None
    progress: ProgressOption


class DownloadFileOptions(_Download, _Silent, total=False):
    """The keyword options of download_file()."""


class LoudDownload(_Download, _Loud, total=False):
    """DownloadFileOptions of a download that raises if it fails."""


class QuietDownload(_Download, _Quiet, total=False):
    """DownloadFileOptions of a download that may return None if it fails."""


class _Decoding(TypedDict, total=False):
    encoding: str | None


class _Binary(TypedDict, total=False):
    encoding: None


class _Text(TypedDict):
    encoding: str


class DownloadOptions(_Decoding, DownloadFileOptions, total=False):
    """The keyword options of download()."""


class LoudBinary(LoudDownload, _Binary, total=False):
    """DownloadOptions without an encoding, of a download that raises if it fails."""


class LoudText(LoudDownload, _Text, total=False):
    """DownloadOptions with an encoding, of a download that raises if it fails."""


class QuietBinary(QuietDownload, _Binary, total=False):
    """DownloadOptions without an encoding, of a download that may return None if it fails."""


class QuietText(QuietDownload, _Text, total=False):
    """DownloadOptions with an encoding, of a download that may return None if it fails."""


class HeadOptions(TypedDict, total=False):
    """The keyword options of head() and exists()."""

    version_id: str | None
    extra: Mapping[str, Any] | None
    retries: int | None
    timeout_s: float | None


class _MissingOk(TypedDict, total=False):
    missing_ok: bool


class DeleteOptions(_MissingOk, HeadOptions, total=False):
    """The keyword options of delete()."""


class OtherStore(Protocol):
    """A Connection, as the destination of a copy to another store."""

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the store; None for AWS."""
        ...

    def perform(self, call: Any) -> Outcome:
        """Carry out a call."""
        ...


class CopyOptions(TypedDict, total=False):
    """The keyword options of copy() and move()."""

    to: OtherStore | None
    headers: Mapping[str, str] | None
    metadata: Mapping[str, str] | None
    content_type: str | None
    version_id: str | None
    if_match: str | None
    if_none_match: str | None
    extra: Mapping[str, Any] | None
    retries: int | None
    timeout_s: float | None
    progress: ProgressOption


class _List(TypedDict, total=False):
    start_after: str | None
    page_size: int
    extra: Mapping[str, Any] | None
    retries: int | None
    timeout_s: float | None


class _Delimiter(TypedDict, total=False):
    delimiter: str | None


class _NoDelimiter(TypedDict, total=False):
    delimiter: None


class _SomeDelimiter(TypedDict):
    delimiter: str | None


class ListOptions(_Delimiter, _List, total=False):
    """The keyword options of list()."""


class ListKeys(_NoDelimiter, _List, total=False):
    """ListOptions of a listing that contains only entries."""


class ListLevel(_SomeDelimiter, _List, total=False):
    """ListOptions of a listing that may contain prefixes too."""


class BucketOptions(TypedDict, total=False):
    """The keyword options of delete_many(), create_bucket() and delete_bucket()."""

    extra: Mapping[str, Any] | None
    retries: int | None
    timeout_s: float | None


class Send(UploadOptions, total=False):
    """What uploads of data and of files have in common.

    `config`, `memory`, `observer` and `notes` are for other rooms of s3po: how this one object is cut into parts, the budget of
    its batch, the receiver of its events, after the connection's, and the journal's notes about the job.
    """

    config: TransferConfig
    memory: Callable[[], Any]
    observer: Any
    notes: Notes | None


class Upload(Send, total=False):
    """The options of an upload of data."""

    source: Any


class UploadFile(Send, total=False):
    """The options of an upload of a file."""

    path: str | os.PathLike[str]


class Fetch(DownloadFileOptions, total=False):
    """What all downloads have in common; `config`, `memory`, `observer` and `notes` as for uploads."""

    config: TransferConfig
    memory: Callable[[], Any]
    observer: Any
    notes: Notes | None


class Download(_Decoding, Fetch, total=False):
    """The options of a download into memory, a file object or a path."""

    target: Any


class DownloadFile(Fetch, total=False):
    """The options of a download to a path."""

    path: str | os.PathLike[str]


class Copy(CopyOptions, total=False):
    """The options of a copy or a move; `memory`, `observer` and `notes` as for uploads."""

    memory: Callable[[], Any]
    observer: Any
    notes: Notes | None
    to_bucket: str
    to_key: str


class DeleteMany(BucketOptions, total=False):
    """The options of the deletion of many objects."""

    keys: Keys


# The options of each operation.
_OPTIONS: Final[Mapping[str, Any]] = {
    'upload': Upload,
    'upload_file': UploadFile,
    'download': Download,
    'download_file': DownloadFile,
    'head': HeadOptions,
    'delete': DeleteOptions,
    'copy': Copy,
    'move': Copy,
    'exists': HeadOptions,
    'list': ListOptions,
    'delete_many': DeleteMany,
    'create_bucket': BucketOptions,
    'delete_bucket': BucketOptions,
}
# The operations that report to an observer of their own.
OBSERVED: Final = frozenset(operation for operation, kind in _OPTIONS.items() if 'observer' in kind.__annotations__)
# The operations on a bucket, not on one object.
ON_BUCKETS: Final = frozenset({'list', 'delete_many', 'create_bucket', 'delete_bucket'})
# Options for other rooms of s3po. They are objects of this process.
INTERNAL: Final = frozenset({'config', 'memory', 'notes', 'observer'})
# The names that callers may give for each operation.
NAMES: Final = {operation: frozenset(kind.__annotations__) - INTERNAL for operation, kind in _OPTIONS.items()}
# The defaults that are not None.
DEFAULTS: Final[Mapping[str, Any]] = {'decompress': 'auto', 'missing_ok': True, 'page_size': MAX_PAGE_KEYS}


def unknown_option(method: str, options: Mapping[str, Any], known: Collection[str]) -> TypeError:
    """What Python raises for a keyword argument that a method does not have; for options that are not all known."""
    return TypeError(f'{method}() got an unexpected keyword argument {min(options.keys() - known)!r}')


def shows(options: Any, **defaults: object) -> Callable[[Method], Method]:
    """Decorate a method that takes `**options: Unpack[…]`: its signature shows each option, with its type and default.

    help(), inspect.signature() and the tools built on them read this signature. Type checkers read the TypedDict.

    Args:
        options: The TypedDict.
        defaults: The defaults that are neither None nor in DEFAULTS.
    """

    def decorate(function: Method) -> Method:
        signature = inspect.signature(function)
        named = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        shown = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, DEFAULTS.get(name)),
                annotation=getattr(kind, '__forward_arg__', kind),
            )
            for name, kind in options.__annotations__.items()
        ]
        found: Any = function
        found.__signature__ = signature.replace(parameters=[*named, *shown])
        return function

    return decorate
