"""The keyword arguments of fsspec and s3fs as options of Connection. None is ignored: each is used, refused, or listed here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from s3po.config import TransferConfig
from s3po.jobs.options import CopyOptions, HeadOptions, UploadOptions, unknown_option

__all__ = ['COPYING', 'DESCRIBING', 'LISTING', 'OPENING', 'READING', 'WRITING', 'translated']

# The options of Connection that each group of methods takes.
LISTING: Final = frozenset({'extra', 'retries', 'timeout_s'})
DESCRIBING: Final = frozenset(HeadOptions.__annotations__)
READING: Final = DESCRIBING | {'if_match', 'config'}
WRITING: Final = frozenset(UploadOptions.__annotations__) - {'compress', 'delete', 'progress', 'silent'} | {'config'}
COPYING: Final = frozenset(CopyOptions.__annotations__) - {'progress'}
OPENING: Final = (READING | WRITING) - {'config', 'timeout_s'} | {'read_ahead'}

# s3fs's options that change nothing here, and why.
NO_EFFECT: Final = {
    'refresh': 'No listing is cached.',
    'fill_cache': 'It tunes a cache of s3fs that is not used here.',
}
# s3fs's names of the settings of one transfer.
SETTINGS: Final = {'chunksize': 'multipart_chunksize', 'max_concurrency': 'max_concurrency'}


def translated(method: str, options: Mapping[str, Any], known: Collection[str], config: TransferConfig) -> dict[str, Any]:
    """The options of Connection for the keyword arguments of a method; TypeError for one that is not `known`.

    They are options of Connection, s3fs's acl, requester_pays, chunksize and max_concurrency, and boto3's parameters.
    """
    given = {name: value for name, value in options.items() if name not in NO_EFFECT}
    extra = dict(given.pop('extra', None) or {})
    extra |= {name: given.pop(name) for name in [*given] if name[:1].isupper()}
    if acl := given.pop('acl', None):
        extra['ACL'] = acl
    if given.pop('requester_pays', False):
        extra['RequestPayer'] = 'requester'
    settings = {}
    if 'config' in known:
        settings = {ours: given.pop(theirs) for theirs, ours in SETTINGS.items() if theirs in given}
        settings = {name: value for name, value in settings.items() if value is not None}
    allowed = set(known) - {'config'}
    if not given.keys() <= allowed:
        raise unknown_option(method, given, allowed)
    given |= {'config': replace(config, **settings)} if settings else {}
    return {**given, 'extra': extra} if extra else given
