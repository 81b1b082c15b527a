"""What S3's answers look like: their length, range and ETag. In one place for every transport. No I/O.

An answer that looks otherwise comes from something between the client and the store (a proxy's page, a cache), or from a broken
store. It is an error, never a success.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html and its siblings; RFC 9110, sections 8.6, 8.8.3,
13.1.1, 14.4 and 15.3.
"""

from __future__ import annotations

import http.client
from typing import Final

from s3po.errors import NetworkError, PreconditionFailed

__all__ = ['check_match', 'is_proof', 'is_strong', 'length_of', 'placed', 'quoted', 'unquoted']

# S3's largest objects need 14 digits.
MAX_DIGITS: Final = 18


def length_of(text: str | None) -> int:
    """The number of bytes that a Content-Length tells; -1 where there is none.

    Raises:
        ValueError: It is no number of bytes.
    """
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise ValueError(f'the answer says Content-Length: {text[:40]!r}')
    return int(text)


def placed(status: int, said: str, size_bytes: int, *, is_range: bool) -> tuple[int, int, int]:
    """The offset of a body in its object, its length, and the size of the whole object; -1 for what is not known.

    Some stores answer a range with status 200 and a right Content-Range (gofakes3, and with it `rclone serve s3`): the header
    counts, not the status. Whether it is the range that was asked for, the caller compares.

    Args:
        status: The answer's, 200 or 206.
        said: The answer's Content-Range; '' for none.
        size_bytes: The length of the body; -1 where it is sent in chunks, and shows at its end.
        is_range: Whether a range was asked for.

    Raises:
        ValueError: The answer is a part of the object where all of it was asked for, or contradicts itself.
    """
    if status == http.client.PARTIAL_CONTENT and not is_range:
        raise ValueError('the answer has status 206, and no range was asked for')
    if not said and status == http.client.OK:
        return 0, size_bytes, size_bytes
    offset, stop, whole = _content_range(said)
    if size_bytes not in (-1, stop - offset):
        raise ValueError(f'the answer says Content-Range: {said!r} for a body of {size_bytes:,} bytes')
    if not is_range and (offset, stop) != (0, whole):
        raise ValueError(f'the answer says Content-Range: {said!r}, and no range was asked for')
    return offset, stop - offset, whole


def _content_range(text: str) -> tuple[int, int, int]:
    """Where a range begins and ends (half-open), and the size of the object that it is of."""
    unit, _, rest = text.partition(' ')
    span, _, size = rest.partition('/')
    first, _, last = span.partition('-')
    for number in (first, last, size):
        if unit != 'bytes' or not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
            raise ValueError(f'the answer to a range says Content-Range: {text[:80]!r}')
    offset, stop, whole = int(first), int(last) + 1, int(size)
    if not offset < stop <= whole:
        raise ValueError(f'the answer to a range says Content-Range: {text!r}')
    return offset, stop, whole


# --- ETags


def unquoted(etag: str) -> str:
    """An ETag without its quotes. A weak one ('W/"…"') stays as it is, so that it is never taken for a strong one."""
    return etag if etag.startswith('W/') else etag.strip('"')


def quoted(etag: str) -> str:
    """An ETag as If-Match takes it; '*', lists and what has its quotes already stay as they are."""
    return etag if etag == '*' or etag.endswith('"') else f'"{etag}"'


def is_strong(etag: str) -> bool:
    """Whether an ETag stands for the very bytes of an object: it is there, and not weak (RFC 9110, section 8.8.1)."""
    return bool(etag) and not etag.startswith('W/')


def is_proof(etag: str) -> bool:
    """Whether an ETag, without its quotes, proves that a store has taken what was sent.

    It is a single one: two headers joined have quotes inside. Web frameworks give weak ones to whatever they answer.
    """
    return bool(etag) and '"' not in etag and not etag.startswith('W/')


def check_match(if_match: str | None, etag: str, doing: object) -> None:
    """Compare the ETag of an answer with what the request asked for: some stores ignore If-Match.

    Args:
        if_match: As the caller gave it; None and '*' take every object.
        etag: The answer's, without quotes.
        doing: The request, for the message.

    Raises:
        PreconditionFailed: The answer is of another version of the object.
        NetworkError: The answer has no ETag.
    """
    if if_match is None or if_match == '*' or (if_match == etag and is_strong(etag)):
        return
    if not etag:
        raise NetworkError(f'{doing}: the answer has no ETag to compare with if_match={if_match!r}')
    asked = quoted(if_match)
    if not is_strong(etag) or quoted(etag) not in (asked, *(each.strip() for each in asked.split(','))):
        raise PreconditionFailed(
            f'{doing}: the store ignored If-Match: the object has the ETag {etag!r}, and {if_match!r} was asked for',
            status=http.client.PRECONDITION_FAILED,
            code='PreconditionFailed',
        )
