"""Draws the chart: a panel for each work with a bar for each client."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from peers import S3PO
from report import cell, works_of
from works import Measured, of

_COLUMNS = 2
_MINE, _OTHERS, _FLOOR = '#d1495b', '#8d99ae', '#d5dae1'
_INCHES_A_BAR = 0.28


def draw(path: str, results: list[Measured]) -> None:
    """Writes the chart as a PNG."""
    works = [work for work in works_of(results) if len(of(results, work.name)) > 1]
    rows = [works[n : n + _COLUMNS] for n in range(0, len(works), _COLUMNS)]
    bars = [max(len(of(results, work.name)) for work in row) + 2.5 for row in rows]
    figure = Figure(figsize=(13, sum(bars) * _INCHES_A_BAR), layout='constrained')
    places = list(figure.subplots(len(rows), _COLUMNS, height_ratios=bars, squeeze=False).flat)
    for place, work in zip(places, works, strict=False):
        _panel(place, work.title, of(results, work.name))
    for place in places[len(works) :]:
        place.axis('off')
    figure.savefig(path, dpi=110)


def _panel(axes: Axes, title: str, results: list[Measured]) -> None:
    names = [result.peer for result in results]
    rates = [result.rate for result in results]
    errors = [
        [result.rate - min(result.rates) for result in results],
        [max(result.rates) - result.rate for result in results],
    ]
    colours = [_MINE if each.library == S3PO else _FLOOR if each.is_floor else _OTHERS for each in results]
    drawn = axes.barh(names, rates, xerr=errors, color=colours, height=0.72, error_kw={'elinewidth': 0.8, 'ecolor': '#444'})
    axes.bar_label(drawn, [cell(result) for result in results], padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, loc='left', fontsize=10, fontweight='bold')
    axes.set_xlim(right=max(max(result.rates) for result in results) * 1.42)
    axes.xaxis.set_visible(False)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.tick_params(axis='y', length=0, labelsize=9)
