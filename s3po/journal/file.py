"""The file of a journal: one header and many records, appended and never changed.

Invariants: one process at a time has the file open for writing, and holds its lock; the lock belongs to the file that the path
leads to. A record is in the file as a whole or not at all: what a killed process or a full disk has cut off at the end is
removed. The file belongs to the user, and no other user can read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator

from s3po.body.local import as_local_error, close_file, local_errors, printable
from s3po.errors import ConfigurationError, LocalError
from s3po.journal.lines import HEADER_BYTES, VERSION, Tail, has_valid_crc, header_line, tail_of
from s3po.runtime import disowned_in_child

__all__ = ['BEGINNING', 'JournalFile', 'open_to_read', 'read_header', 'records_of']

log = logging.getLogger(__name__)

BEGINNING = b'{"s3po_journal": '
# How much of a file is read to estimate the number of its jobs.
SAMPLE_BYTES = 1 << 16
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class JournalFile:
    """A journal that is open for writing.

    Attributes:
        path: The absolute path, without symbolic links.
        size_bytes: The offset of the next record.
        is_read_only: Whether it is only read, without the lock.
    """

    def __init__(
        self, path: str, endpoint: str | None = None, *, is_any_store: bool = False, is_read_only: bool = False
    ) -> None:
        """Open a file, or create it.

        Args:
            path: The path.
            endpoint: The URL of the store; None for AWS.
            is_any_store: Whether the endpoint of the file does not matter.
            is_read_only: Open an existing file without the lock, and change nothing.

        Raises:
            ConfigurationError: The file is no journal, of another store or a newer version, in use, or of another user.
            LocalError: It cannot be opened or written.
        """
        self.path = os.path.realpath(path)
        self._endpoint = endpoint
        self._is_any_store = is_any_store or is_read_only
        self.is_read_only = is_read_only
        self._error: OSError | None = None
        self.descriptor = -1
        with local_errors('open the journal', self.path):
            self.descriptor = open_to_read(self.path) if is_read_only else _open_locked(self.path)
            try:
                self.size_bytes = os.fstat(self.descriptor).st_size
                self._begin()
            except BaseException:
                self.close()
                raise
        disowned_in_child(self)

    def __repr__(self) -> str:
        return f'<JournalFile {self.path!r} {self.size_bytes:,} bytes>'

    def __del__(self) -> None:
        self.close()

    @property
    def store(self) -> str:
        """The URL of the store that the journal belongs to, or `AWS`."""
        return self._endpoint or 'AWS'

    @property
    def is_broken(self) -> bool:
        """Whether a record could not be written."""
        return self._error is not None

    def _begin(self) -> None:
        found = read_header(self.descriptor, self.path)
        if found is None and self.size_bytes > HEADER_BYTES:
            raise _damaged(self.path, 0)
        if self.is_read_only:
            return
        header = header_line(self._endpoint, os.getpid())
        if len(header) > HEADER_BYTES:
            raise ConfigurationError(f'journal: the endpoint {self._endpoint} is too long for the header of a journal')
        os.fchmod(self.descriptor, 0o600)
        if found is None:
            os.ftruncate(self.descriptor, 0)
            self.size_bytes = HEADER_BYTES
        elif self._is_any_store:
            self._endpoint = found['endpoint']  # type: ignore[assignment]  # as it was written
        else:
            check_endpoint(found.get('endpoint'), self._endpoint, self.path)
        os.pwrite(self.descriptor, header_line(self._endpoint, os.getpid()), 0)

    def estimated_jobs(self) -> int:
        """About how many jobs the file has, to the nearest few."""
        with local_errors('read the journal', self.path):
            sample = os.pread(self.descriptor, SAMPLE_BYTES, HEADER_BYTES)
        done = sample.count(b',"state":"done",')
        return done * self.size_bytes // len(sample) if sample else 0

    def records(self) -> Iterator[tuple[int, bytes, Tail]]:
        """All records with their offsets and ends. What is cut off at the end is removed from the file.

        Raises:
            LocalError: A record before the last one is damaged.
        """
        end = HEADER_BYTES
        for offset, line, tail in records_of(self.descriptor, self.path):
            end = offset + len(line)
            yield offset, line, tail
        if end < self.size_bytes and not self.is_read_only:
            log.warning(
                'the last record of the journal %s was not complete, and is dropped: %d bytes from offset %d',
                self.path,
                self.size_bytes - end,
                end,
            )
            with local_errors('repair the journal', self.path):
                os.ftruncate(self.descriptor, end)
            self.size_bytes = end

    def append(self, line: bytes) -> int:
        """Write a record, and return its offset. After an error, each further call raises it again.

        Raises:
            LocalError: It could not be written, and is not in the file.
        """
        if self._error is not None:
            raise as_local_error('write the journal', self.path, self._error) from self._error
        offset = self.size_bytes
        try:
            written = os.pwrite(self.descriptor, line, offset)
            while written < len(line):
                written += os.pwrite(self.descriptor, line[written:], offset + written)
        except OSError as error:
            self._error = error
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, offset)
            raise as_local_error('write the journal', self.path, error) from error
        self.size_bytes = offset + len(line)
        return offset

    def read(self, offset: int) -> bytes:
        """The record at an offset."""
        try:
            data = os.pread(self.descriptor, 512, offset)
            while (end := data.find(b'\n')) < 0:
                more = os.pread(self.descriptor, len(data) * 4, offset + len(data))
                if not more:
                    raise _damaged(self.path, offset)
                data += more
        except OSError as error:
            raise error if isinstance(error, LocalError) else as_local_error('read the journal', self.path, error) from error
        return data[: end + 1]

    def replace(self, lines: Iterable[bytes]) -> None:
        """Replace all records, by a new file that takes the place of the old one when it is complete.

        Raises:
            OSError: The new file could not be written; the old one is unchanged.
        """
        path = f'{self.path}.compacted'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, _FLAGS | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(descriptor, 'wb', closefd=False) as file:
                file.write(header_line(self._endpoint, os.getpid()))
                file.writelines(lines)
            os.fsync(descriptor)
            os.rename(path, self.path)
        except BaseException:
            close_file(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
        old, self.descriptor = self.descriptor, descriptor
        close_file(old)
        self.size_bytes = os.fstat(descriptor).st_size

    def sync(self) -> None:
        """Wait until the disk has all records; for a thread of the pool."""
        try:
            if self._error is not None:
                raise self._error
            os.fsync(self.descriptor)
        except OSError as error:
            # A second fsync() may report success although data were lost: https://lwn.net/Articles/752063/
            self._error = error
            raise as_local_error('synchronise the journal', self.path, error) from error

    def sync_name(self) -> None:
        """Wait until the disk has the name of the file."""
        with local_errors('synchronise the directory of the journal', self.path):
            directory = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                close_file(directory)

    def remove(self) -> None:
        """Remove the file, and close it."""
        with local_errors('remove the journal', self.path):
            os.unlink(self.path)
        self.close()

    def check_in_place(self) -> None:
        """Log an error if the path does not lead to the file any more, or not to all of it: what was written is lost."""
        if self.descriptor < 0:
            return
        found = os.fstat(self.descriptor)
        if not _is_at(self.path, found):
            log.error('the journal %s was removed or replaced while it was in use: the records of this run are lost', self.path)
        elif not self.is_broken and not (
            found.st_size == self.size_bytes and has_valid_crc(os.pread(self.descriptor, HEADER_BYTES, 0))
        ):
            log.error('the journal %s was changed by another program while it was in use, and is damaged', self.path)

    def close(self) -> None:
        """Close the file, and release the lock."""
        descriptor, self.descriptor = getattr(self, 'descriptor', -1), -1
        if descriptor >= 0:
            # A child that was forked a moment ago may have the file open too.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            close_file(descriptor)

    def disown(self) -> None:
        """In a forked child: close the file, so that the lock ends with the parent."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            close_file(descriptor)


