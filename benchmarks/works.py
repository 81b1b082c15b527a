"""What is measured: a piece of work that every client does in turn, and what came of it.

What may live here: values and the figures that follow from them. Nothing runs here.
"""

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
        name: What it is called in options and results.
        title: What it is called in tables.
        verb: The method of the clients that does it (see `peers`).
        bucket: The bucket it reads from or writes to.
        endpoint: Which of the store's endpoints: 'http', 'https' or 'delayed'.
        count: How many objects.
        size_bytes: The size of each.
        width: How many requests at once.
        part_bytes: The size of a part; None leaves the clients all their defaults.
        payload: 'signed', 'unsigned', or None for each client's default.
        without: Clients that cannot do it in this way.
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

    @property
    def is_large(self) -> bool:
        """Whether it is about bytes rather than objects."""
        return self.verb.endswith('_file')

    @property
    def is_shared(self) -> bool:
        """Whether a slow client may be given a share of the objects: the requests are the same for each of them."""
        return self.verb in {'put', 'get', 'put_directory', 'get_directory', 'put_tree', 'get_tree'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one process took for `count` objects of `size_bytes` each."""

    count: int
    size_bytes: int
    seconds: float
    cpu_s: float
    rss_bytes: int
    requests: int
    connections: int


@dataclass(slots=True, kw_only=True)
class Measured:
    """One client's runs of one work, a run each round; `error` says why there are no more."""

    work: Work
    peer: str
    version: str
    runs: list[Run] = field(default_factory=list)
    error: str | None = None

    @property
    def rates(self) -> list[float]:
        """Of each run: bytes per second of a large object, else objects per second."""
        return [run.count * (run.size_bytes if self.work.is_large else 1) / run.seconds for run in self.runs]

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def cpu_s(self) -> float:
        """The median of CPU seconds, user and system, per GiB of a large object, else per object."""
        return median(self.cpus_s)

    @property
    def cpus_s(self) -> list[float]:
        """Of each run: as `cpu_s`."""
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
        """In each round that both ran, this one's rate by the other's: what the machine did to both of them cancels out."""
        return [mine / its for mine, its in zip(self.rates, other.rates, strict=False)]

    def to_json(self) -> dict[str, object]:
        """Its figures as plain values."""
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
            'error': self.error,
        }

    def _median(self, figure: Callable[[Run], float]) -> float:
        return median(map(figure, self.runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Works that share a store."""

    name: str
    contents: Contents
    works: tuple[Work, ...]


def of(results: list[Measured], work: str) -> list[Measured]:
    """What was measured of the work, fastest first."""
    return sorted((each for each in results if each.work.name == work and each.runs), key=lambda each: -each.rate)
