"""Converts botocore's responses to s3po's values. No requests; only the body of a GET is read here."""

from __future__ import annotations

import contextlib
import datetime
import functools
from collections.abc import Mapping
from typing import Any, Final

import gevent
import urllib3.exceptions

from s3po.endpoints.boto_errors import translated
from s3po.errors import NetworkError, TransportError
from s3po.governor import Pace
from s3po.http import text_of
from s3po.model import CompletedPart, ListEntry, ObjectInfo
from s3po.runtime import isolated, spawn
from s3po.s3 import CHECKSUM_ALGORITHMS, ID_HEADER, Stored
from s3po.s3.expected import check_match, is_proof, placed, unquoted
from s3po.s3.status import STORE_SIGNS, check_signs, has_own_key, moment_of
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


# How many turns of the event loop a killed greenlet may need to end.
MAX_TURNS: Final = 100


class BotoAnswer:
    """The response to a GET; implements Answer in s3po/s3/protocol.py."""

    def __init__(
        self,
        response: Mapping[str, Any],
        key: str,
        doing: str,
        *,
        is_range: bool = False,
        if_match: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._body = response['Body']
        self._pace = pace
        self._doing = doing
        self.size_bytes = -1
        self.status = int(response['ResponseMetadata']['HTTPStatusCode'])
        headers = response['ResponseMetadata'].get('HTTPHeaders', {})
        length = response.get('ContentLength', -1)
        self._is_chunked = headers.get('transfer-encoding', '').lower() == 'chunked'
        try:
            check_store(response, doing)
            if length < 0 and not self._is_chunked:
                raise ValueError('the response has no Content-Length, so a truncated body could not be detected')
            placing = placed(self.status, response.get('ContentRange', ''), length, is_range=is_range)
            self.offset, self.size_bytes, self.whole_bytes = placing
            check_match(if_match, etag_of(response), doing)
        except ValueError as error:
            self.close()
            raise NetworkError(f'{doing}: {error}') from error
        except TransportError:
            self.close()
            raise
        self.info = info_of(response, key, self.whole_bytes)
        self.etag, self.version_id, self.checksum = self.info.etag, self.info.version_id, self.info.checksum
        self._left = self.size_bytes

    def header(self, name: str) -> str | None:
        return self.info.headers.get(name)

    def read(self, size_bytes: int) -> bytes:
        if self.size_bytes < 0:
            # Chunked: urllib3 raises an error if the last chunk is missing.
            return isolated(functools.partial(self._read_some, size_bytes))
        wanted = min(size_bytes, self._left)
        if not wanted:
            return b''
        # urllib3 would take the caller's own timeout error, if it is an OSError, for a network error.
        data = isolated(functools.partial(self._read_some, wanted))
        # botocore checks the length only when a read goes beyond the end, so it is checked here.
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
        if self._pace is not None:
            self._pace.take(len(data))
        return data

    def read_into(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        # urllib3 returns the connection to its pool if the body was read to its end; in any other case this closes it.
        try:
            if not self.size_bytes:
                # The end of an empty body is noticed only by reading it.
                self._body.read()
            self._body.close()
        except (urllib3.exceptions.HTTPError, OSError):
            # The response is discarded, so errors do not matter.
            return
        except RuntimeError:
            # The greenlet that reads was killed a moment ago, and ends when the others have run.
            spawn(self._close_later)

    def _close_later(self) -> None:
        for _ in range(MAX_TURNS):
            gevent.sleep(0)
            with contextlib.suppress(RuntimeError, urllib3.exceptions.HTTPError, OSError):
                self._body.close()
                return


def check_store(response: Mapping[str, Any], doing: str) -> None:
    """Check that the response to a GET or HEAD comes from a store; raises NetworkError if not."""
    headers = {str(name).lower() for name in response['ResponseMetadata'].get('HTTPHeaders', {})}
    check_signs(doing, headers, STORE_SIGNS, str(response.get('ContentType', '')))


def etag_of(response: Mapping[str, Any]) -> str:
    """The ETag of a response, without quotes; '' for none."""
    return unquoted(str(response.get('ETag', '')))


def stored_of(response: Mapping[str, Any]) -> Stored:
    """The Stored value of a response."""
    return Stored(
        etag=etag_of(response),
        version_id=response.get('VersionId'),
        checksum=checksum_of(response),
        is_encrypted=is_encrypted(response),
    )


def completed_of(response: Mapping[str, Any], number: int, doing: str, size_bytes: int) -> CompletedPart:
    """The CompletedPart of a response."""
    return CompletedPart(
        number=number,
        etag=required_etag(response, doing),
        size_bytes=size_bytes,
        checksum=checksum_of(response),
        is_encrypted=is_encrypted(response),
    )


def required_etag(response: Mapping[str, Any], doing: str) -> str:
    """The ETag of a response; raises NetworkError if it proves nothing."""
    etag = etag_of(response)
    if not is_proof(etag):
        raise NetworkError(f'{doing}: the response has no valid ETag, so there is no proof of success')
    return etag


def is_encrypted(response: Mapping[str, Any]) -> bool:
    """Whether the object is encrypted with a KMS or customer key, so that its ETag is not an MD5."""
    return has_own_key(response.get('ServerSideEncryption'), response.get('SSECustomerAlgorithm'))


def checksum_of(response: Mapping[str, Any]) -> str | None:
    """The strongest checksum of a response, as 'ALGORITHM:base64'; None for none."""
    for name in CHECKSUM_ALGORITHMS:
        if response.get(f'Checksum{name}'):
            return f'{name}:{response[f"Checksum{name}"]}'
    return None


def part_of(item: Mapping[str, Any]) -> CompletedPart:
    """The part of an item of ListParts."""
    return CompletedPart(
        number=item['PartNumber'], etag=etag_of(item), size_bytes=int(item.get('Size', -1)), checksum=checksum_of(item)
    )


def time_of(response: Mapping[str, Any]) -> datetime.datetime | None:
    """When the store sent a response, by its clock; None if unknown."""
    return moment_of(response.get('ResponseMetadata', {}).get('HTTPHeaders', {}).get('date', ''))


def entry_of(item: Mapping[str, Any]) -> ListEntry:
    """The ListEntry of an item of a listing."""
    return ListEntry(
        key=item['Key'],
        size_bytes=int(item.get('Size', 0)),
        etag=etag_of(item),
        last_modified=item.get('LastModified'),
        storage_class=item.get('StorageClass', 'STANDARD'),
    )


def info_of(response: Mapping[str, Any], key: str, size_bytes: int) -> ObjectInfo:
    """The ObjectInfo of the response to a HEAD or GET."""
    headers = headers_of(response)
    modified: datetime.datetime | None = response.get('LastModified')
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        etag=etag_of(response),
        last_modified=modified,
        storage_class=response.get('StorageClass', 'STANDARD'),
        content_type=headers.get('content-type'),
        # Header names are case-insensitive; some stores capitalise them.
        metadata={
            name.lower(): _text(value)
            for name, value in response.get('Metadata', {}).items()
            if f'x-amz-meta-{name.lower()}' != ID_HEADER
        },
        headers=headers,
        checksum=checksum_of(response),
        version_id=response.get('VersionId'),
    )


def headers_of(response: Mapping[str, Any]) -> dict[str, str]:
    """All headers of a response, with lower-case names."""
    headers = response['ResponseMetadata'].get('HTTPHeaders', {})
    return {str(name).lower(): _text(str(value)) for name, value in headers.items()}


def _text(value: str) -> str:
    """The text of a header, which http.client has decoded as Latin-1: as UTF-8 if it is UTF-8."""
    if value.isascii():
        return value
    try:
        return text_of(value.encode('latin-1'))
    except UnicodeEncodeError:
        # A mock has passed the text itself.
        return value


def deletion_of(response: Mapping[str, Any]) -> Deletion:
    """The keys that a response to DeleteObjects confirms or refuses."""
    failures = [
        NotDeleted(
            key=str(each.get('Key', '')),
            version_id=each.get('VersionId') or None,
            code=str(each.get('Code', '')),
            message=str(each.get('Message') or ''),
        )
        for each in response.get('Errors', ())
    ]
    deleted = [(str(each.get('Key', '')), each.get('VersionId') or None) for each in response.get('Deleted', ())]
    return Deletion(deleted=deleted, failures=failures)
