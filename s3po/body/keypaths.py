"""The one way from a key to a local path.

What may live here: the rule of which keys become paths, and the check for two keys that one file system takes for one. No I/O:
whether the path leads through a symbolic link is for who opens it to find out.

A key is any text, and may have been written by anybody. What becomes a path is a key that stands below the root segment by
segment as it stands in the bucket, unchanged, so two keys never become one path. All else is refused, never repaired.
"""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

from s3po.errors import ConfigurationError, UnsafePath

__all__ = ['LocalPaths', 'local_path']

# The longest name of a file: NAME_MAX of ext4, XFS, APFS and most others, in bytes.
MAX_NAME_BYTES: Final = 255

_CONTROL: Final = re.compile(r'[\x00-\x1f\x7f-\x9f]')
_DRIVE: Final = re.compile(r'[A-Za-z]:')
# What s3po calls its own files while it writes them.
_RESERVED: Final = '.s3po-'
# What file systems that fold case do not see within a name, beside the characters of Unicode's category Cf:
# Default_Ignorable_Code_Point in https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
_IGNORED: Final = re.compile('[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]')


def local_path(root: str | os.PathLike[str], key: str) -> str:
    """The path of a key below a directory.

    Refused are keys with a segment that is empty, '.' or '..' (so also those that begin or end with '/'), with a backslash, a
    drive letter or control characters, with a segment of more than 255 bytes or one that s3po uses for itself ('.s3po-…'), and
    those that have no UTF-8 form. Blanks, dots at the end, and everything else that a file's name may hold, stay as they are.

    Args:
        root: The directory; it need not exist.
        key: The key, unescaped.

    Raises:
        UnsafePath: The key must not become a path.
        ConfigurationError: The root is empty, or has a NUL in it.
    """
    base = os.fspath(root)
    if not isinstance(base, str) or not base or '\0' in base:
        raise ConfigurationError(f'root must be the path of a directory, not {base!r}')
    reason = _objection(key)
    if reason is not None:
        raise UnsafePath(f'key {key!r} must not become a path: {reason}')
    return os.path.join(base, key)


def _objection(key: str) -> str | None:
    """Why a key must not become a path; None where it may."""
    if '\\' in key:
        return 'it has a backslash, which parts directories elsewhere'
    if _CONTROL.search(key):
        return 'it has control characters'
    if _DRIVE.match(key):
        return 'it begins like a drive'
    for segment in key.split('/'):
        reason = _objection_to_segment(segment)
        if reason is not None:
            return reason
    return None


def _objection_to_segment(segment: str) -> str | None:
    if not segment:
        return 'it is empty, begins or ends with a slash, or has two in a row'
    try:
        size_bytes = len(segment.encode())
    except UnicodeEncodeError:
        return 'it has no UTF-8 form'
    # As file systems see it that do not see all of its characters: https://nvd.nist.gov/vuln/detail/CVE-2014-9390
    seen = _folded(segment)
    if seen in ('', '.', '..'):
        return f'a segment of it is {segment!r}'
    if seen.startswith(_RESERVED):
        return f"{segment!r} is called like s3po's own temporary files"
    if size_bytes > MAX_NAME_BYTES:
        return f'a segment of it has {size_bytes:,} bytes; file systems take {MAX_NAME_BYTES}'
    return None


class LocalPaths:
    """The paths of many keys below one directory, each of which is a file of its own wherever that directory is.

    On file systems that fold case or normalise names (macOS, Windows, some of Linux), 'A' and 'a' are one file, and so are 'é'
    in its two forms. And nowhere can 'a' be a file beside 'a/b'. The second of two such keys is refused. It remembers all keys.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """
        Args:
            root: The directory.
        """
        self._root = root
        # By their folded forms: the keys that are files, and one key each for what is a directory.
        self._files: dict[str, str] = {}
        self._directories: dict[str, str] = {}

    def path(self, key: str) -> str:
        """The path of one more key; the same key may come again.

        Raises:
            UnsafePath: As local_path(), or an earlier key would be overwritten or be in the way.
            ConfigurationError: As local_path().
        """
        found = local_path(self._root, key)
        folded = _folded(key)
        parents = [folded[:end] for end, letter in enumerate(folded) if letter == '/']
        for name in (folded, *parents):
            other = self._files.get(name)
            if other not in (None, key):
                raise UnsafePath(f'keys {other!r} and {key!r} cannot both become files below one directory; give them two')
        if folded in self._directories:
            other = self._directories[folded]
            raise UnsafePath(f'keys {other!r} and {key!r} cannot both become files below one directory; give them two')
        self._files[folded] = key
        for name in parents:
            self._directories.setdefault(name, key)
        return found


def _folded(key: str) -> str:
    """The form in which file systems compare names that they take for one: without case, composition and what is not seen."""
    if key.isascii():
        return key.lower()
    text = unicodedata.normalize('NFD', unicodedata.normalize('NFD', key).casefold())
    return _IGNORED.sub('', ''.join(letter for letter in text if unicodedata.category(letter) != 'Cf'))
