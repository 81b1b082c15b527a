"""What `import s3po` patches in the standard library.

| the program                          | what is patched                                               |
|--------------------------------------|---------------------------------------------------------------|
| imports s3po, first or late          | socket, ssl, dns and time.sleep: the narrow patch             |
| sets S3PO_PATCH=all                  | everything (gevent's `patch_all`)                             |
| calls s3po.patch_all()               | everything                                                    |
| has patched with gevent itself       | nothing more                                                  |
| sets S3PO_PATCH=0                    | nothing                                                       |

The narrow patch leaves threads, locks, queues, subprocess, select, signals and os unchanged, because other libraries need
native ones: multiprocessing, asyncio in a thread, threaded servers, notebooks. It also works after other modules have used the
network: contexts, sessions and open connections from before are repaired (see `tls` and `sockets`).

`patch_all` also replaces the locks. Code that waits for a native lock at that moment, or holds one from before, cannot be
repaired. So it requires a process without other native threads, and warns about existing HTTPS clients.

If the locks are patched, by s3po or by the program, those of the import system are replaced again: see `imports`.
"""

import contextlib
import gc
import logging
import os
import signal
import ssl
import sys
import types
import warnings
from collections.abc import Iterator

from gevent import monkey

from s3po.runtime import blocking, botolocks, imports, sockets, threads, tls

__all__ = ['LateImportWarning', 'other_threads_run', 'patch', 'patch_all']

log = logging.getLogger(__name__)

_FIX = 'Set S3PO_PATCH=all, or call s3po.patch_all() in the first lines of the program'

# HTTP clients that have their own locks. httpcore is httpx's.
_CLIENTS = (
    ('botocore.client', 'BaseClient'),
    ('requests', 'Session'),
    ('urllib3', 'HTTPConnectionPool'),
    ('httpcore', 'ConnectionPool'),
)


class LateImportWarning(RuntimeWarning):
    """The full patch was applied too late for a part of this process, which remains blocking.

    Emitted only if the program requests the full patch (`s3po.patch_all()` or S3PO_PATCH=all). The narrow patch is never too
    late. If warnings are errors, it is logged as a WARNING instead: the patch has been applied and must not fail half-way.
    """


def patch() -> None:
    """Make the standard library cooperative, as S3PO_PATCH selects; by default with the narrow patch.

    Called by `import s3po` before anything else of s3po is imported; further calls do nothing. See the module's docstring.
    """
    wanted = os.environ.get('S3PO_PATCH', '').lower()
    if wanted == '0':
        return
    if any(monkey.is_module_patched(name) for name in ('socket', 'ssl')):
        if monkey.is_module_patched('threading'):
            imports.share_imports()
    elif wanted == 'all':
        patch_all()
    else:
        _patch_narrowly()
    botolocks.share_botocore_locks()


def patch_all() -> None:
    """Patch everything for gevent: threads, locks, queues, subprocess, select, signals and os, not only the network.

    For programs in which all concurrency is gevent's. Afterwards `threading.Thread` is a greenlet, and waiting for a lock, a
    queue, a future or a subprocess lets other greenlets run. Call it in the first lines of the program::

        import s3po

        s3po.patch_all()

    It works with S3PO_PATCH=0 too; a second call does nothing. S3PO_PATCH=all does the same at `import s3po`.

    A late call cannot change existing objects: locks and queues from before stay native, and block all greenlets during a wait
    (for example in existing boto3, requests and urllib3 clients); so do names bound before it, for example by `from time import
    sleep`. A LateImportWarning names such clients. If other native threads are running (a notebook, pytest-xdist, a threaded
    server, a batch that has read files), replacing their locks would hang them: then only the narrow patch is applied, and a
    LateImportWarning is emitted.
    """
    if monkey.is_module_patched('threading'):
        imports.share_imports()
        return
    if other_threads_run():
        if not monkey.is_module_patched('socket'):
            _patch_narrowly()
        _warn('other native threads are running, so only socket, ssl, dns and time are patched')
        return
    clients = _clients()
    with _repaired(), _interrupts_held_back():
        monkey.patch_all()
    imports.share_imports()
    if clients:
        _warn(f'existing clients ({", ".join(clients)}) keep native locks, which block all greenlets when two wait for one')


def other_threads_run() -> bool:
    """Whether native threads other than the calling one run Python code now."""
    return len(sys._current_frames()) > 1


def _clients() -> list[str]:
    """Names of the HTTP client classes that have instances."""
    kinds = [getattr(sys.modules[module], name) for module, name in _CLIENTS if module in sys.modules]
    # By type(): isinstance() would run the properties of proxy objects.
    found = {type(each) for each in gc.get_objects()} if kinds else set()
    return sorted({kind.__name__ for kind in found if issubclass(kind, tuple(kinds))})


def _patch_narrowly() -> None:
    """Patch the network and time.sleep; locks and queues, for which other threads may be waiting, stay unchanged."""
    with _repaired(), _interrupts_held_back():
        threads.share_sockets()
        monkey.patch_socket(dns=True)
        monkey.patch_ssl()
        monkey.patch_time()
        threads.keep_blocking_calls()


@contextlib.contextmanager
def _repaired() -> Iterator[None]:
    """Repair, around the first patch, objects of ssl and socket that were created before it."""
    is_first = not monkey.is_module_patched('ssl')
    is_ours = is_first or ssl.SSLContext is tls.original_context_class()
    with warnings.catch_warnings():
        # gevent warns of problems that are repaired here.
        warnings.simplefilter('ignore', monkey.MonkeyPatchWarning)
        if is_first:
            # Before the patch, because other threads may be using a context at this moment.
            tls.repair_contexts()
        yield
        if is_ours:
            tls.rejoin_classes()
            blocking.repair_functions()
        if is_first:
            sockets.repair_open_sockets()
            blocking.repair_sockets()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Delay a Ctrl-C until the patch is complete.

    In the middle of `patch_all` (20 ms), some locks are native and others gevent's: the import would fail with "cannot release
    un-acquired lock", and the process would then hang at its end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _warn(reason: str) -> None:
    """Emit the warning at the line that imported s3po or called patch_all()."""
    message = f'The full patch came late: {reason}. {_FIX}.'
    frame = _user_frame()
    registry = frame.f_globals.setdefault('__warningregistry__', {})
    module = str(frame.f_globals.get('__name__', '<unknown>'))
    try:
        warnings.warn_explicit(
            message, LateImportWarning, frame.f_code.co_filename, frame.f_lineno, module=module, registry=registry
        )
    except LateImportWarning:
        # Warnings are errors here. The import would fail although everything is patched, and pytest with its conftest.
        log.warning('%s', message)


def _user_frame() -> types.FrameType:
    """The innermost frame that belongs neither to s3po nor to the import system."""
    frame = sys._getframe()
    while frame.f_back is not None and _is_import_machinery(frame):
        frame = frame.f_back
    return frame


def _is_import_machinery(frame: types.FrameType) -> bool:
    name = str(frame.f_globals.get('__name__', ''))
    return name.partition('.')[0] in {'s3po', 'importlib', '_frozen_importlib', '_frozen_importlib_external'}
