"""What is wanted of s3po beside the others, and whether what was measured is enough.

What may live here: the table of wants, and the arithmetic that judges results by it. Nothing runs here.

A ratio is the median over the rounds of s3po's rate by the other's in the same round. Where a library is named with
several ways of using it, the fastest counts.
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
# Of what fifty connections could do if the store were all that takes time.
_DELAYED_SHARE = 0.9
# The ways that give a handle for each call, as a batch does.
_OBSTORE = ('obstore/threads', 'obstore/async')


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One want, and how it was met.

    Attributes:
        work: The name of the work.
        text: What is measured.
        wanted: The least that will do, or the most where `is_limit`.
        goal: What would be better still.
        figures: What was measured, a figure each round; none where it could not be measured.
        is_limit: Whether less is better.
        unit: What the figures are told in.
    """

    work: str
    text: str
    wanted: float
    figures: tuple[float, ...] = ()
    goal: float | None = None
    is_limit: bool = False
    unit: str = ''

    @property
    def measured(self) -> float | None:
        """The median over the rounds."""
        return median(self.figures) if self.figures else None

    @property
    def held(self) -> int:
        """In how many rounds it was met."""
        return sum(map(self._is_met, self.figures))

    @property
    def word(self) -> str:
        """PASS, SHORT, or `not measured`."""
        if self.measured is None:
            return 'not measured'
        return 'PASS' if self._is_met(self.measured) else 'SHORT'

    def __str__(self) -> str:
        bound = 'at most' if self.is_limit else 'at least'
        parts = [f'{self.word:5} {self.work}: {self.text}']
        if self.measured is not None:
            parts.append(f' {self.measured:.4g}{self.unit} ({min(self.figures):.3g} to {max(self.figures):.3g})')
        parts.append(f', wanted {bound} {self.wanted:g}{self.unit}')
        if self.goal is not None and self.measured is not None:
            parts.append(f'; the goal of {self.goal:g} is {"reached" if self.measured >= self.goal else "not reached"}')
        if self.figures:
            parts.append(f'; met in {self.held} of {len(self.figures)} rounds')
        return ''.join(parts)

    def _is_met(self, figure: float) -> bool:
        return figure <= self.wanted if self.is_limit else figure >= self.wanted


Want = Callable[[list[Measured], dict[str, float]], Verdict]


def judge(results: list[Measured], facts: dict[str, float]) -> list[Verdict]:
    """One verdict for each want whose work was measured, in the table's order.

    Args:
        results: What was measured.
        facts: What was measured of the store itself.
    """
    measured = {each.work.name for each in results}
    verdicts = [want(results, facts) for want in _WANTS]
    return [verdict for verdict in verdicts if verdict.work in measured]


def _s3po(results: list[Measured], work: str) -> Measured | None:
    return next((each for each in of(results, work) if each.peer == S3PO), None)


def _faster(work: str, factor: float, *peers: str, goal: float | None = None) -> Want:
    """The rate, by that of the fastest of these peers."""

    def want(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        other = next((each for each in of(results, work) if each.peer in peers), None)
        ratios = mine.times(other) if mine and other else []
        return Verdict(
            work=work,
            text=f's3po / {other.peer if other else peers[0]}',
            wanted=factor,
            goal=goal,
            figures=tuple(ratios),
        )

    return want


def _cpu(work: str, most: float, unit: str, scale: float) -> Want:
    """The CPU time per object or GiB."""

    def want(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        figures = tuple(each * scale for each in mine.cpus_s) if mine else ()
        return Verdict(work=work, text='CPU', wanted=most, unit=unit, figures=figures, is_limit=True)

    return want


def _rss(work: str) -> Want:
    """The peak of resident memory."""

    def want(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        figures = tuple(run.rss_bytes / MIB for run in mine.runs) if mine else ()
        wanted = _LARGE_RSS_BYTES / MIB
        return Verdict(work=work, text='peak RSS', wanted=wanted, unit=' MiB', figures=figures, is_limit=True)

    return want


def _requests(work: str, beside: int | None = None) -> Want:
    """The requests per object: one, or one a part and `beside` more."""

    def want(results: list[Measured], _: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        wanted = 1.0
        if mine and beside is not None:
            wanted = -(-mine.work.size_bytes // _PART_BYTES) + beside
        figures = tuple(round(run.requests / run.count, 2) for run in mine.runs) if mine else ()
        return Verdict(work=work, text='requests per object', wanted=wanted, figures=figures, is_limit=True)

    return want


def _hides_delay(work: str) -> Want:
    """The share of the rate that as many connections could have, if the store were all that takes time."""

    def want(results: list[Measured], facts: dict[str, float]) -> Verdict:
        mine = _s3po(results, work)
        shares = []
        if mine and facts.get('round_trip_s'):
            possible = mine.work.width / (facts['delay_s'] + facts['round_trip_s'])
            shares = [rate / possible for rate in mine.rates]
        return Verdict(
            work=work,
            text='share of width / (delay + bare round trip)',
            wanted=_DELAYED_SHARE,
            figures=tuple(shares),
        )

    return want


_WANTS: tuple[Want, ...] = (
    _faster('put', 1.15, *_OBSTORE),
    _faster('put', 12, 'boto3/gevent'),
    _cpu('put', 80, ' µs', 1e6),
    _requests('put'),
    _faster('get', 1.0, *_OBSTORE, goal=1.15),
    _faster('get', 12, 'boto3/gevent'),
    _cpu('get', 85, ' µs', 1e6),
    _requests('get'),
    _faster('directory-up', 2.0, 's5cmd', goal=2.5),
    _requests('directory-up'),
    _faster('directory-down', 2.0, 's5cmd', goal=2.5),
    _requests('directory-down'),
    _hides_delay('delayed-put'),
    _hides_delay('delayed-get'),
    _faster('large-down', 1.1, 'awscrt'),
    _faster('large-down', 1.4, 's5cmd'),
    _faster('large-down', 1.7, 'boto3/threads'),
    _faster('large-down', 1.8, 'obstore/stream'),
    _cpu('large-down', 0.8, ' s per GiB', 1),
    _requests('large-down', beside=0),
    _faster('large-up', 1.1, 'awscrt'),
    _faster('large-up', 1.1, 'obstore/stream'),
    _faster('large-up', 2.2, 's5cmd'),
    _faster('large-up', 4.0, 'boto3/threads'),
    _cpu('large-up', 0.7, ' s per GiB', 1),
    _requests('large-up', beside=2),
    _faster('large-up-signed', 1.0, 'obstore/stream'),
    _faster('large-down-tls', 0.95, 's5cmd', goal=1.1),
    _faster('large-down-tls', 1.5, 'obstore/stream'),
    _faster('large-up-tls', 0.95, 's5cmd', goal=1.1),
    _faster('large-up-tls', 1.5, 'obstore/stream'),
    *(_faster(work, 2.0, other) for work in ('open-read', 'open-write') for other in ('s3fs', 'smart_open')),
    *(_faster(work, 5.0, 's3fs') for work in ('fs-get', 'fs-put')),
    *(_rss(f'{name}{way}') for name in ('large-down', 'large-up') for way in ('', '-tls')),
    *(_rss(f'{name}{way}') for name in ('default-down', 'default-up') for way in ('', '-tls')),
)
