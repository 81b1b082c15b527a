"""The aims of s3po, and whether the measurements meet them. Nothing runs here.

A ratio is the median over the rounds of the ratio in each round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from objects import MIB
from peers import S3PO
from works import Measured, of

_PART_BYTES = 8 * MIB
_LARGE_RSS_BYTES = 80 * MIB
# The least share of the rate that the same number of connections would have if only the store took time.
_DELAYED_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One aim and its measurement.

    Attributes:
        work: The name of the work.
        text: The measured quantity.
        aim: The least value that meets the aim, or the greatest where `is_limit`.
        figures: The measurements, one per round; empty if it could not be measured.
        is_limit: Whether less is better.
        unit: The unit of the figures.
    """

    work: str
    text: str
    aim: float
    figures: tuple[float, ...] = ()
    is_limit: bool = False
    unit: str = ''

    @property
    def measured(self) -> float | None:
        """The median over the rounds."""
        return median(self.figures) if self.figures else None

    @property
    def met(self) -> int:
        """The number of rounds in which the aim was met."""
        return sum(map(self._is_met, self.figures))

    @property
    def word(self) -> str:
        """'met', 'missed' or 'not measured'."""
        if self.measured is None:
            return 'not measured'
        return 'met' if self._is_met(self.measured) else 'missed'

    def cells(self) -> tuple[str, ...]:
        """The row of the table, for the headings `HEADINGS`."""
        aim = f'{"<=" if self.is_limit else ">="} {self.aim:g}{self.unit}'
        if self.measured is None:
            return (self.work, self.text, aim, '-', '', self.word)
        spread = f'{min(self.figures):.3g} to {max(self.figures):.3g}'
        return (self.work, self.text, aim, f'{self.measured:.4g}{self.unit}', spread, self.word)

    def _is_met(self, figure: float) -> bool:
        return figure <= self.aim if self.is_limit else figure >= self.aim


HEADINGS = ('work', 'quantity', 'aim', 'measured', 'min to max', 'result')

Aim = Callable[[list[Measured], dict[str, float]], Verdict]


def judge(results: list[Measured], facts: dict[str, float]) -> list[Verdict]:
    """One verdict for each aim whose work was measured, in the order of the table.

    Args:
        results: The measurements.
        facts: The measurements of the store itself.
    """
    measured = {each.work.name for each in results}
    verdicts = [aim(results, facts) for aim in _AIMS]
    return [verdict for verdict in verdicts if verdict.work in measured]


def _s3po(results: list[Measured], work: str) -> Measured | None:
    return _library(results, work, S3PO)


def _library(results: list[Measured], work: str, library: str) -> Measured | None:
    return next((each for each in of(results, work) if each.library == library), None)


def _faster(work: str, least: float, library: str) -> Aim:
    """The rate, divided by that of the library in its quickest way."""

    def aim(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine, other = _s3po(results, work), _library(results, work, library)
        ratios = mine.times(other) if mine and other else []
        name = other.peer if other else library
        return Verdict(work=work, text=f'rate of s3po / {name}', aim=least, figures=tuple(ratios))

    return aim


def _cpu(work: str, most: float, unit: str, scale: float) -> Aim:
    """The client's CPU time per object or GiB."""

    def aim(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        figures = tuple(each * scale for each in mine.cpus_s) if mine else ()
        return Verdict(work=work, text='client CPU', aim=most, unit=unit, figures=figures, is_limit=True)

    return aim


def _cpu_of_many(work: str, few: str, most: float) -> Aim:
    """The CPU time per object with many workers, divided by that with few."""

    def aim(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine, other = _s3po(results, work), _s3po(results, few)
        ratios = mine.cpu_times(other) if mine and other else []
        widths = f'{mine.work.width:,} workers / of {other.work.width}' if mine and other else f'{work} / of {few}'
        return Verdict(work=work, text=f'client CPU of {widths}', aim=most, figures=tuple(ratios), is_limit=True)

    return aim


def _rss(work: str) -> Aim:
    """The peak of resident memory."""

    def aim(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        figures = tuple(run.rss_bytes / MIB for run in mine.runs) if mine else ()
        most = _LARGE_RSS_BYTES / MIB
        return Verdict(work=work, text='peak RSS', aim=most, unit=' MiB', figures=figures, is_limit=True)

    return aim


def _requests(work: str, more: int | None = None) -> Aim:
    """The requests per object: one, or one per part and `more`."""

    def aim(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        most = 1.0
        if mine and more is not None:
            most = -(-mine.work.size_bytes // _PART_BYTES) + more
        figures = tuple(round(run.requests / run.count, 2) for run in mine.runs) if mine else ()
        return Verdict(work=work, text='requests per object', aim=most, figures=figures, is_limit=True)

    return aim


def _hides_delay(work: str) -> Aim:
    """The rate, divided by the rate of the same number of connections if only the store took time."""

    def aim(results: list[Measured], facts: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        shares = []
        if mine and facts.get('round_trip_s'):
            possible = mine.work.width / (facts['delay_s'] + facts['round_trip_s'])
            shares = [rate / possible for rate in mine.rates]
        return Verdict(work=work, text='rate / (width / (delay + round trip))', aim=_DELAYED_SHARE, figures=tuple(shares))

    return aim


_AIMS: tuple[Aim, ...] = (
    _cpu('put', 41, ' µs', 1e6),
    _cpu('get', 37, ' µs', 1e6),
    _cpu('directory-up', 70, ' µs', 1e6),
    _cpu('directory-down', 66, ' µs', 1e6),
    _cpu_of_many('put-wide', 'put', 1.2),
    _cpu_of_many('get-wide', 'get', 1.2),
    _cpu('large-down', 0.8, ' s/GiB', 1),
    _cpu('large-up', 0.7, ' s/GiB', 1),
    *(_requests(work) for work in ('put', 'get', 'directory-up', 'directory-down')),
    _requests('large-down', more=0),
    _requests('large-up', more=2),
    *(_faster(work, 12, 'boto3') for work in ('put', 'get')),
    *(_faster(work, 2.0, 's5cmd') for work in ('directory-up', 'directory-down')),
    _hides_delay('delayed-put'),
    _hides_delay('delayed-get'),
    _faster('large-down', 1.1, 'awscrt'),
    _faster('large-down', 1.4, 's5cmd'),
    _faster('large-down', 1.7, 'boto3'),
    _faster('large-up', 1.1, 'awscrt'),
    _faster('large-up', 1.1, 'obstore'),
    _faster('large-up', 2.2, 's5cmd'),
    _faster('large-up', 4.0, 'boto3'),
    *(_faster(work, 0.95, 's5cmd') for work in ('large-down-tls', 'large-up-tls')),
    *(_faster(work, 2.0, other) for work in ('open-read', 'open-write') for other in ('s3fs', 'smart_open')),
    *(_faster(work, 5.0, 's3fs') for work in ('fs-get', 'fs-put')),
    *(_rss(f'{name}{end}') for name in ('large-down', 'large-up', 'default-down', 'default-up') for end in ('', '-tls')),
)
