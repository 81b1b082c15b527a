"""What `import s3po` does to the standard library.

| the program                                 | what is patched            | what it is told                          |
|---------------------------------------------|----------------------------|------------------------------------------|
| imports s3po first                          | everything (`patch_all`)   | nothing                                  |
| has patched with gevent itself              | nothing more               | nothing                                  |
| sets S3PO_PATCH=0                           | nothing                    | nothing                                  |
| has used ssl before (boto3, urllib3, ...)   | everything, ssl repaired   | one LateImportWarning                    |
| has imported ssl, but made nothing of it    | everything, ssl repaired   | an INFO record: nobody can see a change  |
| runs other native threads                   | socket, ssl, dns and time  | one LateImportWarning                    |

Why not everything beside native threads: `patch_all` replaces the locks and queues that those threads already wait for. It
hangs a Jupyter kernel and breaks pytest-xdist.

Where the locks are patched, by whomever, those of the import system are replaced once more: see `imports`.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
import types
import warnings
from collections.abc import Iterator

from gevent import monkey

from s3po.runtime import botolocks, imports, sockets, threads, tls

__all__ = ['LateImportWarning', 'other_threads_run', 'patch']

log = logging.getLogger(__name__)

_FIX = 'Import s3po, or call gevent.monkey.patch_all(), before boto3, requests and urllib3 and before threads start'

# Whoever has imported one of these may hold TLS contexts, sessions and clients already.
_HTTPS_CLIENTS = ('boto3', 'botocore', 'requests', 'urllib3', 'httpx', 'aiohttp')


class LateImportWarning(RuntimeWarning):
    """s3po was imported after other modules had begun to use the network.

    Everything goes on working; some of it may block where it could give way to other greenlets. Under warnings as errors it
    becomes a WARNING log record: an import that has already patched and repaired everything must not fail.
    """


def patch() -> None:
    """Make the standard library cooperative, as far as that is safe in this process.

    Called by `import s3po` before anything else of s3po is imported; calling it again does nothing. The module's docstring
    tells what is patched when. It never raises for coming late, and never breaks what was made before it came.
    """
    if os.environ.get('S3PO_PATCH') == '0':
        return
    if not _is_patched_already():
        _patch()
    if monkey.is_module_patched('threading'):
        imports.share_imports()
    botolocks.share_botocore_locks()


def _patch() -> None:
    beside_threads = other_threads_run()
    clients = [name for name in _HTTPS_CLIENTS if name in sys.modules]
    is_late = 'ssl' in sys.modules
    is_noticeable = bool(clients) or (is_late and _is_ssl_in_use())
    with warnings.catch_warnings():
        # It says what we are about to repair.
        warnings.simplefilter('ignore', monkey.MonkeyPatchWarning)
        if is_late:
            # First, because other threads may be using a context at this moment.
            tls.repair_contexts()
        if beside_threads:
            _patch_beside_threads()
        else:
            with _interrupts_held_back():
                monkey.patch_all()
        if is_late:
            tls.rejoin_classes()
            sockets.repair_open_sockets()
    if beside_threads or is_noticeable:
        _warn(_describe(beside_threads=beside_threads, is_late=is_noticeable, clients=clients))
    elif is_late:
        log.info('ssl had been imported before s3po, but not used: it was patched and repaired')


def other_threads_run() -> bool:
    """Tell whether native threads besides the calling one run Python code now."""
    return len(sys._current_frames()) > 1


def _is_patched_already() -> bool:
    return any(monkey.is_module_patched(name) for name in ('socket', 'ssl'))


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a Ctrl-C wait until the patch is whole.

    In the middle of it (20 ms), locks are native ones here and gevent's there: the import fails with "cannot release
    un-acquired lock", and the process then waits for ever at its end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _patch_beside_threads() -> None:
    """Patch what carries bytes, and leave the locks and queues that other threads may be waiting for."""
    threads.share_sockets()
    monkey.patch_socket(dns=True)
    monkey.patch_ssl()
    monkey.patch_time()
    threads.keep_blocking_calls()


def _is_ssl_in_use() -> bool:
    """Tell whether anybody made a context, derived from its class or bound it in a module.

    If nobody did, `import ssl` was all, as in a good part of the standard library, and nobody can notice the patch.
    """
    original = tls.original_context_class()
    for holder in gc.get_referrers(original):
        if isinstance(holder, original):
            return True
        if isinstance(holder, type) and original in holder.__bases__ and not _is_machinery(holder.__module__):
            return True
        if isinstance(holder, dict) and not _is_machinery(holder.get('__name__')):
            return True
    return False


def _is_machinery(name: object) -> bool:
    """Tell whether a name is that of a module which has to know the class, ssl or gevent's, or of no module at all."""
    return not isinstance(name, str) or name == 'ssl' or name.partition('.')[0] == 'gevent'


def _describe(*, beside_threads: bool, is_late: bool, clients: list[str]) -> str:
    reasons = []
    if beside_threads:
        reasons.append(
            'other native threads run (a notebook, pytest-xdist, a server?), so only socket, ssl, dns and time are patched'
        )
    if is_late:
        users = f' (by {", ".join(clients)})' if clients else ''
        reasons.append(
            f'ssl was in use already{users}: contexts, sessions and clients made before were repaired and go on working, '
            'but their locks are native ones still, and stop the whole thread where two greenlets meet at one'
        )
    return f's3po was imported late: {"; ".join(reasons)}. {_FIX}; S3PO_PATCH=0 patches nothing.'


def _warn(message: str) -> None:
    """Warn at the line that imported s3po."""
    frame = _importing_frame()
    registry = frame.f_globals.setdefault('__warningregistry__', {})
    module = str(frame.f_globals.get('__name__', '<unknown>'))
    try:
        warnings.warn_explicit(
            message, LateImportWarning, frame.f_code.co_filename, frame.f_lineno, module=module, registry=registry
        )
    except LateImportWarning:
        # Warnings are errors here. The import would fail with everything patched, and pytest with its conftest.
        log.warning('%s', message)


def _importing_frame() -> types.FrameType:
    """Find the user's import statement: the innermost frame that is neither s3po's nor the import system's."""
    frame = sys._getframe()
    while frame.f_back is not None and _is_import_machinery(frame):
        frame = frame.f_back
    return frame


def _is_import_machinery(frame: types.FrameType) -> bool:
    name = str(frame.f_globals.get('__name__', ''))
    return name.partition('.')[0] in {'s3po', 'importlib', '_frozen_importlib', '_frozen_importlib_external'}
