"""The lines of a journal: records of jobs as JSON, with a checksum and, at the end, what a look-up needs.

A line is `{…,"state":"done","job":"<hash>.<n>","on":"<hashes>","crc":"<CRC32>"}`, padded with blanks to a multiple of ALIGNMENT
bytes. The CRC is that of all bytes before `,"crc"`. `job` is the hash of the call and its number among equal calls, `on` has
the hashes of the destinations that the record is about. Before them are the fields of JobRecord, `stat` (of the local file:
size, mtime_ns, inode), `unsure` (whether a failed call may have succeeded at the store) and `note` (of a transfer).

The first line is the header, which has no record.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final
from zlib import crc32

from s3po.journal.identity import Identity
from s3po.model import TransferResult

__all__ = [
    'ALIGNMENT',
    'VERSION',
    'Tail',
    'done_line',
    'has_valid_crc',
    'head_of',
    'header_line',
    'line_of',
    'parsed',
    'report_of',
    'result_text',
    'tail_of',
]

VERSION: Final = 1
# Offsets of records are kept as 32 bits, in units of this.
ALIGNMENT: Final = 16
# The header is written again at each opening, so its size must not change: the longest pid has seven digits on Linux.
HEADER_BYTES: Final = 512

_CRC: Final = b',"crc":"'
# The texts between the quotation marks from the state on.
FIELDS: Final = 17
# Ends of lines, by the number of blanks.
_ENDS: Final = tuple(b' ' * blanks + b'\n' for blanks in range(ALIGNMENT))
_STATE: Final = b',"state":"'
_decode: Final = json.JSONDecoder().raw_decode
_RESULT: Final = b',"result":{'
_SIZE: Final = re.compile(rb'"size_bytes":(\d+)\}')


class Tail:
    """The end of a record.

    Attributes:
        state: The state.
        hash: The hash of the call.
        n: Its number among equal calls, from 0.
        on: The hashes of the destinations; the first is the main one.
    """

    __slots__ = ('hash', 'n', 'on', 'state')

    def __init__(self, state: str, hash: str, n: int, on: list[int]) -> None:  # noqa: A002  (the name in Identity)
        self.state = state
        self.hash = hash
        self.n = n
        self.on = on


def named(name: object) -> str:
    """A name as JSON: the characters that the store gets, whatever str() of a subclass (such as an Enum) returns."""
    return quoted(name if isinstance(name, str) else str(name))


def head_of(identity: Identity) -> str:
    """The fields of the call, as the beginning of a line."""
    call = identity.call
    ref, options = call.ref, call.options
    # (A name that is not a str is invalid, and its job fails.)
    text = f'{{"v":1,"op":"{call.operation}","bucket":{named(ref.bucket)},"key":{named(ref.key)}'
    if ref.version_id is not None:
        text += f',"version_id":{named(ref.version_id)}'
    if identity.path is not None:
        text += f',"path":{quoted(identity.path)}'
    if 'to_key' in options:
        endpoint = f'"endpoint":{quoted(identity.to_endpoint)},' if identity.to_endpoint else ''
        text += f',"to":{{{endpoint}"bucket":{named(options.get("to_bucket"))},"key":{named(options["to_key"])}}}'
    return f'{text},"opts":{identity.options}' if identity.options else text


def result_text(result: TransferResult) -> str:
    """The result, as a field of a line."""
    text = f',"result":{{"etag":{quoted(result.etag)}'
    if result.version_id is not None:
        text += f',"version_id":{quoted(result.version_id)}'
    if result.checksum is not None:
        text += f',"checksum":{quoted(result.checksum)}'
    return f'{text},"parts":{result.parts},"size_bytes":{result.size_bytes}}}'


def line_of(text: str, state: str, identity: Identity, n: int, *, on: bool = True) -> bytes:
    """A complete line.

    Args:
        text: The fields before the state; '{' for none.
        state: The state.
        identity: The call.
        n: Its number among equal calls.
        on: Whether the record is about the destinations; False for notes that belong to an earlier one.
    """
    hashes = '%x' % identity.on if on else ''  # noqa: UP031  (twice as fast as the others)
    if on and identity.also:
        hashes = ','.join([hashes, *(f'{each:x}' for each in identity.also)])
    body = f'{text},"state":"{state}","job":"{identity.hash}.{n}","on":"{hashes}"'.encode()
    return b'%b,"crc":"%08x"}%b' % (body, crc32(body), _ENDS[-(len(body) + 19) % ALIGNMENT])


def done_line(identity: Identity, n: int, result: TransferResult) -> bytes:
    """The line of a brief call that is done: the same as with the other functions, in half the time."""
    ref = identity.call.ref
    version = '' if result.version_id is None else f'"version_id":{quoted(result.version_id)},'
    checksum = '' if result.checksum is None else f'"checksum":{quoted(result.checksum)},'
    body = (
        f'{{"v":1,"op":"upload","bucket":{quoted(ref.bucket)},"key":{quoted(ref.key)},'
        f'"result":{{"etag":{quoted(result.etag)},{version}{checksum}"parts":{result.parts},"size_bytes":{result.size_bytes}}},'
        f'"state":"done","job":"{identity.hash}.{n}","on":"{identity.on:x}"'
    ).encode()
    return b'%b,"crc":"%08x"}%b' % (body, crc32(body), _ENDS[-(len(body) + 19) % ALIGNMENT])


def header_line(endpoint: str | None, pid: int) -> bytes:
    """The first line."""
    body = json.dumps({'s3po_journal': VERSION, 'endpoint': endpoint, 'pid': pid})[:-1].encode()
    line = b'%b,"crc":"%08x"}' % (body, crc32(body))
    return line.ljust(HEADER_BYTES - 1) + b'\n'


def has_valid_crc(line: bytes) -> bool:
    """Whether a header is complete and undamaged."""
    at = line.rfind(_CRC)
    if at < 0 or not line.endswith(b'\n'):
        return False
    try:
        return line[at + 16 : at + 18] == b'"}' and int(line[at + 8 : at + 16], 16) == crc32(line[:at])
    except ValueError:
        return False


def tail_of(line: bytes) -> Tail | None:
    """The end of a record; None for one that is not complete and undamaged."""
    at = line.rfind(_STATE)
    # Three times as fast as a regular expression: , state : done , job : hash.n , on : hashes , crc : CRC }
    fields = line[at:].split(b'"')
    if at < 0 or len(fields) != FIELDS or len(line) % ALIGNMENT or not fields[-1].endswith(b'\n'):
        return None
    crc = fields[-2]
    try:
        # 9 for `,"crc":"` and the quotation mark after the CRC
        if crc32(line[: -len(fields[-1]) - len(crc) - 9]) != int(crc, 16):
            return None
    except ValueError:
        return None
    job, on = fields[7].decode(), fields[11]
    return Tail(fields[3].decode(), job[:32], int(job[33:]), [int(each, 16) for each in on.split(b',')] if on else [])


def size_of(line: bytes) -> int:
    """The size in the result of a record; 0 for none."""
    at = line.rfind(_RESULT)
    found = None if at < 0 else _SIZE.search(line, at)
    return 0 if found is None else int(found.group(1))


def report_of(line: bytes) -> dict[str, Any]:
    """The fields of a record after those of the call."""
    at = line.rfind(_RESULT)
    # Only a part of the line, and as text, because loads() takes twice the time.
    text = line.decode('ascii') if at < 0 else '{' + line[at + 1 :].decode('ascii')
    found: dict[str, Any] = _decode(text)[0]
    return found


def parsed(line: bytes) -> dict[str, Any]:
    """All fields of a line."""
    said: dict[str, Any] = json.loads(line)
    return said
