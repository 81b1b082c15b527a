"""Converts keys to local paths.

No I/O: the code that opens the path checks for symbolic links.

A key is arbitrary text, possibly written by an attacker. The path of a key is the directory plus the key, unchanged, segment by
segment, so two keys never become one path. Every other key is rejected, never repaired.
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
# The prefix of s3po's own temporary files.
_RESERVED: Final = '.s3po-'
# Characters that case-folding file systems ignore in names, besides those of Unicode's category Cf:
# Default_Ignorable_Code_Point in https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
_IGNORED: Final = re.compile('[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]')


def local_path(root: str | os.PathLike[str], key: str) -> str:
    """Return the path of a key below a directory.

    Rejected are keys with a segment that is empty, '.' or '..' (so also keys that begin or end with '/'), a backslash, a drive
    letter, control characters, a segment of more than 255 bytes or with the prefix of s3po's temporary files ('.s3po-'), and
    keys that cannot be encoded as UTF-8. All other characters, also blanks and trailing dots, are kept.

    Args:
        root: The directory; it need not exist.
        key: The key, unescaped.

    Raises:
        UnsafePath: The key is not safe as a path.
        ConfigurationError: The root is empty or contains a NUL.
    """
    base = os.fspath(root)
    if not isinstance(base, str) or not base or '\0' in base:
        raise ConfigurationError(f'root must be the path of a directory, not {base!r}')
    reason = _objection(key)
    if reason is not None:
        raise UnsafePath(f'key {key!r} cannot be used as a path: {reason}')
    return os.path.join(base, key)


def _objection(key: str) -> str | None:
    """Why a key cannot be used as a path; None if it can."""
    if '\\' in key:
        return 'it contains a backslash, which separates directories on Windows'
    if _CONTROL.search(key):
        return 'it contains control characters'
    if _DRIVE.match(key):
        return 'it begins like a drive letter'
    for segment in key.split('/'):
        reason = _objection_to_segment(segment)
        if reason is not None:
            return reason
    return None


def _objection_to_segment(segment: str) -> str | None:
    if not segment:
        return 'it is empty, begins or ends with a slash, or has two slashes in a row'
    try:
        size_bytes = len(segment.encode())
    except UnicodeEncodeError:
        return 'it cannot be encoded as UTF-8'
    # Compared as by file systems that ignore some characters: https://nvd.nist.gov/vuln/detail/CVE-2014-9390
    seen = _folded(segment)
    if seen in ('', '.', '..'):
        return f'one of its segments is {segment!r}'
    if seen.startswith(_RESERVED):
        return f"{segment!r} has the prefix of s3po's temporary files"
    if size_bytes > MAX_NAME_BYTES:
        return f'one of its segments has {size_bytes:,} bytes; file systems allow {MAX_NAME_BYTES}'
    return None


class LocalPaths:
    """The paths of many keys below one directory; each key gets its own file on every file system.

    On file systems that ignore case or normalise names (macOS, Windows, some on Linux), 'A' and 'a' are one file, and so are
    the two forms of 'é'. And on no file system can 'a' be a file beside 'a/b'. The second of two such keys is rejected. All
    keys are remembered.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """
        Args:
            root: The directory.
        """
        self._root = root
        # By folded name: the keys that are files, and for each directory one key below it.
        self._files: dict[str, str] = {}
        self._directories: dict[str, str] = {}

    def path(self, key: str) -> str:
        """Return the path of a key; the same key may be passed again.

        Raises:
            UnsafePath: As for local_path(), or the file of an earlier key would be overwritten or is in the way.
            ConfigurationError: As for local_path().
        """
        found = local_path(self._root, key)
        folded = _folded(key)
        parents = [folded[:end] for end, letter in enumerate(folded) if letter == '/']
        for name in (folded, *parents):
            other = self._files.get(name)
            if other not in (None, key):
                raise UnsafePath(f'keys {other!r} and {key!r} cannot both be files in one directory; use two directories')
        if folded in self._directories:
            other = self._directories[folded]
            raise UnsafePath(f'keys {other!r} and {key!r} cannot both be files in one directory; use two directories')
        self._files[folded] = key
        for name in parents:
            self._directories.setdefault(name, key)
        return found


def _folded(key: str) -> str:
    """The name without case, composition and ignored characters: equal for names that some file system treats as equal."""
    if key.isascii():
        return key.lower()
    text = unicodedata.normalize('NFD', unicodedata.normalize('NFD', key).casefold())
    return _IGNORED.sub('', ''.join(letter for letter in text if unicodedata.category(letter) != 'Cf'))