def open_to_read(path: str) -> int:
    """The descriptor of an existing journal, which another process may be writing."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(os.fstat(descriptor), path)
    except BaseException:
        close_file(descriptor)
        raise
    return descriptor


def records_of(descriptor: int, path: str) -> Iterator[tuple[int, bytes, Tail]]:
    """The complete records of a file, with their offsets and ends.

    Raises:
        LocalError: A record that is not the last one is damaged.
    """
    offset, damaged_at = HEADER_BYTES, None
    with local_errors('read the journal', path), open(descriptor, 'rb', closefd=False, buffering=1 << 20) as file:
        file.seek(HEADER_BYTES)
        for line in file:
            tail = tail_of(line)
            if tail is None:
                damaged_at = offset if damaged_at is None else damaged_at
            elif damaged_at is not None:
                raise _damaged(path, damaged_at)
            else:
                yield offset, line, tail
            offset += len(line)


def read_header(descriptor: int, path: str) -> dict[str, object] | None:
    """The fields of the header; None for a file without a complete one: new, or cut off when it was created.

    Raises:
        ConfigurationError: The file is no journal, or of a newer version.
    """
    line = os.pread(descriptor, HEADER_BYTES, 0)
    if not has_valid_crc(line):
        # (After a power cut, a file that was new may be all zeros.)
        if line.strip(b'\0') and not BEGINNING.startswith(line[: len(BEGINNING)]):
            raise ConfigurationError(f'journal: {printable(path)} exists and is not a journal of s3po; choose another path')
        return None
    said: dict[str, object] = json.loads(line)
    version = said.get('s3po_journal')
    if version != VERSION:
        raise ConfigurationError(
            f'journal: {printable(path)} has version {version} of the format, and this s3po reads version {VERSION}; use a '
            'newer s3po, or another path'
        )
    return said


def check_endpoint(found: object, endpoint: str | None, path: str) -> None:
    """Compare the endpoint of a journal.

    Raises:
        ConfigurationError: It is another one.
    """
    if found != endpoint:
        raise ConfigurationError(
            f'journal: {printable(path)} is of the store {found or "AWS"}, and this connection is to {endpoint or "AWS"}; use '
            'another path for each store'
        )


def _open_locked(path: str) -> int:
    """The descriptor of the file that the path leads to, with its lock."""
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            found = os.fstat(descriptor)
            _check_regular(found, path)
            if found.st_uid != os.geteuid():
                raise ConfigurationError(
                    f'journal: {printable(path)} belongs to the user {found.st_uid}, and this process runs as {os.geteuid()}; '
                    'use another path'
                )
            _lock(descriptor, path)
            # Another process may have replaced the file between the two steps.
            if _is_at(path, found):
                return descriptor
        except BaseException:
            close_file(descriptor)
            raise
        close_file(descriptor)


def _check_regular(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f'journal: {printable(path)} is not a regular file')


def _is_at(path: str, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _lock(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = (read_header(descriptor, path) or {}).get('pid', 'unknown')
        raise ConfigurationError(
            f'journal: {printable(path)} is in use by process {pid}; wait for its end, or use another path'
        ) from error


def _damaged(path: str, offset: int) -> LocalError:
    return LocalError(
        f'the journal {printable(path)} is damaged at offset {offset}; restore it from a copy, or remove it to begin again',
        filename=path,
    )
