"""The arguments of a batch: the connection, as a protocol, and the limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, Protocol, TypedDict

from s3po.checks import is_seconds, is_wait, is_whole
from s3po.config import check_memory
from s3po.errors import ConfigurationError
from s3po.governor import RequestLoad
from s3po.jobs import Call
from s3po.jobs.options import ProgressOption, unknown_option
from s3po.journal import Journal
from s3po.memory import MemoryBudget
from s3po.model import Outcome
from s3po.observer import Observer
from s3po.progress import check_progress

__all__ = ['BATCH_DEFAULTS', 'BatchLimits', 'BatchOptions', 'OnError', 'Performer', 'check_grace', 'check_wait', 'limits_of']

# More processes than cores only take memory.
MAX_PROCESSES: Final = 256

OnError = Literal['raise', 'collect']


class BatchOptions(TypedDict, total=False):
    """The options of Connection.batch()."""

    on_error: OnError
    keep_results: bool
    timeout_s: float | None
    job_timeout_s: float | None
    max_failures: int | None
    journal: str | os.PathLike[str] | Journal | None
    verify_skipped: bool
    replay_callbacks: bool
    fsync: bool
    max_memory: int | None
    processes: int
    progress: ProgressOption
    receipts: bool
    grace_s: float


class WorkerForm(Protocol):
    """What worker processes need to make their own connections.

    Attributes:
        max_requests: How many requests all of them together may send at once; None for no limit.
    """

    max_requests: int | None

    def packed(self, max_memory: int | None) -> dict[str, Any]:
        """The connection as values that can be pickled. May block while keys are looked up.

        Args:
            max_memory: The limit of the batch, for all processes together; None for the connection's.
        """
        ...

    def fixed_keys(self) -> tuple[str, str, str | None, str | None] | None:
        """The keys (id, secret, token and None); None for keys that are renewed, which a worker asks for, and without keys."""
        ...

    def keys(self, known: tuple[str, str, str | None] | None) -> tuple[str, str, str | None, str | None]:
        """New keys (id, secret, token and expiry), other ones than `known` if there are any. May block."""
        ...


class Performer(Protocol):
    """The part of a connection that a batch uses.

    Attributes:
        silent: What `silent=None` means.
        observer: Receives the events of the jobs; None for no observer.
    """

    silent: bool

    @property
    def observer(self) -> Observer | None:
        """The observer of the connection; None for no observer."""
        ...

    @property
    def endpoint_url(self) -> str | None:
        """The URL of the store, for the records of failed jobs; None for AWS, and if it is not known."""
        ...

    @property
    def deletes_sources(self) -> bool:
        """Whether uploads from a path delete the file, unless the call says otherwise."""
        ...

    def find_endpoint(self) -> str | None:
        """The URL of the store, for a journal; None for AWS. Sends nothing."""
        ...

    def perform(self, call: Call) -> Outcome:
        """Carry out a call. Raises what it raises when it is not silent."""
        ...

    def width(self) -> int:
        """How many requests of this thread may be in flight at once."""
        ...

    def renew_credentials(self) -> None:
        """Read the credentials again from their source, because the store rejects them. May send requests."""
        ...

    def abort_in_background(self, bucket: str, key: str, upload_id: str, extra: Mapping[str, Any]) -> None:
        """Abort a multipart upload of a worker process that has ended. Returns at once."""
        ...

    def memory_budget(self) -> MemoryBudget:
        """The budget of the transfers of this thread."""
        ...

    def request_load(self) -> Callable[[], RequestLoad]:
        """A function that returns the present figures of this thread's requests. Any thread may call it."""
        ...

    def use_share(self, fraction: float) -> None:
        """Use only a fraction of the limits of requests, rates and memory, in this thread."""
        ...

    @property
    def is_mocked(self) -> bool:
        """Whether a mock is active, which is one of this process."""
        ...

    def worker_form(self) -> WorkerForm:
        """The connection for worker processes.

        Raises:
            ConfigurationError: An argument of the connection belongs to this process.
        """
        ...

    def demand_requests(self, width: int) -> None:
        """Allow at least this many requests at once, until release_requests(width)."""
        ...

    def release_requests(self, width: int) -> None:
        """Undo one demand_requests(width)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """The limits of a batch; the names are those of Connection.batch().

    Raises:
        ConfigurationError: One of them is out of its range.
    """

    size: int
    on_error: OnError = 'raise'
    keep_results: bool = True
    timeout_s: float | None = None
    job_timeout_s: float | None = None
    max_failures: int | None = None
    journal: str | os.PathLike[str] | Journal | None = None
    verify_skipped: bool = False
    replay_callbacks: bool = False
    fsync: bool = False
    max_memory: int | None = None
    processes: int = 1
    progress: ProgressOption = None
    receipts: bool = False
    grace_s: float = 0.0

    def __post_init__(self) -> None:
        if not is_whole(self.size, 1):
            raise ConfigurationError(f'size must be a whole number from 1: how many calls run at once, not {self.size!r}')
        if self.on_error not in ('raise', 'collect'):
            raise ConfigurationError(f"on_error must be 'raise' or 'collect', not {self.on_error!r}")
        for name, seconds in (('timeout_s', self.timeout_s), ('job_timeout_s', self.job_timeout_s)):
            if seconds is not None and not is_seconds(seconds):
                raise ConfigurationError(f'{name} must be a number of seconds above 0, or None, not {seconds!r}')
        check_grace(self.grace_s)
        limit = self.max_failures
        if limit is not None and not is_whole(limit, 1):
            raise ConfigurationError(f'max_failures must be a whole number from 1, or None, not {limit!r}')
        if not isinstance(self.receipts, bool):
            raise ConfigurationError(
                f'receipts must be True or False, not {self.receipts!r}; batch.report().save(path) writes them'
            )
        for name in ('verify_skipped', 'replay_callbacks', 'fsync'):
            if getattr(self, name) and self.journal is None:
                raise ConfigurationError(f"{name} is for a batch with a journal: batch(journal='job.s3po', {name}=True)")
        check_progress(self.progress)
        if self.max_memory is not None:
            check_memory(self.max_memory)
        if not is_whole(self.processes, 1, MAX_PROCESSES):
            raise ConfigurationError(
                f'processes must be a whole number from 1 to {MAX_PROCESSES}, not {self.processes!r}; one for each core '
                f'(os.cpu_count() is {os.cpu_count()}) is enough'
            )


# The defaults of the options.
BATCH_DEFAULTS: Final[dict[str, Any]] = {each.name: each.default for each in fields(BatchLimits) if each.name != 'size'}


def limits_of(size: int, options: BatchOptions) -> BatchLimits:
    """The limits from the options of Connection.batch().

    Raises:
        ConfigurationError: One of them is out of its range.
        TypeError: There is no such option.
    """
    if not options.keys() <= BATCH_DEFAULTS.keys():
        raise unknown_option('batch', options, BATCH_DEFAULTS)
    return BatchLimits(size=size, **options)


def check_wait(timeout_s: object) -> None:
    """Check the longest time of a wait.

    Raises:
        ConfigurationError: It is neither None nor a number of seconds from 0.
    """
    if timeout_s is not None and not is_wait(timeout_s):
        raise ConfigurationError(f'timeout_s must be a number of seconds from 0, or None for no limit, not {timeout_s!r}')


def check_grace(grace_s: object) -> None:
    """Check the time that running jobs have to end.

    Raises:
        ConfigurationError: It is not a number of seconds from 0.
    """
    if not is_wait(grace_s):
        raise ConfigurationError(f'grace_s must be a number of seconds from 0, not {grace_s!r}')
