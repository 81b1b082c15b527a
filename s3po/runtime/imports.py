"""Imports by several native threads at once, in a process whose locks are gevent's.

`patch_all` replaces the locks of the import system too. Greenlets of one thread then wait for each other's imports, as they
must. But a native thread that waits for another one's import has nothing that could wake it up: gevent raises LoopExit there,
or it hangs. s3po imports what is large when it is first needed, and may be called from any native thread.

So, here: import locks that are the operating system's, and are asked for again and again in place of being waited for.
"""

import sys
import types
from typing import Any

from gevent import monkey

from s3po.runtime.locks import YieldingLock

__all__ = ['share_imports']


def share_imports() -> None:
    """Let several native threads import at once. Only for a process whose locks are patched; may be called again."""
    bootstrap: Any = sys.modules['_frozen_importlib']
    # Who holds a lock is a greenlet, not a thread: get_ident stays gevent's.
    seen: Any = types.ModuleType('_thread')
    vars(seen).update(vars(sys.modules['_thread']))
    seen.allocate_lock, seen.RLock = YieldingLock, monkey.get_original('_thread', 'RLock')
    bootstrap._thread = seen
