"""Characters that are allowed in keys but not in XML, documents that contain them nevertheless, and escaped keys. No parser."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ['has_xml_form', 'root_of', 'survives_xml', 'unescaped', 'without_odd_characters']

# https://www.w3.org/TR/xml/#charsets: a reference ('&#1;') to such a character is not allowed either.
_NOT_XML: Final = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
# The same in UTF-8 bytes, as stores write them nevertheless: S3 as references, others literally.
_ODD: Final = re.compile(rb'&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));|[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]')
# What may precede the root element, and the root's name.
_ROOT: Final = re.compile(rb'\s*(?:<\?[^>]*\?>\s*|<!--[^>]*-->\s*)*<(?:[\w.-]+:)?([\w.-]+)[\s/>]')


def has_xml_form(text: str) -> bool:
    """Whether XML can contain this text. Most control characters are not allowed; such keys are deleted one by one."""
    # XML can contain all printable characters; isprintable() is faster than the search.
    return text.isprintable() or not _NOT_XML.search(text)


def survives_xml(text: str) -> bool:
    """Whether a text is unchanged after it was written to XML and read back, also by imprecise programs.

    A parser turns an unescaped carriage return into a newline (https://www.w3.org/TR/xml/#sec-line-ends). Some programs strip
    white space from both ends.
    """
    return '\r' not in text and text == text.strip() and has_xml_form(text)


def without_odd_characters(body: bytes) -> bytes:
    """Replace the characters that XML cannot contain by U+FFFD, so that the document can be parsed.

    Responses repeat the key, escaped or not, and a key may have such characters. Only for documents whose keys are not used: in
    a listing this would change a key into another one.
    """
    return _ODD.sub(_replaced, body) if _ODD.search(body) else body


def _replaced(found: re.Match[bytes]) -> bytes:
    digits = found[1] or found[2]
    if digits is None:
        return b'\xef\xbf\xbd'
    code = int(digits, 16 if found[1] else 10)
    return found[0] if code < 0x110000 and has_xml_form(chr(code)) else b'\xef\xbf\xbd'


def root_of(body: bytes) -> str:
    """Root element name, for callers with their own parser; '' if there is none. Never raises."""
    found = _ROOT.match(body)
    return '' if found is None else found[1].decode('ascii', 'replace')


def unescaped(text: str) -> str:
    """A key of a page with EncodingType 'url', unescaped: the same as urllib's unquote_plus, but several times faster."""
    if '%' not in text and '+' not in text:
        return text
    return unquote_to_bytes(text.replace('+', ' ')).decode(errors='replace')
