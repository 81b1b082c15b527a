"""Changes of recorded responses: of their form, which no client may notice, and of what they prove.

Each function that chooses takes a Random.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from tests.support.answering import Reply
from tests.support.recording import Recorded

__all__ = ['SPOILS', 'Draft', 'draft_of', 'reformed', 'reply_of']


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A response that is not framed yet.

    Attributes:
        request: The request, as in Recorded.
        status: The status.
        headers: The headers without those of the framing.
        body: The body.
        framing: 'length', 'chunked', 'none', or the text of a Content-Length.
        chunks: The sizes of the chunks, repeated.
        version: The version of HTTP; with 1.0, the connection ends after the response.
        reason: The reason phrase; None for the usual one.
    """

    request: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    framing: str = 'length'
    chunks: Sequence[int] = (1 << 20,)
    version: str = '1.1'
    reason: str | None = None

    @property
    def method(self) -> str:
        return self.request.partition(' ')[0]

    @property
    def is_document(self) -> bool:
        """Whether the body is XML."""
        return self.body.lstrip().startswith(b'<') and b'<html' not in self.body.lower()

    def header(self, name: str) -> str | None:
        """The value of a header; None if it is missing."""
        return next((value for each, value in self.headers if each.lower() == name), None)

    def with_header(self, name: str, value: str | None) -> Draft:
        """The response with another value of a header; None removes it."""
        others = [each for each in self.headers if each[0].lower() != name]
        return replace(self, headers=others if value is None else [*others, (name, value)])


def draft_of(answer: Recorded) -> Draft:
    """A response as it was recorded."""
    framing = 'length' if answer.length is None else answer.length
    if answer.request.startswith('HEAD') and answer.length is None:
        framing = 'none'
    return Draft(request=answer.request, status=answer.status, headers=answer.headers, body=answer.body, framing=framing)


def reply_of(draft: Draft) -> Reply:
    """The response as it is sent."""
    headers, body = dict(draft.headers), draft.body
    if draft.framing == 'chunked':
        headers['Transfer-Encoding'] = 'chunked'
        body = b''.join(_chunks(body, draft.chunks)) + b'0\r\n\r\n'
    elif draft.framing != 'none' and draft.status != 204:
        headers['Content-Length'] = str(len(body)) if draft.framing == 'length' else draft.framing
    return Reply(
        status=draft.status,
        headers=headers,
        body=body,
        is_last=draft.version == '1.0',
        version=draft.version,
        reason=draft.reason,
    )


