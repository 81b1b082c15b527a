"""Characters that keys may have and XML may not, documents that have them all the same, and escaped keys.

Text and bytes in, text and bytes out. No parser.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

__all__ = ['has_xml_form', 'root_of', 'survives_xml', 'unescaped', 'without_odd_characters']

# https://www.w3.org/TR/xml/#charsets: a reference ('&#1;') cannot stand for such a character either.
_NOT_XML: Final = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
# The same of bytes in UTF-8, as stores write them all the same: S3 as references, others as they are.
_ODD: Final = re.compile(rb'&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));|[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]')
# What may stand before the root, and its name.
_ROOT: Final = re.compile(rb'\s*(?:<\?[^>]*\?>\s*|<!--[^>]*-->\s*)*<(?:[\w.-]+:)?([\w.-]+)[\s/>]')


def has_xml_form(text: str) -> bool:
    """Whether XML can hold this text. Not that with most control characters: such a key is deleted by a request of its own."""
    return not _NOT_XML.search(text)


def survives_xml(text: str) -> bool:
    """Whether a text is still the same after it was written to XML and read back, by strict and by sloppy programs.

    A parser turns a carriage return that was not escaped into a newline (https://www.w3.org/TR/xml/#sec-line-ends). Some
    programs strip white space from both ends.
    """
    return '\r' not in text and text == text.strip() and has_xml_form(text)


def without_odd_characters(body: bytes) -> bytes:
    """A document with U+FFFD for each character that XML cannot hold, so that it can be read.

    Answers repeat the key, escaped or not, and a key may have such characters. This is for documents whose keys nobody asks
    for: in a listing it would make another key of one.
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
