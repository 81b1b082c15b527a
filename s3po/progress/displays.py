"""The displays of progress=True: functions that take a ProgressEvent and show it on standard error.

| where                  | what                                                                   |
|------------------------|------------------------------------------------------------------------|
| a terminal             | a bar of rich (the extra s3po[progress]); without rich, one line of text |
| a notebook             | a bar of ipywidgets; without ipywidgets, one line of text              |
| elsewhere: a log, cron | a line every 10 s, and one at the end                                  |
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

from s3po.config import KIB
from s3po.model import ProgressEvent

__all__ = ['Line', 'Lines', 'RichBar', 'WidgetBar', 'display', 'text_of']

# The time between two lines in a log.
LINE_EVERY_S: Final = 10.0
# Terminals that can only append; rich takes both for such.
DUMB: Final = ('dumb', 'unknown')
MINUTE_S: Final = 60
HOUR_S: Final = 3600


def display() -> Callable[[ProgressEvent], object]:
    """The display for where the program runs."""
    stream = sys.stderr
    if _is_notebook():
        return _made(WidgetBar, stream)
    if _is_terminal(stream) and os.environ.get('TERM') not in DUMB:
        return _made(RichBar, stream)
    return Lines(stream)


def text_of(event: ProgressEvent) -> str:
    """An event as one line: '12 of 50 jobs, 3.0 MiB of 8.0 MiB, 6 jobs/s, 1.5 MiB/s, 1 failed, 0:03 left'."""
    said, is_batch = [], event.jobs_total != 1
    if is_batch:
        said.append(f'{event.jobs_done:,} of {event.jobs_total:,} jobs')
    if event.bytes_done or event.bytes_total:
        of_all = '' if event.bytes_total is None else f' of {_size(event.bytes_total)}'
        said.append(f'{_size(event.bytes_done)}{of_all}')
    if is_batch:
        said.append(f'{event.jobs_per_s:,.0f} jobs/s')
    if event.bytes_done:
        said.append(f'{_size(event.bytes_per_s)}/s')
    if event.failed:
        said.append(f'{event.failed:,} failed')
    if event.is_last:
        said.append(f'{_clock(event.seconds)} in all')
    elif event.eta_s is not None:
        said.append(f'{_clock(event.eta_s)} left')
    return ', '.join(said)


class Lines:
    """Writes a line every 10 s, and one at the end."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._next_at = LINE_EVERY_S

    def __call__(self, event: ProgressEvent) -> None:
        if event.is_last or event.seconds >= self._next_at:
            self._next_at = event.seconds + LINE_EVERY_S
            _write(self._stream, f's3po: {text_of(event)}\n')


class Line:
    """Writes one line again and again in its place."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._width = 0

    def __call__(self, event: ProgressEvent) -> None:
        # A longer one would continue in the next line, where the carriage return does not reach it.
        text = text_of(event)[: shutil.get_terminal_size().columns - 1]
        # Spaces over the rest of a longer line.
        _write(self._stream, f'\r{text:{self._width}}' + ('\n' if event.is_last else ''))
        self._width = len(text)


class RichBar:
    """A bar of rich. While another bar is shown, it writes lines above that instead.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        # Refreshed by events, not by a thread of rich. What the program prints appears above the bar, but only if it is for a
        # terminal: rich would write what belongs into a file or a pipe to standard error.
        self._bar = Progress(
            BarColumn(),
            TextColumn('{task.description}'),
            console=Console(file=stream),
            auto_refresh=False,
            redirect_stdout=_is_terminal(sys.stdout),
        )
        self._task = self._bar.add_task('', total=None)
        self._is_shown = False
        self._lines: Lines | None = None

    def __call__(self, event: ProgressEvent) -> None:
        if self._lines is None and not self._is_shown and not self._start():
            # A bar replaces standard error, and what is written to it appears above the bar.
            self._lines = Lines(sys.stderr)
        if self._lines is not None:
            self._lines(event)
            return
        done, total = _share(event)
        self._bar.update(self._task, completed=done, total=total, description=text_of(event), refresh=True)
        if event.is_last:
            self._bar.stop()

    def _start(self) -> bool:
        from rich.file_proxy import FileProxy

        if isinstance(sys.stderr, FileProxy):
            return False
        self._bar.start()
        self._is_shown = True
        return True


class WidgetBar:
    """A bar of ipywidgets, for notebooks.

    Raises:
        ImportError: ipywidgets is not installed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        import ipywidgets

        self._bar: Any = ipywidgets.FloatProgress(min=0.0, max=1.0)
        self._text: Any = ipywidgets.Label()
        self._box: Any = ipywidgets.HBox([self._bar, self._text])
        self._is_shown = False

    def __call__(self, event: ProgressEvent) -> None:
        if not self._is_shown:
            import IPython.display

            self._is_shown = True
            show_in_cell: Any = IPython.display.display
            show_in_cell(self._box)
        done, total = _share(event)
        self._bar.value = done / total if total else float(event.is_last)
        self._text.value = text_of(event)


def _made(kind: Callable[[TextIO | None], Callable[[ProgressEvent], object]], stream: TextIO | None) -> Callable[..., object]:
    """A display, or a line of text if its library is not installed."""
    try:
        return kind(stream)
    except ImportError:
        return Line(stream)


def _share(event: ProgressEvent) -> tuple[float, float | None]:
    """What is done, and of how much: bytes, or jobs if there are no bytes or their number is not known; None: unknown."""
    if event.bytes_total:
        return float(event.bytes_done), float(event.bytes_total)
    if event.jobs_total > 1 or event.bytes_total == 0:
        return float(event.jobs_done), float(event.jobs_total)
    return float(event.bytes_done), float(event.bytes_done) if event.is_last else None


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether it is a terminal. Objects that programs put in place of standard error may have no isatty(), or be closed."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def _write(stream: TextIO | None, text: str) -> None:
    """Write text at once. A program without standard error shows nothing; print() would write to standard output then."""
    if stream is not None:
        print(text, end='', file=stream, flush=True)


def _is_notebook() -> bool:
    """Whether the program runs in a kernel of Jupyter. Imports nothing."""
    shell = getattr(sys.modules.get('IPython'), 'get_ipython', lambda: None)()
    return type(shell).__name__ == 'ZMQInteractiveShell'


def _size(size_bytes: float) -> str:
    """A number of bytes in the largest unit of which there is one."""
    for unit in ('bytes', 'KiB', 'MiB', 'GiB'):
        if size_bytes < KIB:
            return f'{size_bytes:,.0f} {unit}' if unit == 'bytes' else f'{size_bytes:,.1f} {unit}'
        size_bytes /= KIB
    return f'{size_bytes:,.1f} TiB'


def _clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours, minutes and seconds."""
    whole = round(seconds)
    hours, rest = divmod(whole, HOUR_S)
    minutes, left = divmod(rest, MINUTE_S)
    return f'{hours}:{minutes:02}:{left:02}' if hours else f'{minutes}:{left:02}'
