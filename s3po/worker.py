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
    Serving(sock).run()


def _close_inherited(sock: Any) -> None:
    """Close what other libraries of the parent have left open. What this process opens is not inheritable (PEP 446)."""
    sock.set_inheritable(False)
    for name in os.listdir('/dev/fd'):
        with contextlib.suppress(OSError):
            # One of them was that of the listing.
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))


if __name__ == '__main__':
    main()
