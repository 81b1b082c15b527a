"""The gevent runtime that everything else of s3po runs on.

It is imported before any other room, and imports none of them:

- `patching`: what `import s3po` and `s3po.patch_all()` do to the standard library.
- `tls`: repairs what was made of `ssl` before the patch, so that a late import does not break existing HTTPS clients.
- `sockets`: lets connections opened before the patch wait without stopping other greenlets.
- `blocking`: lets descriptors leave gevent's sockets in the mode that the program set.
- `threads`: keeps sockets usable by native threads, which the narrow patch leaves native.
- `locks`: locks and waits that work between greenlets and between native threads.
- `botolocks`: the locks that botocore waits for become locks that yield.
- `imports`: lets several native threads import at once, where everything is patched.
- `forks`: keeps the parent's greenlets from going on in a forked child.
- `hubs`: frees what native threads leave behind when they end.
- `monitor`: names what blocks an event loop while a batch has jobs there; `remedies`: what to do about it.
- `descriptors`: what is done where open files are few.
- `greenlets`: blocking work off the event loop, values per event loop.
- `cleanups`: work that a kill must not cut in two, and clean-up that goes on behind its caller.
"""

from s3po.runtime.cleanups import GRACE_S, CleanUps
from s3po.runtime.descriptors import affordable, give_up_idle, patiently
from s3po.runtime.forks import Task, disowned_in_child, leave_child, process, spawn, under_way, watched
from s3po.runtime.greenlets import Captured, PerHub, WorkKilled, isolated, offload
from s3po.runtime.hubs import note_hub
from s3po.runtime.locks import wait_until
from s3po.runtime.monitor import Watch, watch_hub
from s3po.runtime.patching import LateImportWarning, other_threads_run, patch, patch_all
from s3po.runtime.threads import has_greenlets

__all__ = [
    'GRACE_S',
    'Captured',
    'CleanUps',
    'LateImportWarning',
    'PerHub',
    'Task',
    'Watch',
    'WorkKilled',
    'affordable',
    'disowned_in_child',
    'give_up_idle',
    'has_greenlets',
    'isolated',
    'leave_child',
    'note_hub',
    'offload',
    'other_threads_run',
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
