"""Makes the relative paths of calls absolute when they are submitted: the program may change its directory before they run."""

from __future__ import annotations

import os
import pathlib
from typing import Any, Final

from s3po.jobs import Call

__all__ = ['PLACES', 'anchored']

# The option with the path of an operation.
PLACES: Final = {'upload': 'source', 'upload_file': 'path', 'download': 'target', 'download_file': 'path'}


def anchored(call: Call) -> Call:
    """The call, with an absolute path instead of a relative one."""
    name = PLACES.get(call.operation)
    place: Any = None if name is None else call.options.get(name)
    # A str as the source of upload() is data.
    is_text = isinstance(place, str) and name != 'source'
    if name is None or not (is_text or isinstance(place, pathlib.PurePath)) or os.path.isabs(place) or place == '':
        return call
    try:
        directory = os.getcwd()
    except OSError:
        # The directory is gone: the job fails.
        return call
    # Not abspath(), which drops a slash at the end.
    path: Any = os.path.join(directory, place)
    return Call(call.operation, call.ref, {**call.options, name: path if is_text else type(place)(path)})