def _chunks(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    found, offset, turn = [], 0, 0
    while offset < len(body):
        piece = body[offset : offset + sizes[turn % len(sizes)]]
        found.append(b'%x\r\n%b\r\n' % (len(piece), piece))
        offset, turn = offset + len(piece), turn + 1
    return found


# --- the form

# The headers that may not be removed: they prove something, or their values are returned and are looked for in SPOILS.
KEPT: Final = ('etag', 'content-range', 'last-modified', 'x-amz-version-id', 'x-amz-checksum', 'x-amz-meta', 'content-encoding')
CASES: Final[Sequence[Callable[[str], str]]] = (str, str.lower, str.upper, str.title)
ADDED: Final = (
    ('Via', '1.1 proxy'),
    ('Connection', 'close'),
    ('x-unknown', ''),
    ('Vary', 'a,\tb '),
    ('x-amz-storage-class', 'GLACIER'),
    ('x-amz-storage-class', ''),
    ('Expires', '0'),
    ('Content-Language', 'de'),
    ('x-amz-checksum-type', 'COMPOSITE'),
    ('x-amz-delete-marker', 'false'),
    ('x-amz-request-charged', 'requester'),
    ('Content-Encoding', 'identity'),
)
QUOTES: Final = ('{}', '"{}"', '""{}""')


def reformed(draft: Draft, random: Random) -> Draft:
    """The same response in another form."""
    headers = [_header(name.lower(), value, random) for name, value in draft.headers if _is_kept(name.lower(), random)]
    if random.random() < 0.3:
        random.shuffle(headers)
    if random.random() < 0.3:
        headers.insert(0, random.choice(ADDED))
    status, version = draft.status, random.choice(('1.1', '1.1', '1.1', '1.0'))
    if status == 204 and random.random() < 0.3:
        status = 200
    case = random.choice(CASES)
    headers = [(case(name), value) for name, value in headers]
    body = _document(draft.body, random) if draft.is_document and random.random() < 0.8 else draft.body
    framing = draft.framing
    if framing == 'length' and status != 204 and version == '1.1' and random.random() < 0.4:
        framing = 'chunked'
    sizes = [random.choice((1, 2, 7, 100, 1 << 16)) for _ in range(3)] if len(body) < 10_000 else [1 << 16, 99_999]
    form = {'framing': framing, 'chunks': sizes, 'version': version, 'reason': random.choice((None, '', 'Fine, thank you'))}
    return replace(draft, status=status, headers=headers, body=body, **form)


def _is_kept(name: str, random: Random) -> bool:
    return name.startswith(KEPT) or random.random() < 0.6


def _header(name: str, value: str, random: Random) -> tuple[str, str]:
    if name == 'etag' and value.strip('"'):
        return name, random.choice(QUOTES).format(value.strip('"'))
    if name == 'last-modified':
        return name, random.choice(DATES)(email.utils.parsedate_to_datetime(value))
    return name, value


# The three forms of RFC 9110, section 5.6.7, and others that botocore reads.
DATES: Final[Sequence[Callable[[datetime.datetime], str]]] = (
    lambda moment: email.utils.format_datetime(moment, usegmt=True),
    lambda moment: moment.strftime('%A, %d-%b-%y %H:%M:%S GMT'),
    lambda moment: moment.strftime('%a %b %e %H:%M:%S %Y'),
    lambda moment: moment.strftime('%a, %e %b %Y %H:%M:%S +0000'),
    lambda moment: moment.strftime('%Y-%m-%dT%H:%M:%SZ'),
    lambda moment: moment.strftime('%Y-%m-%dT%H:%M:%S.000Z'),
    lambda moment: str(int(moment.timestamp())),
)
TIMES: Final[Sequence[Callable[[datetime.datetime], str]]] = (
    *DATES,
    lambda moment: moment.isoformat(timespec='microseconds'),
    lambda moment: moment.astimezone(datetime.timezone(datetime.timedelta(hours=2))).isoformat(timespec='milliseconds'),
    lambda moment: moment.replace(tzinfo=None).isoformat(),
    lambda moment: moment.isoformat(timespec='microseconds').replace('+00:00', '789Z'),
    lambda moment: moment.strftime('%Y-%m-%d %H:%M:%S+00:00'),
)
NEEDED: Final = frozenset(
    {'Key', 'ETag', 'IsTruncated', 'NextContinuationToken', 'UploadId', 'PartNumber', 'Code', 'Prefix', 'EncodingType'}
    | {'Deleted', 'Error', 'Contents', 'CommonPrefixes', 'Part', 'Upload', 'TagSet', 'Tag', 'Value', 'VersionId', 'Size'}
    | {'NextKeyMarker', 'NextUploadIdMarker', 'LastModified', 'Initiated'}
)
SPACES: Final = ('http://s3.amazonaws.com/doc/2006-03-01/', 'https://example.com/s3', 'urn:x')
DECLARATIONS: Final = (
    '',
    "<?xml version='1.0' encoding='UTF-8'?>",
    '<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n',
)
UNKNOWN: Final = ('<Unknown><Key>other</Key></Unknown>', '<!-- a comment -->', '<?pi x?>', '<Generation>1</Generation>')


@dataclass(frozen=True, slots=True)
class Style:
    """The form of a whole document."""

    prefix: str
    indent: str
    writes_empty: bool
    odd: int
    random: Random


def _document(body: bytes, random: Random) -> bytes:
    root = ElementTree.fromstring(body)
    # Half of the documents keep the usual form, which the scanner of listings reads.
    odd = random.randrange(2)
    for element in root.iter():
        element.tag = element.tag.rpartition('}')[2]
        # The order of the lists is not changed, so that the values remain the same.
        children = [child for child in element if child.tag.rpartition('}')[2] in NEEDED or random.random() < 0.7]
        if random.random() < 0.3 * odd:
            places = {child.tag: random.random() for child in element}
            children.sort(key=lambda child: places[child.tag])
        element[:] = children
    is_error = root.tag == 'Error'
    # botocore reads the fields of an error only below this root, without a namespace.
    if not is_error and random.random() < 0.5 * odd:
        root.tag = random.choice(('Result', 'ListObjectsV2Output', f'{root.tag}V2'))
    prefix = random.choice(('', 's3:')) if odd and not is_error else ''
    space = '' if is_error else random.choice((*SPACES, ''))
    if prefix:
        space = f' xmlns:s3="{space or SPACES[0]}"'
    elif space:
        space = f' xmlns="{space}"'
    style = Style(prefix, random.choice(('', '', '\n', '\n\t ', '\r\n  ')), random.random() < 0.5, odd, random)
    declaration = random.choice(DECLARATIONS)
    before = '' if declaration else random.choice(('', ' \n', '\ufeff'))
    return f'{before}{declaration}{_written(root, style, space)}{style.indent}'.encode()


def _written(element: Element, style: Style, attributes: str = '') -> str:
    random, name = style.random, style.prefix + element.tag
    text = _text(element.tag, element.text or '', style) if not len(element) else ''
    pieces = [_written(child, style) for child in element]
    if pieces and random.random() < 0.2 * style.odd:
        pieces.insert(random.randrange(len(pieces) + 1), random.choice(UNKNOWN))
    if not text and not pieces and style.writes_empty:
        return f'<{name}{attributes}/>'
    content = text or ''.join(style.indent + piece for piece in pieces) + (style.indent if pieces else '')
    return f'<{name}{attributes}>{content}</{name}>'


def _text(name: str, text: str, style: Style) -> str:
    random = style.random
    if name == 'ETag' and text.strip('"'):
        text = random.choice(QUOTES).format(text.strip('"'))
    if not style.odd:
        return escape(text, {'"': '&quot;'} if name == 'ETag' else {})
    if name in ('LastModified', 'Initiated') and text:
        text = random.choice(TIMES)(datetime.datetime.fromisoformat(text))
    if name in ('LastModified', 'Initiated', 'Size', 'PartNumber') and random.random() < 0.1:
        text = f'\n  {text} '
    form = random.randrange(6)
    if form == 0 and ']]>' not in text and text:
        return f'<![CDATA[{text}]]>'
    if form == 1:
        return ''.join(f'&#{ord(each)};' if not each.isalnum() else each for each in text)
    return escape(text, {'"': '&quot;'} if form == 2 else {})


# --- what a response proves

Spoil = Callable[[Draft], Draft | None]
OTHER_MD5: Final = '0123456789abcdef0123456789abcdef'
SIGNS: Final = ('etag', 'last-modified', 'x-amz-request-id', 'x-amz-id-2', 'x-amz-version-id')


def _etag(value: str | None) -> Spoil:
    def spoil(draft: Draft) -> Draft | None:
        return None if draft.header('etag') is None or draft.status >= 300 else draft.with_header('etag', value)

    return spoil


def _inside(pattern: str, text: str) -> Spoil:
    """A change of a document by a regular expression, whose `P` is a prefix of names."""
    compiled = re.compile(pattern.replace('P', r'(?:\w+:)?'), re.DOTALL)

    def spoil(draft: Draft) -> Draft | None:
        if not draft.is_document or draft.status >= 300:
            return None
        body = compiled.sub(text, draft.body.decode())
        return None if body == draft.body.decode() else replace(draft, body=body.encode())

    return spoil


def _status(status: int) -> Spoil:
    def spoil(draft: Draft) -> Draft | None:
        return replace(draft, status=status) if draft.status < 300 and draft.status != status else None

    return spoil


def _content_range(value: str | None) -> Spoil:
    def spoil(draft: Draft) -> Draft | None:
        return (
            None if draft.header('content-range') is None or draft.status >= 300 else draft.with_header('content-range', value)
        )

    return spoil


def _object(change: Callable[[Draft], Draft]) -> Spoil:
    """A change of a successful response with an object, or to a HEAD."""

    def spoil(draft: Draft) -> Draft | None:
        is_object = draft.method == 'HEAD' or (draft.method == 'GET' and not draft.is_document)
        return change(draft) if is_object and draft.status < 300 else None

    return spoil


def _without_signs(draft: Draft) -> Draft:
    return replace(draft, headers=[each for each in draft.headers if each[0].lower() not in SIGNS])


def _unsized(draft: Draft) -> Draft | None:
    found = draft.header('content-range') or ''
    return _content_range(found.partition('/')[0] + '/*')(draft) if draft.status == 206 or draft.status == 200 else None


def _other_version(draft: Draft) -> Draft | None:
    return _etag(f'"{OTHER_MD5}"')(draft) if ' bytes=' in draft.request else None


def _page_after_upload(draft: Draft) -> Draft | None:
    if draft.method != 'PUT' or draft.body or draft.status >= 300:
        return None
    return replace(draft, body=b'<html><body>Welcome to the hotel</body></html>', framing='length')


def _tags(draft: Draft) -> Draft | None:
    return _inside(r'</[^<>]*>(?=\s*$)', '<x/>' * 200_001 + r'\g<0>')(draft)


SPOILS: Final[Mapping[str, Spoil]] = {
    'no ETag': _etag(None),
    'weak ETag': _etag(f'W/"{OTHER_MD5}"'),
    'other ETag': _etag(f'"{OTHER_MD5}"'),
    'no ETag in the document': _inside('<PETag>.*?</PETag>', ''),
    'weak ETag in the document': _inside('(<PETag>).*?(</PETag>)', rf'\g<1>W/"{OTHER_MD5}"\g<2>'),
    'other ETag in the document': _inside('(<PETag>).*?(</PETag>)', rf'\g<1>{OTHER_MD5}\g<2>'),
    'status 202': _status(202),
    'status 206': _status(206),
    'no Content-Range': _content_range(None),
    'other Content-Range': _content_range('bytes 1-9/300'),
    'other ETag of a range': _other_version,
    'Content-Range without a size': _unsized,
    'no length': _object(lambda draft: replace(draft, framing='none')),
    'length with a sign': _object(lambda draft: replace(draft, framing=f'+{len(draft.body)}')),
    'no sign of a store': _object(_without_signs),
    'other checksum': _object(lambda draft: draft.with_header('x-amz-checksum-crc32', 'AAAAAA==')),
    'UTF-8 in a header': _object(lambda draft: draft.with_header('x-amz-meta-name', 'é'.encode().decode('latin-1'))),
    'Latin-1 in a header': _object(lambda draft: draft.with_header('x-amz-meta-name', 'é')),
    'blanks after a value': _object(lambda draft: draft.with_header('x-amz-meta-name', 'x \t')),
    'page after an upload': _page_after_upload,
    'root of another operation': _inside(
        r'^(\s*(?:<\?.*?\?>\s*)?<P)\w+(.*</P)\w+(>\s*)$', r'\g<1>ListPartsResult\g<2>ListPartsResult\g<3>'
    ),
    'DOCTYPE': _inside(r'^(\s*(?:<\?xml .*?\?>)?)', r'\1<!DOCTYPE x>'),
    'too many tags': _tags,
    'key outside of the prefix': _inside('(<PKey>)(?:<!\\[CDATA\\[)?list.*?(</PKey>)', r'\g<1>other\g<2>'),
    'refused deletions': _inside('<PDeleted>(.*?)</PDeleted>', r'<Error>\g<1><Code>AccessDenied</Code></Error>'),
    'IsTruncated in capitals': _inside('(<PIsTruncated>).*?true.*?(</PIsTruncated>)', r'\g<1>True\g<2>'),
    'time in words': _inside('(<P(?:LastModified|Initiated)>).*?(</P)', r'\g<1>27 November 2026, 3:49 pm UTC\g<2>'),
    'time that is none': _inside('(<P(?:LastModified|Initiated)>).*?(</P)', r'\g<1>yesterday\g<2>'),
    'error in the document': _inside('^.*$', '<Error><Code>InternalError</Code><Message>m</Message></Error>'),
    'nothing in the document': _inside('^.*$', ''),
}
