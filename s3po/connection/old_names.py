"""The methods that S3-PO (2012) and the first s3po had, under their old names: thin aliases for Connection.

They are not in dir(connection); help() of this module describes them.
"""

from __future__ import annotations

from typing import Final

__all__ = ['OLD_NAMES', 'OldNames']

# Left out of dir(connection).
OLD_NAMES: Final = frozenset(
    {
        'backend',
        'downloadFile',
        'downloadString',
        'listNames',
        'memory',
        'runLoop',
        's3',
        'stopLoop',
        'uploadFile',
        'uploadString',
    }
)


class OldNames:
    """The old names of Connection's methods."""
