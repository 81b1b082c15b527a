"""Checks of S3's responses: length, range and ETag. Shared by all transports. No I/O.

A response that fails a check comes from a proxy or a cache, or from a broken store. It is an error, never a success.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html and its siblings; RFC 9110, sections 8.6, 8.8.3,
13.1.1, 14.4 and 15.3.
"""

from __future__ import annotations

import http.client
from typing import Final

from s3po.errors import NetworkError, PreconditionFailed

__all__ = ['check_match', 'is_proof', 'is_strong', 'length_of', 'placed', 'quoted', 'unquoted', 'version_to_read']

# Enough for every size: S3's largest objects need 14 digits.
MAX_DIGITS: Final = 18


def length_of(text: str | None) -> int:
    """Parse a Content-Length; -1 if there is none.

    Raises:
        ValueError: It is not a number of bytes.
    """
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError(f'the response has Content-Length: {text[:40]!r}')
    return int(text)


def placed(status: int, content_range: str, size_bytes: int, *, is_range: bool) -> tuple[int, int, int]:
    """The offset of a body in its object, its length, and the size of the whole object; -1 for unknown values.

    Some stores respond to a range request with status 200 and a correct Content-Range (gofakes3, and so `rclone serve s3`): the
    header counts, not the status. The caller checks that it is the requested range.

    Args:
        status: The response's status, 200 or 206.
        content_range: The response's Content-Range; '' for none.
        size_bytes: The length of the body; -1 if it is chunked, because its length is only known at its end.
        is_range: Whether a range was requested.

    Raises:
        ValueError: The response is a part of the object although the whole was requested, or it contradicts itself.
    """
    if status == http.client.PARTIAL_CONTENT and not is_range:
        raise ValueError('the response has status 206, but no range was requested')
    if not content_range and status == http.client.OK:
        return 0, size_bytes, size_bytes
    offset, stop, whole = _content_range(content_range)
    if size_bytes not in (-1, stop - offset):
        raise ValueError(f'the response has Content-Range: {content_range!r} for a body of {size_bytes:,} bytes')
    if not is_range and (offset, stop) != (0, whole):
        raise ValueError(f'the response has Content-Range: {content_range!r}, but no range was requested')
    return offset, stop - offset, whole


def _content_range(text: str) -> tuple[int, int, int]:
    """Parse a Content-Range: start and stop (half-open), and the size of the object."""
    unit, _, rest = text.partition(' ')
    span, _, size = rest.partition('/')
    first, _, last = span.partition('-')
    for number in (first, last, size):
        if unit != 'bytes' or not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
            raise ValueError(f'the response to a range request has Content-Range: {text[:80]!r}')
    offset, stop, whole = int(first), int(last) + 1, int(size)
    if not offset < stop <= whole:
        raise ValueError(f'the response to a range request has Content-Range: {text!r}')
    return offset, stop, whole


def version_to_read(version_id: str | None) -> str | None:
    """The version id of a request for what was just written, by the version id in the response to the write.

    'null' becomes None: it is the current version wherever it is written, and moto refuses it in a bucket without versions.
    """
    return None if version_id == 'null' else version_id


# --- ETags


def unquoted(etag: str) -> str:
    """An ETag without its quotes. A weak one ('W/"…"') is unchanged, so that it is never taken for a strong one."""
    return etag if etag.startswith('W/') else etag.strip('"')


def quoted(etag: str) -> str:
    """An ETag in the form of If-Match; '*', lists and quoted ETags are unchanged."""
    return etag if etag == '*' or etag.endswith('"') else f'"{etag}"'


def is_strong(etag: str) -> bool:
    """Whether an ETag identifies the exact bytes of an object: it is present and not weak (RFC 9110, section 8.8.1)."""
    return bool(etag) and not etag.startswith('W/')


def is_proof(etag: str) -> bool:
    """Whether an ETag, without its quotes, proves that a store has stored the sent bytes.

    It must be a single one: two joined headers have quotes inside. And not weak: web frameworks add weak ETags to any response.
    """
    return bool(etag) and '"' not in etag and not etag.startswith('W/')


def check_match(if_match: str | None, etag: str, doing: object) -> None:
    """Compare the ETag of a response with the request's If-Match: some stores ignore If-Match.

    Args:
        if_match: The caller's value; None and '*' match every object.
        etag: The response's ETag, without quotes.
        doing: The request, for the message.

    Raises:
        PreconditionFailed: The response is of another version of the object.
        NetworkError: The response has no ETag.
    """
    if if_match is None or if_match == '*' or (if_match == etag and is_strong(etag)):
        return
    if not etag:
        raise NetworkError(f'{doing}: the response has no ETag to compare with if_match={if_match!r}')
    asked = quoted(if_match)
    if not is_strong(etag) or quoted(etag) not in (asked, *(each.strip() for each in asked.split(','))):
        raise PreconditionFailed(
            f'{doing}: the store ignored If-Match: the object has the ETag {etag!r}, but {if_match!r} was requested',
            status=http.client.PRECONDITION_FAILED,
            code='PreconditionFailed',
        )
