"""Imports by several native threads at the same time, in a process whose locks are gevent's.

`patch_all` also replaces the locks of the import system. Greenlets of one thread then wait for each other's imports, as they
must. But nothing wakes a native thread that waits for another thread's import: gevent raises LoopExit there, or it hangs. s3po
imports large modules on first use, and may be called from any native thread.

So this module gives the import system native locks, which are polled instead of waited for.
"""

import sys
import types
from typing import Any

from gevent import monkey

from s3po.runtime.locks import YieldingLock

__all__ = ['share_imports']


def share_imports() -> None:
    """Let several native threads import at the same time. Only for a process whose locks are patched; may be called again."""
    bootstrap: Any = sys.modules['_frozen_importlib']
    # The owner of a lock is a greenlet, not a thread: get_ident stays gevent's.
    seen: Any = types.ModuleType('_thread')
    vars(seen).update(vars(sys.modules['_thread']))
    seen.allocate_lock, seen.RLock = YieldingLock, monkey.get_original('_thread', 'RLock')
    bootstrap._thread = seen
