"""A Ctrl-C during the import takes effect after the patch is complete."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import os, signal
from gevent import monkey

signal.signal(signal.SIGINT, signal.default_int_handler)
patch_all = monkey.patch_all

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    patch_all()
    print('whole', flush=True)

monkey.patch_all = interrupted
try:
    import s3po
except KeyboardInterrupt:
    print('interrupted', flush=True)
"""


def test_interrupt_during_the_patch() -> None:
    """An incomplete patch would leave a process that never ends."""
    environment = {**os.environ, 'S3PO_PATCH': 'all'}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=60, check=False, env=environment
    )

    assert (done.stdout.split(), done.returncode) == (['whole', 'interrupted'], 0), done.stderr
