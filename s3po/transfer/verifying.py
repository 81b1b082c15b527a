"""What came of a download, compared with what the store says of the object.

What may live here: the choice of what to compare with, and the arithmetic of it. No requests, no sinks.

A check is fed by whoever receives the bytes: `start()` for a part, `update()` for each piece of it in order, `end()` when it is
whole; parts may come side by side, and again. `verify()` compares.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Final, Protocol

from s3po.checksum import CRC_BYTES, combined_text, crc_function, has_md5_form, multipart_etag, text_of_crc
from s3po.errors import IntegrityError

__all__ = ['Check', 'Mismatch', 'check_for']

DIGEST_BYTES: Final = {'SHA256': 32, 'SHA1': 20}


class Mismatch(IntegrityError):
    """What came is not what was stored."""


class Check(Protocol):
    """Compares an object with what is told of it.

    Attributes:
        told: What it is compared with, as 'ALGORITHM:base64'.
        is_streamed: Whether it has to get all bytes in order, as one part.
        is_guess: Whether `told` may be of parts that were cut in another way.
    """

    told: str
    is_streamed: bool
    is_guess: bool

    def start(self) -> Any:
        """The state of a part of which nothing has come."""
        ...

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        """The state behind the next bytes of the part."""
        ...

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        """A part has come whole; in place of what came of it before."""
        ...

    def seen(self, number: int) -> str:
        """The checksum of a part that has come; two that differ are not both right."""
        ...

    def verify(self, doing: str) -> None:
        """Compare.

        Raises:
            Mismatch: What came is something else.
        """
        ...


class CRCCheck:
    """By a CRC of the whole object, which is combined of its parts'."""

    is_streamed = False
    is_guess = False

    def __init__(self, told: str) -> None:
        self.told = told
        self._algorithm = told.partition(':')[0]
        self._compute = crc_function(self._algorithm)
        self._parts: dict[int, tuple[str, int]] = {}

    def start(self) -> int:
        return 0

    def update(self, state: int, data: bytes | memoryview) -> int:
        return int(self._compute(data, state))

    def end(self, number: int, state: int, size_bytes: int) -> None:
        self._parts[number] = (text_of_crc(self._algorithm, state), size_bytes)

    def seen(self, number: int) -> str:
        return self._parts[number][0]

    def verify(self, doing: str) -> None:
        parts = [part for _, part in sorted(self._parts.items())]
        _compare(doing, self.told, parts[0][0] if len(parts) == 1 else combined_text(self._algorithm, parts))


class DigestCheck:
    """By a digest of the whole object, which is computed from its first byte to its last."""

    is_streamed = True
    is_guess = False

    def __init__(self, told: str) -> None:
        self.told = told
        self._algorithm = told.partition(':')[0]
        self._digest = b''

    def start(self) -> Any:
        return hashlib.new(self._algorithm, usedforsecurity=False)

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        state.update(data)
        return state

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        self._digest = state.digest()

    def seen(self, number: int) -> str:
        return self._digest.hex()

    def verify(self, doing: str) -> None:
        _compare(doing, self.told, f'{self._algorithm}:{base64.b64encode(self._digest).decode()}')


class PartsCheck:
    """By the ETag of an object in parts, which is made of their MD5s: if it was uploaded in parts as it comes now."""

    is_streamed = False
    is_guess = True

    def __init__(self, etag: str) -> None:
        digest, _, count = etag.partition('-')
        self.told = f'MD5:{base64.b64encode(bytes.fromhex(digest)).decode()}-{count}'
        self._etags: dict[int, str] = {}

    def start(self) -> Any:
        return hashlib.md5(usedforsecurity=False)

    def update(self, state: Any, data: bytes | memoryview) -> Any:
        state.update(data)
        return state

    def end(self, number: int, state: Any, size_bytes: int) -> None:
        self._etags[number] = state.hexdigest()

    def seen(self, number: int) -> str:
        return self._etags[number]

    def verify(self, doing: str) -> None:
        etag = multipart_etag(etag for _, etag in sorted(self._etags.items())) or ''
        digest, _, count = etag.partition('-')
        _compare(doing, self.told, f'MD5:{base64.b64encode(bytes.fromhex(digest)).decode()}-{count}')


def check_for(checksum: str, told: str | None, etag: str, *, is_etag_md5: bool, parts: int) -> Check | None:
    """How an object is to be compared; None where there is nothing to compare with.

    Args:
        checksum: TransferConfig.checksum, which is not 'none'.
        told: The checksum that the store tells of the whole object; None for none.
        etag: The object's ETag.
        is_etag_md5: Whether an ETag of the form of an MD5 is one.
        parts: How many parts it comes in.
    """
    algorithm = _algorithm_of(told)
    if told is not None and algorithm in CRC_BYTES:
        return CRCCheck(told)
    if told is not None and algorithm in DIGEST_BYTES and (parts == 1 or checksum == algorithm.lower()):
        return DigestCheck(told)
    if checksum == 'md5' and is_etag_md5 and has_md5_form(etag):
        return DigestCheck(f'MD5:{base64.b64encode(bytes.fromhex(etag)).decode()}')
    if checksum == 'md5' and parts > 1 and etag.endswith(f'-{parts}') and has_md5_form(etag.partition('-')[0]):
        return PartsCheck(etag)
    return None


def _algorithm_of(told: str | None) -> str:
    """The algorithm of a checksum of the bytes; '' for one of the parts' checksums ('…-N'), and for what is none of ours."""
    algorithm, _, value = (told or '').partition(':')
    length = CRC_BYTES.get(algorithm) or DIGEST_BYTES.get(algorithm)
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return ''
    return algorithm if len(raw) == length else ''


def _compare(doing: str, told: str, computed: str) -> None:
    if computed != told:
        raise Mismatch(f'{doing}: what came is not what was stored: it has {computed}, and the store tells {told}')
