"""What botocore's answers say.

What may live here: from botocore's dictionaries to our values; no requests but the reading of a body that is handed on.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any

import urllib3.exceptions

from s3po.endpoints.boto_errors import translated
from s3po.errors import NetworkError, TransportError
from s3po.model import CompletedPart, ListEntry, ObjectInfo
from s3po.runtime import isolated
from s3po.s3 import CHECKSUM_ALGORITHMS, ID_HEADER, Stored
from s3po.s3.expected import check_match, is_proof, placed, unquoted
from s3po.s3.status import STORE_SIGNS, check_signs, has_own_key
from s3po.s3.xml import Deletion, NotDeleted

__all__ = [
    'BotoAnswer',
    'check_store',
    'completed_of',
    'deletion_of',
    'entry_of',
    'etag_of',
    'info_of',
    'required_etag',
    'stored_of',
]


class BotoAnswer:
    """The answer to a GET; see Answer in s3po/s3/protocol.py."""

    def __init__(
        self, said: Mapping[str, Any], key: str, doing: str, *, is_range: bool = False, if_match: str | None = None
    ) -> None:
        self._body = said['Body']
        self._doing = doing
        self.size_bytes = -1
        self.status = int(said['ResponseMetadata']['HTTPStatusCode'])
        headers = said['ResponseMetadata'].get('HTTPHeaders', {})
        length = said.get('ContentLength', -1)
        self._is_chunked = headers.get('transfer-encoding', '').lower() == 'chunked'
        try:
            check_store(said, doing)
            if length < 0 and not self._is_chunked:
                raise ValueError('the answer has no Content-Length, so its end could not be told from a cut')
            placing = placed(self.status, said.get('ContentRange', ''), length, is_range=is_range)
            self.offset, self.size_bytes, self.whole_bytes = placing
            check_match(if_match, etag_of(said), doing)
        except ValueError as error:
            self.close()
            raise NetworkError(f'{doing}: {error}') from error
        except TransportError:
            self.close()
            raise
        self.info = info_of(said, key, self.whole_bytes)
        self.etag, self.version_id, self.checksum = self.info.etag, self.info.version_id, self.info.checksum
        self._left = self.size_bytes

    def header(self, name: str) -> str | None:
        return self.info.headers.get(name)

    def read(self, size_bytes: int) -> bytes:
        if self.size_bytes < 0:
            # In chunks: urllib3 raises an error where the last one is missing.
            return isolated(functools.partial(self._read_some, size_bytes))
        wanted = min(size_bytes, self._left)
        if not wanted:
            return b''
        # urllib3 takes the caller's own timeout error, if it is an OSError, for one of the network.
        data = isolated(functools.partial(self._read_some, wanted))
        # botocore checks the length only when more is asked for than there is, so it is checked here.
        if len(data) < wanted:
            got = self.size_bytes - self._left + len(data)
            raise NetworkError(f'{self._doing}: the body ended after {got:,} of {self.size_bytes:,} bytes')
        self._left -= len(data)
        if self._is_chunked and not self._left and isolated(functools.partial(self._read_some, 1)):
            raise NetworkError(f'{self._doing}: the body has more than the {self.size_bytes:,} bytes of its Content-Range')
        return data

    def _read_some(self, size_bytes: int) -> bytes:
        with translated(self._doing):
            data: bytes = self._body.read(size_bytes)
            return data

    def read_into(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        # urllib3 puts a connection back by itself when its body was read to the end, and this closes it in any other case.
        try:
            if not self.size_bytes:
                # The end of an empty body is only seen by reading it.
                self._body.read()
            self._body.close()
        except (urllib3.exceptions.HTTPError, OSError):
            # It is being thrown away; how it ends does not matter.
            return


def check_store(said: Mapping[str, Any], doing: str) -> None:
    """Refuse the answer to a GET or HEAD that is no store's."""
    headers = {str(name).lower() for name in said['ResponseMetadata'].get('HTTPHeaders', {})}
    check_signs(doing, headers, STORE_SIGNS, str(said.get('ContentType', '')))


def etag_of(said: Mapping[str, Any]) -> str:
    return unquoted(str(said.get('ETag', '')))


def stored_of(said: Mapping[str, Any]) -> Stored:
    return Stored(
        etag=etag_of(said),
        version_id=said.get('VersionId'),
        checksum=checksum_of(said),
        is_encrypted=is_encrypted(said),
    )


def completed_of(said: Mapping[str, Any], number: int, doing: str, size_bytes: int) -> CompletedPart:
    return CompletedPart(
        number=number,
        etag=required_etag(said, doing),
        size_bytes=size_bytes,
        checksum=checksum_of(said),
        is_encrypted=is_encrypted(said),
    )


def required_etag(said: Mapping[str, Any], doing: str) -> str:
    etag = etag_of(said)
    if not is_proof(etag):
        raise NetworkError(f'{doing}: the answer has no ETag of an object, so nothing proves that it was done')
    return etag


def is_encrypted(said: Mapping[str, Any]) -> bool:
    return has_own_key(said.get('ServerSideEncryption'), said.get('SSECustomerAlgorithm'))


def checksum_of(said: Mapping[str, Any]) -> str | None:
    for name in CHECKSUM_ALGORITHMS:
        if said.get(f'Checksum{name}'):
            return f'{name}:{said[f"Checksum{name}"]}'
    return None


def entry_of(item: Mapping[str, Any]) -> ListEntry:
    return ListEntry(
        key=item['Key'],
        size_bytes=int(item.get('Size', 0)),
        etag=etag_of(item),
        last_modified=item.get('LastModified'),
        storage_class=item.get('StorageClass', 'STANDARD'),
    )


def info_of(said: Mapping[str, Any], key: str, size_bytes: int) -> ObjectInfo:
    headers = said['ResponseMetadata'].get('HTTPHeaders', {})
    modified: datetime.datetime | None = said.get('LastModified')
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=etag_of(said),
        last_modified=modified,
        storage_class=said.get('StorageClass', 'STANDARD'),
        content_type=said.get('ContentType'),
        # Names of headers have no case; some stores send them capitalised.
        metadata={
            name.lower(): value for name, value in said.get('Metadata', {}).items() if f'x-amz-meta-{name.lower()}' != ID_HEADER
        },
        headers={str(name).lower(): str(value) for name, value in headers.items()},
        checksum=checksum_of(said),
        version_id=said.get('VersionId'),
    )


def deletion_of(said: Mapping[str, Any]) -> Deletion:
    failures = [
        NotDeleted(
            key=str(each.get('Key', '')),
            version_id=each.get('VersionId') or None,
            code=str(each.get('Code', '')),
            message=str(each.get('Message') or ''),
        )
        for each in said.get('Errors', ())
    ]
    deleted = [(str(each.get('Key', '')), each.get('VersionId') or None) for each in said.get('Deleted', ())]
    return Deletion(deleted=deleted, failures=failures)
