"""The gevent runtime under all of s3po.

It is imported before any other room, and imports none of them:

- `patching`: what `import s3po` and `s3po.patch_all()` patch in the standard library.
- `tls`: repairs objects of `ssl` that were created before the patch, so that a late import does not break existing HTTPS
  clients.
- `sockets`: lets connections that were opened before the patch wait without blocking other greenlets.
- `blocking`: restores the blocking mode of descriptors that leave gevent's sockets.
- `threads`: keeps sockets usable by native threads, which the narrow patch leaves native.
- `changes`: a lock with a condition, for native threads and greenlets on either side.
- `locks`: locks and waits that work between greenlets and between native threads.
- `botolocks`: makes the locks that botocore waits for yield.
- `imports`: lets several native threads import at the same time in a fully patched process.
- `forks`: prevents the parent's greenlets from running in a forked child.
- `hubs`: frees the event loops of native threads that have ended.
- `monitor`: reports what blocks an event loop while a batch has jobs there; `remedies`: what to do about it.
- `descriptors`: what to do if file descriptors run out.
- `greenlets`: blocking work outside of the event loop, values per event loop.
- `cleanups`: work that a kill must not interrupt, and clean-up that continues in the background.
"""

from s3po.runtime.changes import Changes
from s3po.runtime.cleanups import GRACE_S, CleanUps
from s3po.runtime.descriptors import affordable, give_up_idle, patiently
from s3po.runtime.forks import Task, disowned_in_child, leave_child, process, spawn, under_way, watched
from s3po.runtime.greenlets import Captured, PerHub, WorkKilled, isolated, offload, outlast
from s3po.runtime.hubs import destroy_ended_hubs, note_hub
from s3po.runtime.locks import wait_until
from s3po.runtime.monitor import Watch, watch_hub
from s3po.runtime.patching import LateImportWarning, other_threads_run, patch, patch_all
from s3po.runtime.threads import has_greenlets

__all__ = [
    'GRACE_S',
    'Captured',
    'Changes',
    'CleanUps',
    'LateImportWarning',
    'PerHub',
    'Task',
    'Watch',
    'WorkKilled',
    'affordable',
    'destroy_ended_hubs',
    'disowned_in_child',
    'give_up_idle',
    'has_greenlets',
    'isolated',
    'leave_child',
    'note_hub',
    'offload',
    'other_threads_run',
    'outlast',
    'patch',
    'patch_all',
    'patiently',
    'process',
    'spawn',
    'under_way',
    'wait_until',
    'watch_hub',
    'watched',
]
