"""`python -m s3po.worker`: a worker process of a batch with `processes=`. Started by s3po, with one end of a socket pair.

python -m s3po.worker DESCRIPTOR
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from gevent import monkey

from s3po.batch.processes.serving import Serving

__all__ = ['main']


def main() -> None:
    """Carry out calls of the parent process until it closes the socket."""
    native: Any = monkey.get_original('socket', 'socket')
    try:
        sock = native(fileno=int(sys.argv[1]))
        _close_inherited(sock)
    except (IndexError, ValueError, OSError):
        sys.exit('s3po.worker is started by a batch with processes=N, not by hand')
    _schedule_as_batch()
    Serving(sock).run()


def _close_inherited(sock: Any) -> None:
    """Close what other libraries of the parent have left open. What this process opens is not inheritable (PEP 446)."""
    sock.set_inheritable(False)
    for name in os.listdir('/dev/fd'):
        with contextlib.suppress(OSError):
            # One of them was that of the listing.
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))


def _schedule_as_batch() -> None:
    """Do not preempt other processes on waking up (SCHED_BATCH of Linux, sched(7)); the share of the CPU stays the same.

    Otherwise each message of the parent may interrupt it in the middle of its work, and the messages come one by one.
    """
    # Only in place of the default: the program may run at a lower priority, such as SCHED_IDLE.
    if hasattr(os, 'SCHED_BATCH') and os.sched_getscheduler(0) == os.SCHED_OTHER:
        # A sandbox may forbid it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == '__main__':
    main()
