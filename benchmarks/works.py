"""Values: a piece of work that each client does in turn, and its measurements. Nothing runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median

from objects import GIB, MIB
from sink import Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One piece of work.

    Attributes:
        name: The name in options and results.
        title: The title in tables.
        verb: The method of the clients that does it (see `peers`).
        bucket: The bucket to read from or write to.
        endpoint: The endpoint of the store: 'http', 'https' or 'delayed'.
        count: The number of objects.
        size_bytes: The size of each object.
        width: The number of requests at once.
        part_bytes: The size of a part; None leaves all settings of the clients at their defaults.
        payload: 'signed', 'unsigned', or None for each client's default.
        without: The names of clients that cannot do it in this way.
        only: The only library to measure; '' for all.
    """

    name: str
    title: str
    verb: str
    bucket: str
    endpoint: str = 'http'
    count: int = 1
    size_bytes: int = 0
    width: int = 50
    part_bytes: int | None = 8 * MIB
    payload: str | None = None
    without: frozenset[str] = frozenset()
    only: str = ''

    @property
    def is_large(self) -> bool:
        """Whether rates are in bytes, not in objects."""
        return self.verb.endswith('_file')

    @property
    def is_shared(self) -> bool:
        """Whether a slow client may get a share of the objects: each object takes the same requests."""
        return self.verb in {'put', 'get', 'put_directory', 'get_directory', 'put_tree', 'get_tree'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The measurement of one process, for `count` objects of `size_bytes` each."""

    count: int
    size_bytes: int
    seconds: float
    cpu_s: float
    rss_bytes: int
    requests: int
    connections: int


@dataclass(slots=True, kw_only=True)
class Measured:
    """The runs of one client for one work, one per round.

    Attributes:
        work: The work.
        peer: The client's name, with the way it was used.
        version: The client's version.
        is_floor: Whether it is bare sockets, not a client.
        runs: One per round.
        tried: For clients with several ways: the rate of each way in the trial that selected the quickest.
        error: Why there are no more runs; None if all succeeded.
    """

    work: Work
    peer: str
    version: str
    is_floor: bool = False
    runs: list[Run] = field(default_factory=list)
    tried: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def library(self) -> str:
        """The client's name without the way it was used."""
        return self.peer.partition('/')[0]

    @property
    def way(self) -> str:
        """The way in which the client was used; '' if there is only one."""
        return self.peer.partition('/')[2]

    @property
    def rates(self) -> list[float]:
        """The rate of each run: bytes per second of a large object, else objects per second."""
        return [rate_of(self.work, run) for run in self.runs]

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def cpu_s(self) -> float:
        """The median of CPU seconds (user and system) per GiB of a large object, else per object."""
        return median(self.cpus_s)

    @property
    def cpus_s(self) -> list[float]:
        """The CPU seconds of each run, per GiB of a large object, else per object."""
        return [run.cpu_s / (run.size_bytes / GIB if self.work.is_large else run.count) for run in self.runs]

    @property
    def rss_bytes(self) -> float:
        """The median of the peaks of resident memory."""
        return self._median(lambda run: run.rss_bytes)

    @property
    def requests(self) -> float:
        """The median of requests per object."""
        return self._median(lambda run: run.requests / run.count)

    def times(self, other: Measured) -> list[float]:
        """For each round that both ran: this rate divided by the other's. Changes of the machine's speed cancel out."""
        return [mine / its for mine, its in zip(self.rates, other.rates, strict=False)]

    def cpu_times(self, other: Measured) -> list[float]:
        """For each round that both ran: this CPU time divided by the other's."""
        return [mine / its for mine, its in zip(self.cpus_s, other.cpus_s, strict=False)]

    def to_json(self) -> dict[str, object]:
        """The figures as plain values."""
        figures = {}
        if self.runs:
            figures = {
                'rate': self.rate,
                'rate_min': min(self.rates),
                'rate_max': max(self.rates),
                'cpu_s': self.cpu_s,
                'rss_bytes': self.rss_bytes,
                'requests': self.requests,
            }
        return {
            'work': self.work.name,
            'title': self.work.title,
            'peer': self.peer,
            'version': self.version,
            'unit': 'bytes/s' if self.work.is_large else 'objects/s',
            'cpu_per': 'GiB' if self.work.is_large else 'object',
            **figures,
            'runs': [asdict(run) for run in self.runs],
            'tried': self.tried,
            'error': self.error,
        }

    def _median(self, figure: Callable[[Run], float]) -> float:
        return median(map(figure, self.runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Works that share a store.

    Attributes:
        name: The name.
        contents: The initial contents of the store.
        works: The works, in order.
        rounds: The number of rounds, unless the command line has another.
    """

    name: str
    contents: Contents
    works: tuple[Work, ...]
    rounds: int = 3


def rate_of(work: Work, run: Run) -> float:
    """Bytes per second of a large object, else objects per second."""
    return run.count * (run.size_bytes if work.is_large else 1) / run.seconds


def of(results: list[Measured], work: str) -> list[Measured]:
    """The measurements of the work, fastest first."""
    return sorted((each for each in results if each.work.name == work and each.runs), key=lambda each: -each.rate)
