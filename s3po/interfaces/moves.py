"""The batches of S3poFileSystem, with callbacks for files and bytes."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import fsspec.spec

from s3po.connection import Batch, Connection, Progress
from s3po.errors import InvalidRequest
from s3po.files import file_errors
from s3po.jobs import Call
from s3po.model import TransferResult, ref_of

__all__ = ['Moves', 'is_behind_the_end', 'is_plain', 'moving', 'planned']

# The batch of the get(), put() or copy() that is running in this context.
_current: contextvars.ContextVar[Moves | None] = contextvars.ContextVar('s3po_moves', default=None)


class Moves:
    """The transfers of one get(), put() or copy(), in one batch. Also the callback for fsspec's loop over the files.

    Attributes:
        batch: Carries them out.
        options: Options for all of them.
        files: The callback that counts files; None for a single transfer.
        is_missing_ok: Whether missing files are skipped.
    """

    def __init__(self, batch: Batch, files: Any, options: Mapping[str, Any]) -> None:
        self.batch = batch
        self.options = options
        self.files = files
        self.is_missing_ok = False
        self._expected = 0
        self._jobs: list[tuple[str, Any, Callable[[BaseException], bool]]] = []

    def set_size(self, size: int) -> None:
        """Set the number of files."""
        self._expected = size
        self.files.set_size(size)

    def wrap(self, paths: Iterable[Any]) -> Iterable[Any]:
        """Return the paths: files are counted when their transfers have ended, not when they are queued."""
        return paths

    def branched(self, path_1: str, path_2: str, **options: Any) -> Any:
        """The callback for one file, in a context that does not close it: it is closed when the transfer has ended."""
        return contextlib.nullcontext(self.files.branched(path_1, path_2, **options))

    def add(
        self,
        operation: str,
        path: str,
        name: tuple[str, str],
        options: Mapping[str, Any],
        *,
        progress: Any = None,
        is_no_failure: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        """Queue a transfer, with a callback for its bytes. is_no_failure selects errors to ignore: the path is no file's."""
        given = {**self.options, **options}
        ref = ref_of(*name, given.pop('version_id', None))
        if progress is not None:
            given['observer'] = Progress(progress.relative_update)
        is_counted = progress is not None or self.files is not None
        ended = functools.partial(self._ended, progress) if is_counted else None
        job = self.batch.submit(Call(operation, ref, given), ended, ended, silent=False)
        self._jobs.append((path, job, is_no_failure))

    def skip(self) -> None:
        """Count one file less: the path is that of a directory."""
        if self.files is not None:
            self.set_size(self._expected - 1)

    def check(self) -> None:
        """Raise the first failure."""
        for path, job, is_no_failure in self._jobs:
            if job.exception is not None:
                if not is_no_failure(job.exception):
                    with file_errors(path, is_new=job.options.get('if_none_match') is not None):
                        raise job.exception
                self.skip()

    def _ended(self, progress: Any, outcome: TransferResult | Exception) -> None:
        """Update the callbacks after a transfer, or after its failure."""
        if progress is not None:
            if isinstance(outcome, TransferResult):
                progress.set_size(outcome.size_bytes)
            # The caller of get_file() or put_file() closes its callback itself.
            if self.files is not None:
                progress.close()
        if self.files is not None and isinstance(outcome, TransferResult):
            self.files.relative_update(1)


@contextlib.contextmanager
def moving(connection: Connection, size: int, files: Any = None, options: Mapping[str, Any] | None = None) -> Iterator[Moves]:
    """Collect the transfers of the `with` block in one batch; inside another such block, in its batch."""
    moves = _current.get()
    if moves is not None:
        yield moves
        return
    with connection.batch(size, on_error='collect') as batch:
        moves = Moves(batch, files, options or {})
        token = _current.set(moves)
        try:
            yield moves
        finally:
            _current.reset(token)
    # Marks the failures as read; check() raises the first one.
    batch.success()
    moves.check()


def planned(files: Any, path1: Any, path2: Any, **options: Any) -> list[tuple[str, str]]:
    """The paths that fsspec's copy() would copy, of directories too, with their targets. Nothing is copied."""
    pairs: list[tuple[str, str]] = []
    plan = types.SimpleNamespace(
        expand_path=files.expand_path, isdir=files.isdir, cp_file=lambda source, target: pairs.append((source, target))
    )
    fsspec.spec.AbstractFileSystem.copy(plan, path1, path2, **options)
    return pairs


def is_plain(found: tuple[int, int | None] | None) -> bool:
    """Whether S3 can serve the range: it is not empty and does not count from the end."""
    return found is None or (found[0] >= 0 and (found[1] is None or found[1] > found[0]))


def is_behind_the_end(error: BaseException) -> bool:
    """Whether a range begins behind the end of the object."""
    return isinstance(error, InvalidRequest) and error.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
