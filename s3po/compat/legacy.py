"""S3-PO (2012): `from s3po.compat import legacy as s3po` instead of `import s3po`.

- Connection: S3-PO's, with its defaults: uploads delete their files and run in the background. See s3po.interfaces.legacy.
- logger: the logger of all modules of s3po. It has no handler; to use another logger, add its handlers to this one.

s3po.Connection has the same methods, with the defaults of the new ones: uploads block and delete nothing.
"""

from __future__ import annotations

import logging

from s3po.interfaces.legacy import Connection

__all__ = ['Connection', 'logger']

logger = logging.getLogger('s3po')
